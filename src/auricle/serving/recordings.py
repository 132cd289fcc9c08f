"""Recordings that a server was given: files, speech tokens and memories, each kept under the file's SHA-256."""

import hashlib
import logging
import shutil
import tempfile
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from auricle.asking import Recording, encode
from auricle.audio import SAMPLE_RATE
from auricle.errors import MemoryFileError
from auricle.models.hugging_face import HuggingFaceSpeechLM
from auricle.serving import sound
from auricle.serving.engine import checkpoint
from auricle.serving.failures import DISK_FULL, ApiError
from auricle.serving.metrics import Metrics
from auricle.serving.options import Options
from auricle.serving.store import Store, sha256
from auricle.speech_lm import AudioTokens, SpeechLM
from auricle.summarization.memory import Memory
from auricle.summarization.summarizer import Summarizer
from auricle.summarization.summarizer import load as load_summarizer
from auricle.timing import now

logger = logging.getLogger("auricle.serving")
_BLOCK = 1 << 20


@runtime_checkable
class Readable(Protocol):
    """A file of bytes that can be read again from its start, in memory or not."""

    def read(self, size: int = ..., /) -> bytes:
        """Up to `size` bytes."""

    def seek(self, place: int, /) -> int:
        """Where to read from."""


@dataclass(frozen=True)
class Upload:
    """A recording that a request is about.

    Attributes:
        recording: SHA-256 of the file, in hexadecimal.
        path: the file, as long as the request lasts, to be checked by its hash; None if only its tokens are kept.
        kept: whether it can be referred to by its hash.
    """

    recording: str
    path: Path | None
    kept: bool

    def close(self) -> None:
        """Lets go of the file."""
        if self.path:
            self.path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Encoded:
    """A recording's speech tokens.

    Attributes:
        recording: the tokens, the duration, and how long it took to have them.
        peaks: outline of the waveform (`auricle.serving.sound.peaks`).
        cached: whether they were in the store.
    """

    recording: Recording
    peaks: Float[np.ndarray, "columns 2"]
    cached: bool


@dataclass(frozen=True)
class Remembered:
    """A recording's memory.

    Attributes:
        memory: for one ratio.
        seconds: how long it took to encode and summarize, or to read what was kept.
        cached: whether it was in the store.
    """

    memory: Memory
    seconds: float
    cached: bool


class Recordings:
    """What is kept of recordings, and made again where it is not. What takes an `lm` runs where the model may."""

    def __init__(self, store: Store, lm: SpeechLM, options: Options, metrics: Metrics) -> None:
        """Takes the store and the limits; `lm` is only asked what its weights are."""
        self._store = store
        self._options = options
        self._metrics = metrics
        # Tokens of other weights are others; models that are not of transformers cannot be told apart.
        self._encoder = (lm.encoder_hash if isinstance(lm, HuggingFaceSpeechLM) else uuid.uuid4().hex)[:16]
        self._summarizer: Summarizer | None = None
        # Of this store alone, which has one server: what has the name already is what a killed one left.
        self._prefix = f"auricle-{hashlib.sha256(bytes(options.store.resolve())).hexdigest()[:16]}-"
        for left in Path(tempfile.gettempdir()).glob(f"{self._prefix}*"):
            with suppress(OSError):  # somebody else's
                left.unlink()

    def receive(self, file: Readable, allowed: tuple[str, ...]) -> Upload:
        """Checks an upload and keeps it; where the store has no room, only for this request.

        Raises:
            ApiError: too large, or not one of the kinds of file that are `allowed`.
        """
        digest, size, head = hashlib.sha256(), 0, b""
        file.seek(0)
        while block := file.read(_BLOCK):
            head = head or block[: sound.HEAD]
            digest.update(block)
            size += len(block)
        if size > self._options.max_upload_bytes:
            limit = self._options.max_upload_bytes / 1e6
            raise ApiError(413, f"The recording is larger than {limit:g} MB.", "upload_too_large")
        if sound.kind(head) not in allowed:
            raise ApiError(
                400, f"The recording is none of {', '.join(allowed)}; convert it first.", "invalid_audio_format"
            )
        recording = digest.hexdigest()
        key = f"{recording}.audio"
        path = self._store.borrow(key)
        if path is None and self._keep(key, partial(_copy, file)):
            path = self._store.borrow(key)
        return Upload(recording, path or _temporary(file, self._prefix), kept=path is not None)

    def refer(self, recording: str) -> Upload:
        """A recording that was uploaded before.

        Raises:
            ApiError: 404, it is not kept (any more).
        """
        path = self._store.borrow(f"{recording}.audio", checked=False)  # its tokens may be all that is needed
        if path is None and not self._store.has(self._tokens_key(recording)):
            raise _gone(recording)
        return Upload(recording, path, kept=path is not None)

    def wav(self, stop: Event, recording: str) -> Path:
        """A wav of 16 kHz for players; whoever is given it removes it.

        Raises:
            ApiError: 404, it is not kept (any more), or 507, there is no room.
            StoppedError: nobody waits for it.
        """
        key = f"{recording}.wav"
        if path := self._store.borrow(key):
            return path
        with self._store.lend(f"{recording}.audio") as audio:
            if audio is None:
                raise _gone(recording)
            waveform = sound.read(audio, self._options.max_seconds, partial(checkpoint, stop))
        if self._keep(key, partial(sound.write_wav, waveform)) and (path := self._store.borrow(key)):
            return path
        raise ApiError(507, "The server has no room left for recordings; try again later.", "insufficient_storage")

    def encoded(self, lm: SpeechLM, stop: Event, upload: Upload) -> Encoded:
        """The recording's speech tokens, encoded unless they are kept.

        Raises:
            AudioError: it cannot be used.
            ApiError: 404, it is not kept (any more).
            StoppedError: nobody waits for it.
        """
        key = self._tokens_key(upload.recording)
        found = self._read_tokens(lm, key)
        self._metrics.cache.labels("tokens", "hit" if found else "miss").inc()
        if found:
            return found
        if upload.path is None or sha256(upload.path) != upload.recording:
            raise _gone(upload.recording)
        waveform = sound.read(upload.path, self._options.max_seconds, partial(checkpoint, stop))
        recording = encode(lm, waveform, SAMPLE_RATE, lambda *_: checkpoint(stop))
        made = Encoded(recording, sound.peaks(waveform), cached=False)
        self._keep(key, partial(_write_tokens, made))
        return made

    def remembered(self, lm: SpeechLM, stop: Event, upload: Upload, ratio: int) -> Remembered:
        """The recording's memory at a ratio, made unless it is kept.

        Raises:
            ContextLengthError: so much of the recording does not fit into the model's context.
            ModelError: the model cannot summarize.
            OptionError: there are no SSTs for it.
            AudioError, ApiError, StoppedError: as for `encoded`.
        """
        summarizer = self.summarizer(lm)
        key, start = f"{upload.recording}.memory-{ratio}-{summarizer.weights_hash[:16]}", now()
        found = self._read_memory(key)
        self._metrics.cache.labels("memory", "hit" if found else "miss").inc()
        if found:
            return Remembered(found, now() - start, cached=True)
        recording = self.encoded(lm, stop, upload).recording
        memory = summarizer.summarize(
            recording.tokens,
            options=summarizer.at(ratio),
            duration=recording.duration,
            on_interval=lambda *_: checkpoint(stop),
        )
        self._keep(key, memory.save)
        return Remembered(memory, now() - start, cached=False)

    def summarizer(self, lm: SpeechLM) -> Summarizer:
        """The model with its SSTs, loaded when it is first needed."""
        if self._summarizer is None:
            self._summarizer = load_summarizer(lm, self._options.sst)
        return self._summarizer

    def _keep(self, key: str, write: Callable[[Path], None]) -> bool:
        """Whether it could be kept; the server goes on without."""
        try:
            kept = self._store.put(key, write)
        except OSError as error:
            logger.warning("A file could not be kept in the store: %s.", error.strerror)
            kept = False
            if error.errno not in DISK_FULL:
                raise
        if not kept:
            self._metrics.unkept.inc()
        return kept

    def _tokens_key(self, recording: str) -> str:
        return f"{recording}.tokens-{self._encoder}"

    def _read_tokens(self, lm: SpeechLM, key: str) -> Encoded | None:
        start = now()
        with self._store.lend(key) as path:
            if path is None:
                return None
            try:
                with safe_open(path, framework="pt") as file:
                    embeds, times, peaks = (file.get_tensor(name) for name in ("embeds", "times", "peaks"))
                    about = file.metadata()
            except (OSError, SafetensorError):
                return None
        device = lm.device if isinstance(lm, HuggingFaceSpeechLM) else torch.device("cpu")
        tokens = AudioTokens(embeds.to(device), times, about["aligned"] == "True")
        return Encoded(Recording(tokens, float(about["duration"]), now() - start), peaks.numpy(), cached=True)

    def _read_memory(self, key: str) -> Memory | None:
        with self._store.lend(key) as path:
            try:
                return Memory.load(path) if path else None
            except MemoryFileError:
                return None


def _write_tokens(made: Encoded, path: Path) -> None:
    tokens, about = made.recording.tokens, {"duration": repr(made.recording.duration)}
    tensors = {"embeds": tokens.embeds.cpu(), "times": tokens.times, "peaks": torch.from_numpy(made.peaks)}
    contiguous = {name: each.contiguous() for name, each in tensors.items()}
    path.write_bytes(save(contiguous, about | {"aligned": str(tokens.aligned)}))  # save_file hides a full disk


def _copy(file: Readable, path: Path) -> None:
    file.seek(0)
    with path.open("wb") as copy:
        shutil.copyfileobj(file, copy, _BLOCK)


def _temporary(file: Readable, prefix: str) -> Path:
    with tempfile.NamedTemporaryFile(prefix=prefix, delete=False) as copy:
        path = Path(copy.name)
    try:
        _copy(file, path)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def _gone(recording: str) -> ApiError:
    return ApiError(404, f"The recording {recording} is not kept (any more); send it again.", "recording_not_found")
