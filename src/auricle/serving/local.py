"""An engine of this process: a loaded model on one thread, since models of transformers are not thread safe."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from threading import Event
from typing import Any, TypeVar, final

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import StoppingCriteria
from transformers.generation.streamers import BaseStreamer
from typing_extensions import override

from auricle.models.hugging_face import HuggingFaceSpeechLM
from auricle.serving.engine import Decoding, Engine, Piece, StoppedError, checkpoint
from auricle.serving.growing import Growing
from auricle.speech_lm import SpeechLM, SpeechPrompt

T = TypeVar("T")


@final
class LocalEngine(Engine):
    """One loaded model, one request at a time."""

    def __init__(self, lm: SpeechLM) -> None:
        """Takes a loaded model, which nobody else may use from here on."""
        self._lm = lm
        self._thread = ThreadPoolExecutor(1, "auricle-model")
        self._running: set[Event] = set()
        self._closed = False

    @property
    @override
    def lm(self) -> SpeechLM:
        return self._lm

    @property
    @override
    def places(self) -> int:
        return 1

    @override
    async def call(self, work: Callable[[SpeechLM, Event], T]) -> T:
        if self._closed:
            raise StoppedError
        stop = Event()

        def run() -> T:
            checkpoint(stop)
            return work(self._lm, stop)

        self._running.add(stop)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, run)
        finally:
            stop.set()
            self._running.discard(stop)

    @override
    async def generate(
        self, prompt: SpeechPrompt, decoding: Decoding, on_prefill: Callable[[], None]
    ) -> AsyncGenerator[Piece, None]:
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[Piece | None] = asyncio.Queue()

        def tell(piece: Piece) -> None:
            with suppress(RuntimeError):  # the loop has been closed; nobody listens
                loop.call_soon_threadsafe(pieces.put_nowait, piece)

        work = partial(_generate, prompt=prompt, decoding=decoding, on_prefill=on_prefill, tell=tell)
        task = asyncio.create_task(self.call(work))
        task.add_done_callback(lambda _: pieces.put_nowait(None))
        try:
            while piece := await pieces.get():
                yield piece
            await task
        finally:
            task.cancel()

    @override
    def close(self) -> None:
        self._closed = True
        for stop in list(self._running):
            stop.set()
        self._thread.shutdown(wait=True, cancel_futures=True)


def _generate(
    lm: SpeechLM,
    stop: Event,
    *,
    prompt: SpeechPrompt,
    decoding: Decoding,
    on_prefill: Callable[[], None],
    tell: Callable[[Piece], None],
) -> None:
    """Generates and tells what comes, as it comes."""
    options: dict[str, Any] = {}
    if decoding.temperature > 0:
        options = {"do_sample": True, "temperature": decoding.temperature, "top_p": decoding.top_p, "top_k": 0}
        if decoding.seed is not None:
            torch.manual_seed(decoding.seed)
    if not isinstance(lm, HuggingFaceSpeechLM):
        text = lm.generate(prompt, decoding.max_new_tokens, on_prefill, **options)
        return tell(Piece(text, len(lm.query(text).ids) if text.strip() else 0, "stop"))
    pieces = _Pieces(lm, tell)
    stopping = [_Stop(stop)]
    lm.generate(prompt, decoding.max_new_tokens, on_prefill, streamer=pieces, stopping_criteria=stopping, **options)
    if stop.is_set():
        raise StoppedError
    ids = pieces.text.ids
    ended = len(ids) < decoding.max_new_tokens or ids[-1] in ends(lm)
    tell(Piece(pieces.text.end(), len(ids), "stop" if ended else "length"))


def ends(lm: HuggingFaceSpeechLM) -> list[int]:
    """The tokens that end an answer."""
    given = lm.model.generation_config.eos_token_id
    return given if isinstance(given, list) else [] if given is None else [given]


@final
class _Pieces(BaseStreamer):
    """Tells the text of tokens as they come."""

    def __init__(self, lm: HuggingFaceSpeechLM, tell: Callable[[Piece], None]) -> None:
        self.text = Growing(lm.decode)
        self.tell = tell

    @override
    def put(self, value: Int[Tensor, "*_"]) -> None:
        if value.numel() and (text := self.text.add(value.flatten().tolist())):  # the prompt is no ids
            self.tell(Piece(text, len(self.text.ids)))

    @override
    def end(self) -> None:
        pass


@final
class _Stop(StoppingCriteria):
    """Ends generation when nobody waits for it."""

    def __init__(self, stop: Event) -> None:
        self.stop = stop

    @override
    def __call__(self, input_ids: torch.LongTensor, scores: object, **kwargs: object) -> Bool[Tensor, "batch"]:
        return torch.full((len(input_ids),), self.stop.is_set(), device=input_ids.device)
