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

from auricle.errors import EndpointError, ModelError, OptionError
from auricle.models.hugging_face import HuggingFaceSpeechLM
from auricle.serving.engine import Decoding, Engine, Finish, Piece, StoppedError
from auricle.serving.local import LocalEngine
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

    def __init__(self, lm: SpeechLM, url: str, places: int = 8, silent_seconds: float = SILENT_SECONDS) -> None:
        """Takes a loaded model, which nobody else may use from here on; the server is not asked yet.

        Args:
            lm: encodes, prunes and makes prompts.
            url: of the server, without /v1.
            places: how many requests are in work at a time; vLLM reads them together.
            silent_seconds: how long the server may say nothing before an answer is given up.

        Raises:
            OptionError: `url` is none, or `places` is not positive.
            ModelError: the model is not one of transformers.
        """
        check_url(url)
        if places < 1:
            raise OptionError(f"places is {places}; expected at least 1.")
        if not isinstance(lm, HuggingFaceSpeechLM):
            raise ModelError(f"'{lm.name}' makes no prompts that vLLM reads; expected a model of transformers.")
        self._here = LocalEngine(lm)
        self._lm = lm
        self._places = places
        self._url = url.rstrip("/")
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
        self._lm.check_length(len(prompt) + decoding.max_new_tokens)
        body = request(prompt, decoding)
        if self._closed:
            raise StoppedError
        pieces: asyncio.Queue[Piece | None] = asyncio.Queue()
        task = asyncio.create_task(self._generate(body, on_prefill, pieces))
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
        self, body: dict[str, Any], on_prefill: Callable[[], None], pieces: "asyncio.Queue[Piece | None]"
    ) -> None:
        """Tells the answer piece by piece."""
        finish: Finish | None = None
        tokens, spaces, first, read = 0, "", True, False
        async with aclosing(self._events(body)) as events:
            async for text, tokens, reason in events:
                finish = reason or finish
                if not read:
                    read = True
                    on_prefill()
                # vLLM tells the text as it is; `SpeechLM.generate` leaves out the space around it.
                piece = text.lstrip() if first else spaces + text
                shown = piece.rstrip()
                spaces = piece[len(shown) :]
                if shown:
                    first = False
                    pieces.put_nowait(Piece(shown, tokens))
        if finish is None:
            raise EndpointError("The vLLM server ended an answer without saying why; see its log.")
        pieces.put_nowait(Piece("", tokens, finish))

    @override
    def close(self) -> None:
        self._closed = True
        running = list(self._running.items())
        for task, (loop, _) in running:
            loop.call_soon_threadsafe(task.cancel)
        for _, (_, ended) in running:
            ended.wait(_END_SECONDS)
        self._here.close()

    async def _events(self, body: dict[str, Any]) -> AsyncGenerator[tuple[str, int, Finish | None], None]:
        """Text that comes next, tokens so far, and in the end why it ends."""
        try:
            async with httpx.AsyncClient(timeout=self._timeout) as client:
                body = {"model": await self._model(client), **body}
                async with client.stream("POST", f"{self._url}/v1/completions", json=body) as reply:
                    if reply.status_code != 200:
                        raise _refused(reply.status_code, (await reply.aread()).decode(errors="replace"))
                    tokens = 0
                    async for line in reply.aiter_lines():
                        if not line.startswith("data: ") or line == "data: [DONE]":
                            continue
                        event = json.loads(line.removeprefix("data: "))
                        if "error" in event:
                            raise _refused(200, line)
                        tokens = (event.get("usage") or {}).get("completion_tokens", tokens)
                        for choice in event["choices"]:
                            yield choice["text"], tokens, choice["finish_reason"]
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

    async def _model(self, client: httpx.AsyncClient) -> str:
        """What the server calls the one model that it serves."""
        reply = await client.get(f"{self._url}/v1/models")
        if reply.status_code != 200:
            raise _refused(reply.status_code, reply.text)
        name: str = reply.json()["data"][0]["id"]
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
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
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
