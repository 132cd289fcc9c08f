"""Uploads as recordings: what a file is by its first bytes, its samples within bounds, and its outline."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
from jaxtyping import Float

from auricle import audio
from auricle.audio import SAMPLE_RATE, Waveform
from auricle.errors import AudioError

COLUMNS = 800  # of a drawn waveform
MOST_CHANNELS = 32
RATES = (1000, 384_000)  # Hz
HEAD = 16  # bytes that tell what a file is


def kind(head: bytes) -> str | None:
    """wav, flac, ogg, mp3, mp4 (m4a) or webm by a file's first `HEAD` bytes; None for everything else.

    Names and content types are what the sender says; a playlist or a page that bears an audio file's name is none.
    """
    if head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:12] == b"WAVE":
        return "wav"
    if head[4:8] == b"ftyp":
        return "mp4"
    begins = {b"fLaC": "flac", b"OggS": "ogg", b"ID3": "mp3", b"\x1a\x45\xdf\xa3": "webm"}
    found = next((name for start, name in begins.items() if head.startswith(start)), None)
    frame = len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[1] & 0x06 != 0
    return found or ("mp3" if frame else None)


def read(path: Path, longest: float, on_block: Callable[[], None] | None = None) -> Waveform:
    """The samples of an upload; what is longer than `longest` seconds is refused before all of it is decoded.

    Args:
        path: the file.
        longest: see `auricle.audio.load`.
        on_block: called while it is decoded; what it raises ends that.

    Raises:
        AudioError: it cannot be used. The message does not say where the file is.
        AudioLengthError: it is too long.
    """
    try:
        check_header(path)
        return audio.load(path, longest=longest, on_block=on_block)
    except AudioError as error:
        raise type(error)(str(error).replace(f" '{path}'", "")) from None
    except (RuntimeError, ValueError, TypeError) as error:  # what libsndfile and soxr make of strange headers
        raise AudioError("The recording cannot be decoded; export it again.") from error


def check_header(path: Path) -> None:
    """Refuses headers that would have too much memory taken.

    Raises:
        AudioError: more channels or another sampling rate than recordings have.
    """
    try:
        with soundfile.SoundFile(path) as file:
            channels, rate = file.channels, file.samplerate
    except soundfile.LibsndfileError:
        return  # FFmpeg's, which is told how much to decode
    if channels > MOST_CHANNELS or not RATES[0] <= rate <= RATES[1]:
        raise AudioError(
            f"The recording has {channels} channels at {rate} Hz; expected at most {MOST_CHANNELS} channels at"
            f" {RATES[0]} to {RATES[1]} Hz."
        )


def peaks(waveform: Waveform, columns: int = COLUMNS) -> Float[np.ndarray, "columns 2"]:
    """Lowest and highest sample of each of `columns` equal stretches, of at least one sample each."""
    edges = np.linspace(0, len(waveform), columns + 1)
    first = np.minimum(edges[:-1].astype(int), len(waveform) - 1)
    last = np.maximum(np.ceil(edges[1:]).astype(int), first + 1)
    stretches = (waveform[start:end] for start, end in zip(first, last, strict=True))
    return np.array([(each.min(), each.max()) for each in stretches], dtype=np.float32)


def write_wav(waveform: Waveform, path: Path) -> None:
    """A wav of 16 bits for players."""
    soundfile.write(path, waveform, SAMPLE_RATE, format="WAV", subtype="PCM_16")
