import shutil
import subprocess
import tracemalloc
import wave

import numpy as np
import pytest
import soundfile

from auricle import audio
from auricle.audio import SAMPLE_RATE, load, prepare, spans, windows, windows_at_pauses
from auricle.errors import AudioError, AudioLengthError
from auricle.models.mini.modeling import TOKEN_SAMPLES

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
FFMPEG_FORMATS = [pytest.param(name, marks=needs_ffmpeg) for name in ("m4a", "opus", "webm", "wma")]


def tone(seconds: float = 1.0, rate: int = SAMPLE_RATE, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def loudest_hertz(waveform: np.ndarray) -> float:
    return float(np.abs(np.fft.rfft(waveform)).argmax() * SAMPLE_RATE / len(waveform))


def write(path, samples, rate=SAMPLE_RATE, **options):
    soundfile.write(path, samples, rate, **options)
    return path


def ffmpeg(*arguments):
    subprocess.run(["ffmpeg", "-v", "error", "-y", *map(str, arguments)], check=True)


@pytest.mark.parametrize("name", ["wav", "flac", "mp3", "ogg", *FFMPEG_FORMATS])
def test_every_format_gives_the_same_tone_and_length(tmp_path, name):
    wav, path = write(tmp_path / "tone.wav", tone(2.0, 44_100), 44_100), tmp_path / f"tone.{name}"
    if name in ("wav", "flac", "mp3", "ogg"):
        write(path, tone(2.0, 44_100), 44_100)
    else:
        ffmpeg("-i", wav, path)
    waveform = load(path)
    assert waveform.dtype == np.float32
    assert waveform.ndim == 1
    assert len(waveform) / SAMPLE_RATE == pytest.approx(2.0, abs=0.1)  # codecs pad
    assert loudest_hertz(waveform) == pytest.approx(440, abs=2)
    assert np.sqrt((waveform**2).mean()) == pytest.approx(0.5 / np.sqrt(2), abs=0.03)


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000, 96_000])
def test_every_rate_keeps_pitch_and_duration(rate):
    waveform = load(tone(1.0, rate), rate)
    assert abs(len(waveform) - SAMPLE_RATE) <= 1
    assert loudest_hertz(waveform) == pytest.approx(440, abs=1.5)


def test_blocks_do_not_show(monkeypatch):
    samples = np.random.default_rng(0).standard_normal(50_000).astype(np.float32) / 10
    whole = prepare(samples, 44_100)
    monkeypatch.setattr(audio, "_BLOCK", 777)
    np.testing.assert_allclose(prepare(samples, 44_100), whole, atol=1e-6)


def test_at_16_khz_nothing_changes():
    np.testing.assert_array_equal(prepare(tone(), SAMPLE_RATE), tone())


@pytest.mark.parametrize("channels", [2, 6])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_channels_of_a_file_are_averaged(tmp_path, channels, subtype):
    samples = np.zeros((SAMPLE_RATE, channels), np.float32)
    samples[:, 1] = tone()
    waveform = load(write(tmp_path / "many.wav", samples, subtype=subtype))
    np.testing.assert_allclose(waveform, tone() / channels, atol=1e-4)


@pytest.mark.parametrize("turn", [lambda x: x, lambda x: x.T], ids=["samples channels", "channels samples"])
def test_the_longer_axis_of_an_array_is_time(turn):
    samples = np.stack([tone(), np.zeros_like(tone())], axis=1)
    np.testing.assert_allclose(prepare(turn(samples), SAMPLE_RATE), tone() / 2, atol=1e-6)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64"])
def test_integers_are_scaled_to_one(dtype):
    largest = np.iinfo(dtype).max
    integers = (tone().astype(np.float64) * largest).astype(dtype)
    np.testing.assert_allclose(prepare(integers, SAMPLE_RATE), tone(), atol=1 / 64 if dtype == "int8" else 1e-3)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_stay_as_they_are(dtype):
    np.testing.assert_allclose(prepare(tone().astype(dtype), SAMPLE_RATE), tone(), atol=1e-3)


def test_silence_is_fine():
    assert not prepare(np.zeros(SAMPLE_RATE), SAMPLE_RATE).any()


@pytest.mark.parametrize("dtype", ["uint8", "bool", "complex64"])
def test_other_samples_are_refused(dtype):
    with pytest.raises(AudioError, match=f"are {dtype}"):
        prepare(np.ones(SAMPLE_RATE, dtype), SAMPLE_RATE)


@pytest.mark.parametrize("shape", [(0,), (0, 2), (2, 0)])
def test_no_samples_are_refused(shape):
    with pytest.raises(AudioError, match="0 samples in the array"):
        prepare(np.zeros(shape, np.float32), SAMPLE_RATE)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_samples_that_are_not_finite_are_refused(bad):
    samples = tone().astype(np.float64)
    samples[500] = bad
    with pytest.raises(AudioError, match="NaN or infinite samples"):
        prepare(samples, SAMPLE_RATE)


def test_fifty_milliseconds_are_refused_and_a_tenth_of_a_second_is_not():
    with pytest.raises(AudioError, match="only 50 ms"):
        prepare(tone(0.05), SAMPLE_RATE)
    assert len(prepare(tone(0.1), SAMPLE_RATE)) == 1600


def test_three_dimensions_are_refused():
    with pytest.raises(AudioError, match="3 dimensions"):
        prepare(np.zeros((1, 2, SAMPLE_RATE)), SAMPLE_RATE)


@pytest.mark.parametrize("rate", [0, -16_000])
def test_the_rate_must_be_positive(rate):
    with pytest.raises(AudioError, match="sampling rate"):
        prepare(tone(), rate)


def test_an_array_needs_a_rate_and_a_file_must_not_have_one(tmp_path):
    with pytest.raises(AudioError, match="without its sampling rate"):
        load(tone())
    with pytest.raises(AudioError, match="leave it out"):
        load(write(tmp_path / "tone.wav", tone()), SAMPLE_RATE)


def test_missing_files_folders_and_impossible_names_are_refused(tmp_path):
    with pytest.raises(AudioError, match="no recording at"):
        load(tmp_path / "nothing.wav")
    with pytest.raises(AudioError, match="is a folder"):
        load(tmp_path)
    with pytest.raises(AudioError, match=r"null|no recording"):
        load("a\0b.wav")
    with pytest.raises(AudioError):
        load("x" * 5000)


def test_an_unreadable_file_says_why(tmp_path, monkeypatch):
    path = write(tmp_path / "tone.wav", tone())

    def forbidden(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "open", forbidden)
    with pytest.raises(AudioError, match="Permission denied"):
        load(path)


def test_an_empty_file_is_refused(tmp_path):
    path = tmp_path / "empty.wav"
    path.touch()
    with pytest.raises(AudioError, match="0 bytes"):
        load(path)


@pytest.mark.parametrize(
    "text", ["These are words, not audio.\n" * 50, "#EXTM3U\nhttp://localhost:9/a.ts\n", "RIFF"]
)
def test_text_named_wav_is_refused(tmp_path, text):
    path = tmp_path / "text.wav"
    path.write_text(text)
    with pytest.raises(AudioError, match=r"no audio that|cannot be read"):
        load(path)


def test_a_playlist_cannot_reach_the_network(tmp_path, monkeypatch):
    path = tmp_path / "list.wav"
    path.write_text("#EXTM3U\n#EXTINF:9,\nhttp://localhost:9/a.ts\n#EXT-X-ENDLIST\n")
    seen, popen = [], subprocess.Popen

    def start(command, **how):
        seen.append(command)
        return popen(command, **how)

    monkeypatch.setattr(audio.subprocess, "Popen", start)
    with pytest.raises(AudioError):
        load(path, longest=9.0)
    assert len(seen) == (2 if shutil.which("ffprobe") else 1 if shutil.which("ffmpeg") else 0)
    for command in seen:
        assert command[command.index("-protocol_whitelist") + 1] == "file"
        assert not {"hls", "concat"} & set(command[command.index("-format_whitelist") + 1].split(","))


@pytest.fixture
def decoders(monkeypatch):
    """The processes of FFmpeg that were started to decode."""
    started, popen = [], subprocess.Popen

    def start(command, **how):
        process = popen(command, **how)
        if command[0].endswith("ffmpeg"):
            started.append(process)
        return process

    monkeypatch.setattr(audio.subprocess, "Popen", start)
    return started


@needs_ffmpeg
@pytest.mark.parametrize("name", ["webm", "m4a"])
def test_what_says_that_it_is_too_long_is_not_decoded(tmp_path, decoders, name):
    path = tmp_path / f"long.{name}"
    ffmpeg("-f", "lavfi", "-i", "anullsrc=r=16000:d=90", path)
    del decoders[:]
    with pytest.raises(AudioLengthError, match="more than 60 s"):
        load(path, longest=60.0)
    assert not decoders
    whole = load(path)
    assert np.array_equal(load(path, longest=len(whole) / SAMPLE_RATE), whole)  # whatever the container rounds to


@needs_ffmpeg
def test_what_does_not_say_how_long_it_is_is_decoded_up_to_the_limit(tmp_path, decoders, monkeypatch):
    for name, options in (("live.webm", ("-live", 1)), ("guessed.aac", ())):
        path = tmp_path / name
        ffmpeg("-f", "lavfi", "-i", "anullsrc=r=16000:d=90", *options, path)
        assert audio._told_seconds(path) == 0
        del decoders[:]
        with pytest.raises(AudioLengthError, match="more than 60 s"):
            load(path, longest=60.0)
        assert [each.returncode is None for each in decoders] == [False]
        assert len(load(path, longest=100.0)) == pytest.approx(90 * SAMPLE_RATE, abs=SAMPLE_RATE // 5)
    which = shutil.which
    monkeypatch.setattr(audio.shutil, "which", lambda name: None if name == "ffprobe" else which(name))
    with pytest.raises(AudioLengthError, match="more than 60 s"):
        load(path, longest=60.0)


@needs_ffmpeg
def test_ffmpeg_ends_with_whoever_gives_up(tmp_path, decoders):
    path = tmp_path / "long.webm"
    ffmpeg("-f", "lavfi", "-i", "anullsrc=r=16000:d=1000", path)
    del decoders[:]
    blocks = []

    def give_up():
        blocks.append(1)
        if len(blocks) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load(path, on_block=give_up)
    assert len(blocks) == 2
    assert [each.returncode for each in decoders] == [-9]


def test_without_ffmpeg_the_error_says_what_to_install(tmp_path, monkeypatch):
    path = tmp_path / "text.wav"
    path.write_text("no audio")
    monkeypatch.setattr(audio.shutil, "which", lambda name: None)
    with pytest.raises(AudioError, match="install ffmpeg"):
        load(path)


@pytest.mark.parametrize("kind", ["WAV", "WAVEX"])
@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("left", [0.999, 0.5, 0.1])
def test_a_truncated_wav_is_refused(tmp_path, kind, channels, left):
    samples = np.zeros((SAMPLE_RATE * 2, channels))
    whole = write(tmp_path / "whole.wav", samples, format=kind, subtype="PCM_24").read_bytes()
    path = tmp_path / "cut.wav"
    path.write_bytes(whole[: int(len(whole) * left)])
    with pytest.raises(AudioError, match=r"truncated: its header promises 2\.00 s"):
        load(path)


@pytest.mark.parametrize("name", ["flac", pytest.param("m4a", marks=needs_ffmpeg)])
def test_other_truncated_files_are_refused(tmp_path, name):
    wav = write(tmp_path / "noise.wav", np.random.default_rng(0).uniform(-0.5, 0.5, SAMPLE_RATE * 5))
    path = tmp_path / f"noise.{name}"
    if name == "flac":
        write(path, soundfile.read(wav)[0])
    else:
        ffmpeg("-i", wav, "-movflags", "faststart", path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(AudioError, match=r"truncated|no audio that"):
        load(path)


@pytest.mark.parametrize("size", [0, 0xFFFF_FFFF, 0x7FFF_FFFF, 0x7FFF_FFFF - 36])
def test_a_wav_that_was_written_to_a_pipe_is_read_to_its_end(tmp_path, size):
    path = write(tmp_path / "piped.wav", tone(), subtype="PCM_16")
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = size.to_bytes(4, "little")
    path.write_bytes(bytes(content))
    if size == 0:  # libsndfile takes 0 at its word
        with pytest.raises(AudioError, match="0 samples"):
            load(path)
    else:
        assert len(load(path)) == SAMPLE_RATE


def test_a_compressed_wav_is_not_called_truncated(tmp_path):
    for subtype in ("IMA_ADPCM", "MS_ADPCM", "ULAW", "ALAW", "GSM610"):
        path = write(tmp_path / f"{subtype}.wav", tone(1.0, 8_000), 8_000, subtype=subtype)
        assert len(load(path)) == pytest.approx(SAMPLE_RATE, rel=0.1)


def test_a_wav_without_samples_is_refused(tmp_path):
    path = tmp_path / "none.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
    with pytest.raises(AudioError, match="0 samples"):
        load(path)


def test_a_file_with_nan_is_refused(tmp_path):
    samples = tone()
    samples[-1] = np.nan
    with pytest.raises(AudioError, match="NaN or infinite"):
        load(write(tmp_path / "nan.wav", samples, subtype="FLOAT"))


def test_a_long_recording_of_many_channels_is_never_held_whole(tmp_path):
    seconds, rate = 300, 48_000
    path = tmp_path / "long.wav"
    with soundfile.SoundFile(path, "w", rate, 2) as file:
        for _ in range(seconds):
            file.write(np.zeros((rate, 2), np.float32))
    tracemalloc.start()
    try:
        waveform = load(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(waveform) == seconds * SAMPLE_RATE
    assert peak < 2.2 * waveform.nbytes + 64e6 < seconds * rate * 2 * 4


def test_windows_tile_the_recording():
    samples = np.arange(25, dtype=np.float32)
    assert [len(window) for window in windows(samples, 10)] == [10, 10, 5]
    np.testing.assert_array_equal(np.concatenate(list(windows(samples, 10))), samples)
    assert list(windows(samples[:0], 10)) == []


def cuts(samples):
    """Where each window ends; together they are the recording."""
    found = list(windows_at_pauses(samples))
    np.testing.assert_array_equal(np.concatenate(found), samples)
    return np.cumsum([len(window) for window in found]).tolist()


def test_windows_end_in_pauses():
    samples = tone(100)
    for start in (25, 47, 76):  # one each where a cut may lie
        samples[start * SAMPLE_RATE : (start + 1) * SAMPLE_RATE] *= 0.01
    *inside, last = cuts(samples)
    assert last == len(samples)
    assert [cut // SAMPLE_RATE for cut in inside] == [25, 47, 76]
    assert all(0.07 < cut / SAMPLE_RATE % 1 < 0.93 for cut in inside)


@pytest.fixture
def small(monkeypatch):
    for name, samples in (("WINDOW_SAMPLES", 300), ("EARLIEST_CUT", 200), ("CUT_STEP", 10)):
        monkeypatch.setattr(audio, name, samples)


def test_a_cut_lies_in_the_middle_of_a_pause(small):
    samples = np.ones(400, np.float32)
    samples[230:240] = 0
    assert 220 <= cuts(samples)[0] <= 250
    samples[250:290] = 0
    assert cuts(samples)[0] == 270


@pytest.mark.parametrize("seed", range(8))
def test_windows_of_noise(small, seed):
    random = np.random.default_rng(seed)
    samples = random.standard_normal(int(random.integers(1, 3000))).astype(np.float32)
    ends = cuts(samples)
    assert all(end % 10 == 0 for end in ends[:-1])
    lengths = np.diff([0, *ends])
    assert lengths.max() <= 300
    assert (lengths[:-1] >= 200).all()
    assert lengths[-1] > 0


def test_cuts_lie_between_speech_tokens():
    """Else the tokens of two windows would overlap in time."""
    assert audio.CUT_STEP == TOKEN_SAMPLES
    assert audio.WINDOW_SAMPLES % audio.CUT_STEP == 0


@pytest.mark.parametrize("level", [0.0, 0.3])
def test_windows_of_a_recording_without_pauses(level):
    samples = np.full(70 * SAMPLE_RATE, level, np.float32)
    lengths = np.diff([0, *cuts(samples)])
    assert len(lengths) in (3, 4)
    assert all(22 * SAMPLE_RATE <= length <= 30 * SAMPLE_RATE for length in lengths[:-1])


@pytest.mark.parametrize("samples", [1, 299, 300])
def test_a_short_recording_is_one_window(small, samples):
    assert cuts(np.zeros(samples, np.float32)) == [samples]
    assert len(cuts(np.zeros(301, np.float32))) == 2


def test_neighbouring_tokens_are_merged_into_spans():
    times = np.array([[0.0, 0.04], [0.04, 0.08], [0.2, 0.24], [0.2401, 0.28], [1.0, 1.04]])
    assert spans(times) == [(0.0, 0.08), (0.2, 0.28), (1.0, 1.04)]
    assert spans(times[:0]) == []


def test_spans_that_lie_in_each_other_end_with_the_longer():
    assert spans(np.array([[0.0, 5.0], [1.0, 2.0], [6.0, 7.0]])) == [(0.0, 5.0), (6.0, 7.0)]
