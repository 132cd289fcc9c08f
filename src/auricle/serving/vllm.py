"""An engine elsewhere: this process encodes and prunes, and a vLLM server reads the prompt, as vectors."""

import asyncio
import base64
import io
import json
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from threading import Event
from typing import Any, TypeVar, final

import httpx
import torch
from typing_extensions import override

from auricle.errors import ContextLengthError, EndpointError, ModelError, OptionError
from auricle.models.hugging_face import HuggingFaceSpeechLM
from auricle.serving.engine import Decoding, Engine, Finish, Piece, StoppedError
from auricle.serving.growing import Growing
from auricle.serving.local import LocalEngine, ends
from auricle.speech_lm import SpeechLM, SpeechPrompt

T = TypeVar("T")
logger = logging.getLogger("auricle.serving")
CONNECT_SECONDS = 5.0
SILENT_SECONDS = 300.0  # of a server that was asked; it may have a queue
_END_SECONDS = 5.0


@final
class VllmEngine(Engine):
    """Generates by a vLLM server that was started with --enable-prompt-embeds on the LLM of `models export-llm`.

    Choices and transcripts are made here, by the model of this process.
    """

    def __init__(
        self,
        lm: SpeechLM,
        url: str,
        places: int = 8,
        *,
        key: str | None = None,
        silent_seconds: float = SILENT_SECONDS,
    ) -> None:
        """Takes a loaded model, which nobody else may use from here on; the server is not asked yet.

        Args:
            lm: encodes, prunes and makes prompts.
            url: of the server, with or without /v1.
            places: how many requests are in work at a time; vLLM reads them together.
            key: that the server asks for, if any.
            silent_seconds: how long the server may say nothing before an answer is given up.

        Raises:
            OptionError: `url` is none, or `places` is not positive.
            ModelError: the model is not one of transformers, or its LLM reads speech in a way of its own.
        """
        check_url(url)
        if places < 1:
            raise OptionError(f"places is {places}; expected at least 1.")
        if not (isinstance(lm, HuggingFaceSpeechLM) and lm.plain):
            raise ModelError(
                f"'{lm.name}' makes no prompts that a vLLM server could read; serve this model with --engine local."
            )
        self._here = LocalEngine(lm)
        self._lm = lm
        self._places = places
        self._url = url.rstrip("/").removesuffix("/v1").rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._timeout = httpx.Timeout(silent_seconds, connect=CONNECT_SECONDS)
        self._running: dict[asyncio.Task[None], tuple[asyncio.AbstractEventLoop, Event]] = {}
        self._closed = False

    @property
    @override
    def lm(self) -> SpeechLM:
        return self._lm

    @property
    @override
    def places(self) -> int:
        return self._places

    @override
    async def call(self, work: Callable[[SpeechLM, Event], T]) -> T:
        return await self._here.call(work)

    @override
    async def generate(
        self, prompt: SpeechPrompt, decoding: Decoding, on_prefill: Callable[[], None]
    ) -> AsyncGenerator[Piece, None]:
        length = len(prompt) + decoding.max_new_tokens
        self._lm.check_length(length)
        body = await asyncio.to_thread(request, prompt, decoding) | {"stop_token_ids": ends(self._lm)}
        if self._closed:
            raise StoppedError
        pieces: asyncio.Queue[Piece | None] = asyncio.Queue()
        task = asyncio.create_task(self._generate(body, length, on_prefill, pieces))
        ended = Event()
        self._running[task] = (asyncio.get_running_loop(), ended)

        def end(_: object) -> None:
            self._running.pop(task)
            ended.set()
            pieces.put_nowait(None)

        task.add_done_callback(end)
        try:
            while piece := await pieces.get():
                yield piece
            if task.cancelled():  # by `close`; whoever leaves does not come here
                raise StoppedError
            task.result()
        finally:
            task.cancel()  # hangs up, and vLLM ends the request
            with suppress(asyncio.CancelledError, Exception):  # what went wrong was raised above
                await task

    async def _generate(
        self,
        body: dict[str, Any],
        length: int,
        on_prefill: Callable[[], None],
        pieces: "asyncio.Queue[Piece | None]",
    ) -> None:
        """Tells the answer piece by piece."""
        text = Growing(self._lm.decode)
        finish: Finish | None = None
        async with aclosing(self._events(body, length)) as events:
            async for ids, reason in events:
                finish = reason or finish
                if not text.ids:
                    on_prefill()
                if new := text.add(ids):
                    pieces.put_nowait(Piece(new, len(text.ids)))
        if finish not in ("stop", "length"):
            raise EndpointError(f"The vLLM server broke an answer off (finish_reason {finish}); see its log.")
        pieces.put_nowait(Piece(text.end(), len(text.ids), finish))

    @override
    def close(self) -> None:
        self._closed = True
        running = list(self._running.items())
        for task, (loop, _) in running:
            loop.call_soon_threadsafe(task.cancel)
        for _, (_, ended) in running:
            ended.wait(_END_SECONDS)
        self._here.close()

    async def _events(
        self, body: dict[str, Any], length: int
    ) -> AsyncGenerator[tuple[list[int], Finish | None], None]:
        """Tokens that come next, and in the end why it ends."""
        try:
            async with httpx.AsyncClient(timeout=self._timeout, headers=self._headers) as client:
                body = {"model": await self._model(client, length), **body}
                text, kind = await asyncio.to_thread(json.dumps, body), {"Content-Type": "application/json"}
                async with client.stream(
                    "POST", f"{self._url}/v1/completions", content=text, headers=kind
                ) as reply:
                    if reply.status_code != 200:
                        raise _refused(reply.status_code, (await reply.aread()).decode(errors="replace"))
                    async for line in reply.aiter_lines():
                        if not line.startswith("data: ") or line == "data: [DONE]":
                            continue
                        event = json.loads(line.removeprefix("data: "))
                        if "error" in event:
                            raise _refused(200, line)
                        for choice in event["choices"]:
                            yield choice["token_ids"] or [], choice["finish_reason"]
        except httpx.ConnectError as error:
            raise EndpointError(
                f"The vLLM server at {self._url} cannot be reached; is it running, with --enable-prompt-embeds?"
            ) from error
        except httpx.TimeoutException as error:
            raise EndpointError(
                f"The vLLM server at {self._url} said nothing for too long; see its log, or ask fewer at a time."
            ) from error
        except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
            raise EndpointError(
                f"The vLLM server at {self._url} did not answer as vLLM does ({error!r}); check the URL,"
                " and see its log."
            ) from error

    async def _model(self, client: httpx.AsyncClient, length: int) -> str:
        """What the server calls the one model that it serves."""
        reply = await client.get(f"{self._url}/v1/models")
        if reply.status_code != 200:
            raise _refused(reply.status_code, reply.text)
        model = reply.json()["data"][0]
        if length > (model.get("max_model_len") or length):
            raise ContextLengthError(
                f"The prompt and its answer take {length} tokens, but the vLLM server reads at most"
                f" {model['max_model_len']}; raise the pruning rate, or start it with a larger --max-model-len."
            )
        name: str = model["id"]
        return name


def request(prompt: SpeechPrompt, decoding: Decoding) -> dict[str, Any]:
    """What vLLM is asked.

    Raises:
        OptionError: the prompt has what vLLM cannot be told: pairs of a memory, tokens that are dropped inside the
            LLM, or positions with gaps.
    """
    unknown = {
        "asks a memory": prompt.past is not None,
        "drops speech inside the LLM": prompt.later is not None,
        "keeps the speech's own positions": prompt.position_ids is not None,
    }
    if found := [what for what, there in unknown.items() if there]:
        raise OptionError(
            f"This request {' and '.join(found)}, which vLLM cannot; take a pruner before the LLM, with positions"
            " renumbered, or a server with --engine local."
        )
    saved = io.BytesIO()
    torch.save(prompt.embeds[0].detach().cpu().contiguous().clone(), saved)
    return {
        "prompt": None,
        "prompt_embeds": base64.b64encode(saved.getvalue()).decode(),
        "max_tokens": decoding.max_new_tokens,
        "temperature": decoding.temperature,
        "top_p": decoding.top_p,
        "top_k": 0,  # all tokens, as the engine of this process draws
        "seed": decoding.seed,
        "stream": True,
        "return_token_ids": True,  # decoded here, so that texts are those of `SpeechLM.generate`
    }


def check_url(url: str) -> None:
    """Raises OptionError unless that can be the URL of a server."""
    if not url.startswith(("http://", "https://")):
        raise OptionError(f"The vLLM server is '{url}'; expected a URL such as http://127.0.0.1:8001.")


def _refused(status: int, text: str) -> EndpointError:
    logger.error("vLLM refused a request with %d: %s", status, text[:500])
    advice = "its log says why"
    if 400 <= status < 500:
        advice = "serve what 'auricle models export-llm' wrote, with --enable-prompt-embeds and the whole context"
    return EndpointError(f"The vLLM server refused the request ({status}); {advice}.")
