"""Recordings in: any file, rate, channels and length, or an array; out: mono float32 at 16 kHz."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr
from jaxtyping import Float, Shaped

from auricle.errors import AudioError

SAMPLE_RATE = 16_000  # samples per second, what every supported speech encoder expects
WINDOW_SECONDS = 30  # what Whisper-like encoders see at a time
WINDOW_SAMPLES = WINDOW_SECONDS * SAMPLE_RATE
SHORTEST_SECONDS = 0.1  # below this no encoder yields a token

Waveform = Float[np.ndarray, "samples"]


def load(source: str | Path | Shaped[np.ndarray, "..."], sampling_rate: int | None = None) -> Waveform:
    """Reads a recording as mono float32 at `SAMPLE_RATE`.

    Args:
        source: a file that libsndfile or FFmpeg reads, or an array of shape `samples`,
            `samples channels` or `channels samples` (the longer axis is time), float in -1..1 or integer.
        sampling_rate: Hz; required for an array, must be omitted for a file.

    Raises:
        AudioError: missing or unreadable file, no samples, NaN or infinite samples, shorter than 0.1 s.
    """
    if isinstance(source, np.ndarray):
        if sampling_rate is None:
            raise AudioError("An array was given without its sampling rate; pass sampling_rate=..., in Hz.")
        return prepare(source, sampling_rate)
    if sampling_rate is not None:
        raise AudioError("sampling_rate was given for a file, which knows its own; leave it out.")
    path = Path(source)
    try:
        if not path.is_file():
            raise AudioError(f"There is no recording at '{path}'; check the path.")
        if path.stat().st_size == 0:
            raise AudioError(f"The recording '{path}' is an empty file (0 bytes); record or copy it again.")
    except OSError as error:
        raise AudioError(f"The recording '{path}' cannot be opened: {error.strerror}.") from error
    return prepare(*_read(path), name=f"the recording '{path}'")


def prepare(array: Shaped[np.ndarray, "..."], sampling_rate: int, name: str = "the array") -> Waveform:
    """Checks samples, mixes the channels down and resamples to `SAMPLE_RATE`.

    Args:
        array: shape `samples`, `samples channels` or `channels samples` (the longer axis is time).
        sampling_rate: Hz.
        name: how an error message calls it.

    Raises:
        AudioError: as for `load`.
    """
    if sampling_rate <= 0:
        raise AudioError(f"The sampling rate of {name} is {sampling_rate}; expected a positive number of Hz.")
    if array.ndim not in (1, 2):
        raise AudioError(f"Expected samples or samples x channels, but {name} has {array.ndim} dimensions.")
    if array.size == 0:
        raise AudioError(f"There are 0 samples in {name}; expected at least {SHORTEST_SECONDS} s of audio.")
    samples = _as_float(array, name)
    if samples.ndim == 2:
        samples = samples.mean(axis=int(np.argmin(samples.shape)), dtype=np.float32)
    if not np.isfinite(samples).all():
        raise AudioError(f"There are NaN or infinite samples in {name}; repair or export it again.")
    seconds = len(samples) / sampling_rate
    if seconds < SHORTEST_SECONDS:
        raise AudioError(
            f"Only {seconds * 1000:.0f} ms of audio in {name}; expected at least {SHORTEST_SECONDS} s."
        )
    resampled: np.ndarray = soxr.resample(samples, sampling_rate, SAMPLE_RATE, quality="HQ")
    return np.ascontiguousarray(resampled, dtype=np.float32)


def windows(waveform: Waveform, size: int = WINDOW_SAMPLES) -> Iterator[Waveform]:
    """Cuts a recording into consecutive windows of `size` samples; the last one may be shorter."""
    for start in range(0, len(waveform), size):
        yield waveform[start : start + size]


def spans(times: Float[np.ndarray, "audio 2"], gap: float = 1e-3) -> list[tuple[float, float]]:
    """Merges token times in seconds, sorted by start, into spans; tokens closer than `gap` s are joined."""
    merged: list[tuple[float, float]] = []
    for start, end in times.tolist():
        if merged and start - merged[-1][1] <= gap:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _as_float(array: Shaped[np.ndarray, "..."], name: str) -> Float[np.ndarray, "..."]:
    if np.issubdtype(array.dtype, np.floating):
        return array.astype(np.float32, copy=False)
    if np.issubdtype(array.dtype, np.signedinteger):
        return array.astype(np.float32) / -float(np.iinfo(array.dtype).min)
    raise AudioError(f"The samples of {name} are {array.dtype}; expected floats in -1..1 or signed integers.")


def _read(path: Path) -> tuple[Shaped[np.ndarray, "..."], int]:
    try:
        info = soundfile.info(path)
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        return _read_ffmpeg(path, str(error))
    promised = _promised_frames(path, info)
    if len(samples) < promised:
        raise AudioError(
            f"The recording '{path}' is truncated: its header promises {promised / rate:.1f} s"
            f" but {len(samples) / rate:.1f} s are there; copy or record it again."
        )
    return samples, int(rate)


def _promised_frames(path: Path, info: "soundfile._SoundFileInfo") -> int:
    """Frames that a WAV header announces; libsndfile silently trusts the file's size instead."""
    if info.format != "WAV":
        return int(info.frames)
    with path.open("rb") as file:
        file.seek(12)  # behind "RIFF", its size and "WAVE"
        while len(chunk := file.read(8)) == 8:
            size = int.from_bytes(chunk[4:], "little")
            if chunk[:4] == b"fmt ":
                block = int.from_bytes(file.read(size)[12:14], "little")
                continue
            if chunk[:4] == b"data":
                streamed = size in (0, 0xFFFFFFFF, 0x7FFFFFFF - 36, 0xFFFFFFFF - 36)  # writers to a pipe
                return int(info.frames) if streamed else size // max(block, 1)
            file.seek(size + size % 2, 1)
    return int(info.frames)


def _read_ffmpeg(path: Path, reason: str) -> tuple[Shaped[np.ndarray, "..."], int]:
    program = shutil.which("ffmpeg")
    if program is None:
        raise AudioError(f"The recording '{path}' cannot be read ({reason}); install ffmpeg for more formats.")
    command = [program, "-nostdin", "-v", "error", "-xerror", "-i", f"file:{path}", "-map", "0:a:0"]
    command += ["-ac", "1", "-ar", str(SAMPLE_RATE), "-f", "f32le", "-"]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise AudioError(f"The recording '{path}' is no audio that libsndfile or FFmpeg can read.")
    return np.frombuffer(done.stdout, dtype="<f4"), SAMPLE_RATE
