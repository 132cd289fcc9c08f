"""What the routes share: an engine behind a queue, and the recordings that it was given."""

import asyncio
import base64
import binascii
import io
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from threading import Event
from typing import TypeVar, final

from fastapi import UploadFile
from starlette.requests import Request
from starlette.types import Message

from auricle.errors import AuricleError
from auricle.serving import schema
from auricle.serving.answering import Answered, Question, answer
from auricle.serving.engine import Engine, Piece
from auricle.serving.failures import ApiError
from auricle.serving.metrics import Metrics
from auricle.serving.options import Options
from auricle.serving.recordings import Readable, Recordings, Upload
from auricle.serving.store import Store
from auricle.serving.turns import Turns
from auricle.speech_lm import SpeechLM

T = TypeVar("T")
BODIES = 2  # of the largest size that may be read at a time, beside small ones
ENVELOPE = 1_000_000  # bytes of a request around its recording
_MEDIA = ("audio/", "video/", "application/octet-stream")


@final
class Service:
    """A server's state. Recordings wait on the disk, not in memory, until it is their turn."""

    def __init__(self, engine: Engine, options: Options) -> None:
        """Opens the store."""
        self.engine = engine
        self.options = options
        self.store = Store(options.store, options.store_bytes)
        self.turns = Turns(engine.places, options.max_queue)
        self.metrics = Metrics(lambda: self.turns.waiting, lambda: self.store.nbytes)
        self.recordings = Recordings(self.store, engine.lm, options, self.metrics)
        self.model = _public(engine.lm.name)
        self._held = 0
        self._drawing = asyncio.Lock()

    async def close(self) -> None:
        """Stops what runs and leaves the store; requests that were cut off come to their end meanwhile."""
        await asyncio.to_thread(self.engine.close)
        self.store.close()

    def limit(self, path: str) -> int:
        """Bytes that the body of a request may have."""
        if path == "/v1/chat/completions":
            return self.options.max_upload_bytes * 4 // 3 + ENVELOPE
        uploads = ("/v1/recordings", "/v1/audio/transcriptions")
        return ENVELOPE + (self.options.max_upload_bytes if path in uploads else 0)

    def check_model(self, name: str) -> None:
        """Raises ApiError unless that is the model that runs."""
        if name != self.model:
            message = f"There is no such model; expected '{self.model}'."
            raise ApiError(404, message, "model_not_found", param="model")

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytes]:
        """The body of a request, where there is room for it in memory; let go of it inside the block.

        Raises:
            ApiError: 503, too many large bodies are held already.
        """
        async with self._counted(request) as counted:
            yield b"".join([chunk async for chunk in counted.stream()])

    @asynccontextmanager
    async def form(self, request: Request) -> AsyncIterator[dict[str, object]]:
        """The fields of a form, where there is room for them; a large file is on the disk until the block ends.

        FastAPI's own parameters would be read before anything can be counted, and kept until the answer is sent.

        Raises:
            ApiError: as `body`.
            HTTPException: it is no form.
        """
        async with self._counted(request) as counted, counted.form() as form:
            yield dict(form)

    @asynccontextmanager
    async def _counted(self, request: Request) -> AsyncIterator[Request]:
        """The request, which is refused as soon as too much is read of all that are held."""
        size = 0

        async def receive() -> Message:
            nonlocal size
            message = await request.receive()
            new = len(message.get("body", b""))
            size += new
            self._held += new
            if size > ENVELOPE and self._held > BODIES * self.limit(request.url.path):
                raise ApiError(503, "Too many uploads at a time.", "busy", headers={"Retry-After": "5"})
            return message

        try:
            yield Request(request.scope, receive)
        finally:
            self._held -= size

    async def of_chat(self, given: schema.InputAudio) -> Upload:
        """The recording of a chat.

        Raises:
            ApiError: it is no base64, no recording, or not kept any more; or too many wait.
        """
        if given.recording is not None:
            return await asyncio.to_thread(self.recordings.refer, given.recording)
        try:
            data = await asyncio.to_thread(base64.b64decode, given.data or "", validate=True)
        except (binascii.Error, ValueError) as error:
            raise ApiError(400, "The recording is no base64.", "invalid_base64", param="input_audio") from error
        return await self._receive(io.BytesIO(data), (str(given.format),))

    async def of_file(self, file: UploadFile) -> Upload:
        """The recording of a form; what its name and type say is not relied on.

        Raises:
            ApiError: it says to be something else than a recording, or is; or too many wait.
        """
        if file.content_type and not file.content_type.lower().startswith(_MEDIA):
            raise ApiError(415, "Expected a file of type audio/... .", "invalid_audio_format", param="file")
        return await self._receive(file.file, schema.FILE_FORMATS)

    async def _receive(self, file: Readable, kinds: tuple[str, ...]) -> Upload:
        self.turns.check()  # who is refused pushes nothing out of the store
        return await asyncio.to_thread(self.recordings.receive, file, kinds)

    async def run(self, work: Callable[[SpeechLM, Event], T]) -> T:
        """Has something done with the model when its turn has come."""
        with self._named():
            async with self.turns.turn():
                return await self.engine.call(work)

    async def answer(self, upload: Upload, question: Question) -> AsyncGenerator[Piece | Answered, None]:
        """`answering.answer` in its turn."""
        with self._named():
            async with (
                self.turns.turn(),
                aclosing(answer(self.engine, self.recordings, upload, question)) as pieces,
            ):
                async for piece in pieces:
                    if isinstance(piece, Answered):
                        self._count(piece)
                    yield piece

    async def wav(self, recording: str) -> Path:
        """See `Recordings.wav`; one at a time, as samples take memory."""
        stop = Event()
        try:
            async with self._drawing:
                return await asyncio.to_thread(self.recordings.wav, stop, recording)
        finally:
            stop.set()

    def _count(self, said: Answered) -> None:
        seconds, tokens = said.answer.seconds, said.answer.tokens
        for step in ("encode", "prune", "prefill", "decode"):
            self.metrics.seconds.labels(step).observe(getattr(seconds, step))
        for kind, count in (("audio", tokens.audio), ("kept", tokens.kept), ("completion", said.tokens)):
            self.metrics.tokens.labels(kind).inc(count)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Has errors call the model as clients do: its name may be a folder of the server."""
        try:
            yield
        except AuricleError as error:
            raise type(error)(str(error).replace(self.engine.lm.name, self.model)) from error


def _public(name: str) -> str:
    """A model's name for clients: of a folder, only what it is called."""
    path = Path(name)
    return path.resolve().name if path.is_absolute() or path.is_dir() else name
