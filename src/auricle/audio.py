"""Recordings in: any file, rate, channels and length, or an array; out: mono float32 at 16 kHz."""

import shutil
import subprocess
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import soundfile
import soxr
from jaxtyping import Float, Shaped

from auricle.errors import AudioError, AudioLengthError

SAMPLE_RATE = 16_000  # samples per second, what every supported speech encoder expects
WINDOW_SECONDS = 30  # what Whisper-like encoders see at a time
WINDOW_SAMPLES = WINDOW_SECONDS * SAMPLE_RATE
EARLIEST_CUT = 22 * SAMPLE_RATE
CUT_STEP = 1280  # 80 ms
SHORTEST_SECONDS = 0.1  # below this no encoder yields a token

_BLOCK = 1 << 20  # samples that are read and resampled at a time
_UNKNOWN = 1 << 62  # libsndfile's frames of a FLAC that was written to a pipe are about twice that
_STREAMED = 0x7FFF_F000  # programs that write to a pipe put at least this as the size of a WAV's data

# What FFmpeg may take a file for: containers of recordings, no playlist, which would have it open other files.
_CONTAINERS = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dts,eac3,flac,flv,matroska,mov,mp3,mpc,mpc8,mpeg,mpegts,"
    "ogg,tak,tta,w64,wav,webm,wv"
)
_TIMED = "matroska,mov"  # of these, those that say how long they are where libsndfile cannot: webm and mp4

Waveform = Float[np.ndarray, "samples"]


def load(
    source: str | Path | Shaped[np.ndarray, "..."],
    sampling_rate: int | None = None,
    *,
    longest: float | None = None,
    on_block: Callable[[], None] | None = None,
) -> Waveform:
    """Reads a recording as mono float32 at `SAMPLE_RATE`.

    Args:
        source: a file that libsndfile or FFmpeg reads, or an array of shape `samples`,
            `samples channels` or `channels samples` (the longer axis is time), float in -1..1 or integer.
        sampling_rate: Hz; required for an array, must be omitted for a file.
        longest: seconds that are accepted; more is never decoded, whatever the file's header says. A file that
            says itself that it is longer is refused at once. One that does not say (a FLAC or a webm that was
            written to a pipe) is decoded up to there.
        on_block: called while a file is decoded, again and again; what it raises ends the decoding, and FFmpeg.

    Raises:
        AudioError: missing or unreadable file, no samples, NaN or infinite samples, shorter than 0.1 s.
        AudioLengthError: it is longer than `longest`.
    """
    if isinstance(source, np.ndarray):
        if sampling_rate is None:
            raise AudioError("An array was given without its sampling rate; pass sampling_rate=..., in Hz.")
        return prepare(source, sampling_rate, longest=longest)
    if sampling_rate is not None:
        raise AudioError("sampling_rate was given for a file, which knows its own; leave it out.")
    path = Path(source)
    try:
        if path.is_dir():
            raise AudioError(f"The recording '{path}' is a folder; name a file in it.")
        if not path.is_file():
            raise AudioError(f"There is no recording at '{path}'; check the path.")
        with path.open("rb") as file:
            if not file.read(1):
                raise AudioError(f"The recording '{path}' is an empty file (0 bytes); record or copy it again.")
    except OSError as error:
        raise AudioError(f"The recording '{path}' cannot be opened: {error.strerror}.") from error
    except ValueError as error:  # a null byte in the name
        raise AudioError(f"The recording {str(path)!r} cannot be opened: {error}.") from error
    return _read(path, f"the recording '{path}'", longest, on_block or _go_on)


def prepare(
    array: Shaped[np.ndarray, "..."],
    sampling_rate: int,
    name: str = "the array",
    *,
    longest: float | None = None,
) -> Waveform:
    """Checks samples, mixes the channels down and resamples to `SAMPLE_RATE`.

    Args:
        array: shape `samples`, `samples channels` or `channels samples` (the longer axis is time).
        sampling_rate: Hz.
        name: how an error message calls it.
        longest: see `load`.

    Raises:
        AudioError: as for `load`.
    """
    if array.ndim not in (1, 2):
        raise AudioError(f"Expected samples or samples x channels, but {name} has {array.ndim} dimensions.")
    time_last = array.ndim == 2 and array.shape[0] < array.shape[1]
    samples = array.T if time_last else array
    length = len(samples) if array.size else 0
    blocks = (samples[start : start + _BLOCK] for start in range(0, length, _BLOCK))
    return _resample(blocks, sampling_rate, name, longest)


def windows(waveform: Waveform, size: int = WINDOW_SAMPLES) -> Iterator[Waveform]:
    """Cuts a recording into consecutive windows of `size` samples; the last one may be shorter."""
    for start in range(0, len(waveform), size):
        yield waveform[start : start + size]


def windows_at_pauses(waveform: Waveform) -> Iterator[Waveform]:
    """Cuts a recording at 16 kHz into windows of 22 to 30 s where it is quietest, so that few words are cut in two.

    Cuts lie at multiples of `CUT_STEP` samples; the energy of two steps on either side counts. The last window may
    be shorter.
    """
    start, first = 0, EARLIEST_CUT // CUT_STEP
    while len(waveform) - start > WINDOW_SAMPLES:
        steps = waveform[start : start + WINDOW_SAMPLES].astype(np.float64).reshape(-1, CUT_STEP)
        energy = np.convolve((steps**2).mean(1), np.ones(4), "same")
        cut = (first + int(energy[first:-1].argmin())) * CUT_STEP
        yield waveform[start : start + cut]
        start += cut
    yield waveform[start:]


def spans(times: Float[np.ndarray, "audio 2"], gap: float = 1e-3) -> list[tuple[float, float]]:
    """Merges token times in seconds, sorted by start, into spans; tokens closer than `gap` s are joined."""
    merged: list[tuple[float, float]] = []
    for start, end in times.tolist():
        if merged and start - merged[-1][1] <= gap:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _go_on() -> None:
    pass


def _resample(
    blocks: Iterable[Shaped[np.ndarray, "..."]],
    sampling_rate: int,
    name: str,
    longest: float | None,
    on_block: Callable[[], None] = _go_on,
) -> Waveform:
    """Blocks of `samples` or `samples channels` as one waveform; only the result is held whole."""
    if sampling_rate <= 0:
        raise AudioError(f"The sampling rate of {name} is {sampling_rate}; expected a positive number of Hz.")
    stream = soxr.ResampleStream(sampling_rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
    given, pieces = 0, []
    for block in blocks:
        on_block()
        mono = _mono(block, name)
        if not np.isfinite(mono).all():
            raise AudioError(f"There are NaN or infinite samples in {name}; repair or export it again.")
        given += len(mono)
        _check_length(given / sampling_rate, name, longest)
        pieces.append(stream.resample_chunk(mono))
    if given == 0:
        raise AudioError(f"There are 0 samples in {name}; expected at least {SHORTEST_SECONDS} s of audio.")
    if given / sampling_rate < SHORTEST_SECONDS:
        milliseconds = given / sampling_rate * 1000
        raise AudioError(
            f"There are only {milliseconds:.0f} ms of audio in {name}; expected at least {SHORTEST_SECONDS} s."
        )
    pieces.append(stream.resample_chunk(np.zeros(0, np.float32), last=True))
    return np.concatenate(pieces)


def _check_length(seconds: float, name: str, longest: float | None) -> None:
    if longest is not None and seconds > longest:
        raise AudioLengthError(
            f"There are more than {longest:g} s of audio in {name}; expected at most {longest / 60:g} minutes."
        )


def _mono(block: Shaped[np.ndarray, "..."], name: str) -> Waveform:
    """The mean of the channels, as float32 in -1..1."""
    if np.issubdtype(block.dtype, np.signedinteger):
        scale = -float(np.iinfo(block.dtype).min)
    elif np.issubdtype(block.dtype, np.floating):
        scale = 1.0
    else:
        raise AudioError(f"The samples of {name} are {block.dtype}; expected floats in -1..1 or signed integers.")
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, and that is refused
        mono = (block if block.ndim == 1 else block.mean(axis=1, dtype=np.float64)) / scale
        return np.ascontiguousarray(mono, dtype=np.float32)


def _read(path: Path, name: str, longest: float | None, on_block: Callable[[], None]) -> Waveform:
    try:
        with soundfile.SoundFile(path) as file:
            if file.frames < _UNKNOWN:
                _check_length(file.frames / max(file.samplerate, 1), name, longest)
            blocks = _blocks(file, path)
            return _resample(blocks, file.samplerate, name, longest, on_block)
    except soundfile.LibsndfileError as error:
        return _read_ffmpeg(path, name, str(error), longest, on_block)


def _blocks(file: "soundfile.SoundFile", path: Path) -> Iterator[Shaped[np.ndarray, "..."]]:
    """What libsndfile reads, block by block, and then whether that was all that the header promises."""
    found = 0
    while len(block := file.read(_BLOCK, dtype="float32", always_2d=True)):
        found += len(block)
        yield block
    promised = _promised_frames(path, file)
    if found < promised:
        raise AudioError(
            f"The recording '{path}' is truncated: its header promises {promised / file.samplerate:.2f} s"
            f" but {found / file.samplerate:.2f} s are there; copy or record it again."
        )


def _promised_frames(path: Path, info: "soundfile.SoundFile") -> int:
    """Frames that a WAV header announces; libsndfile silently trusts the file's size instead."""
    if info.format not in ("WAV", "WAVEX"):
        return int(info.frames)
    block = 1
    with path.open("rb") as file:
        file.seek(12)  # behind "RIFF", its size and "WAVE"
        while len(chunk := file.read(8)) == 8:
            size = int.from_bytes(chunk[4:], "little")
            if chunk[:4] == b"data":
                streamed = size == 0 or size >= _STREAMED
                return int(info.frames) if streamed else size // max(block, 1)
            body = file.read(16) if chunk[:4] == b"fmt " else b""
            block = int.from_bytes(body[12:14], "little") or block
            file.seek(size + size % 2 - len(body), 1)
    return int(info.frames)


def _read_ffmpeg(
    path: Path, name: str, reason: str, longest: float | None, on_block: Callable[[], None]
) -> Waveform:
    program = shutil.which("ffmpeg")
    if program is None:
        raise AudioError(f"The recording '{path}' cannot be read ({reason}); install ffmpeg for more formats.")
    command = [program, "-nostdin", "-v", "error", "-xerror", *_only(path, _CONTAINERS)]
    command += ["-map", "0:a:0", "-ac", "1", "-ar", str(SAMPLE_RATE)]
    if longest is not None:
        _check_length(_told_seconds(path) - 1, name, longest)  # containers round; the samples are counted below
        command += ["-t", f"{longest + 1:.3f}"]
    with closing(_decoded([*command, "-f", "f32le", "-"], path)) as blocks:
        return _resample(blocks, SAMPLE_RATE, name, longest, on_block)


def _only(path: Path, containers: str) -> list[str]:
    """This file and no other: a playlist that pretends to be a recording must not reach the network or files."""
    return ["-protocol_whitelist", "file", "-format_whitelist", containers, "-i", f"file:{path}"]


def _told_seconds(path: Path) -> float:
    """How long a webm or mp4 says that it is, by FFmpeg's ffprobe; 0 where that is not known.

    Of other containers ffprobe would guess it by their size.
    """
    program = shutil.which("ffprobe")
    if program is None:
        return 0.0
    command = [program, "-v", "error", "-select_streams", "a:0", "-show_entries", "stream=duration:format=duration"]
    command += ["-of", "default=noprint_wrappers=1:nokey=1", *_only(path, _TIMED)]
    told = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False).stdout
    return next((float(each) for each in told.split() if each[:1].isdigit()), 0.0)


def _decoded(command: list[str], path: Path) -> Generator[Float[np.ndarray, "samples"], None, None]:
    """What FFmpeg decodes, block by block; it ends with whoever reads."""
    found = False
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as program:
        try:
            while program.stdout and (block := program.stdout.read(4 * _BLOCK)):
                found = True
                yield np.frombuffer(block[: len(block) // 4 * 4], dtype="<f4")
        except BaseException:
            program.kill()
            raise
    if program.returncode and found:
        raise AudioError(f"The recording '{path}' is truncated or damaged; copy or record it again.")
    if program.returncode:
        raise AudioError(f"The recording '{path}' is no audio that libsndfile or FFmpeg can read.")
