"""What uploads are, and what of them is refused before it is decoded."""

import io
import shutil
import struct
import subprocess

import numpy as np
import pytest
import soundfile

from auricle import audio
from auricle.errors import AudioError, AudioLengthError
from auricle.serving import sound
from serving.servers import encoded, noise, wav


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "wav"),
        ({"format": "FLAC", "subtype": "PCM_16"}, "flac"),
        ({"format": "OGG", "subtype": "VORBIS"}, "ogg"),
        ({"format": "MP3", "subtype": "MPEG_LAYER_III"}, "mp3"),
    ],
)
def test_a_file_is_known_by_its_first_bytes(options, expected):
    assert sound.kind(encoded(noise(1), **options)[: sound.HEAD]) == expected


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\xff",
        b"#EXTM3U\n#EXT-X-ST",
        b"ffconcat version",
        b"<!doctype html>",
        b"RIFF....AVI LIST",
        b"\x7fELF",
        b"MZ",
    ],
)
def test_other_files_are_none(head):
    assert sound.kind(head) is None


def test_a_bomb_is_refused_by_its_header(tmp_path, monkeypatch):
    path = tmp_path / "bomb.flac"
    soundfile.write(path, np.zeros(16000 * 3600, np.int16), 16000)
    assert path.stat().st_size < 300_000
    monkeypatch.setattr(soundfile.SoundFile, "read", None)  # nothing is decoded
    with pytest.raises(AudioLengthError, match="expected at most 1 minutes"):
        sound.read(path, 60.0)


def test_what_never_ends_is_found_out_while_decoding(tmp_path, monkeypatch):
    path = tmp_path / "endless.wav"
    path.write_bytes(wav(1))
    blocks = []

    def endless(*_):
        while True:
            blocks.append(1)
            yield np.zeros((160_000, 1), np.float32)

    monkeypatch.setattr(audio, "_blocks", endless)
    with pytest.raises(AudioLengthError):
        sound.read(path, 60.0)
    assert len(blocks) == 7  # of 10 s


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
def test_what_only_ffmpeg_reads_is_bounded(tmp_path):
    (tmp_path / "one.wav").write_bytes(wav(90))
    path = tmp_path / "one.m4a"
    subprocess.run(["ffmpeg", "-v", "error", "-i", tmp_path / "one.wav", path], check=True)
    assert len(sound.read(path, 100.0)) == pytest.approx(90 * 16000, abs=4000)
    with pytest.raises(AudioLengthError) as refused:
        sound.read(path, 60.0)
    assert str(tmp_path) not in str(refused.value)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
def test_a_playlist_opens_no_other_file(tmp_path):
    (tmp_path / "secret.wav").write_bytes(wav(2))
    for name, text in (
        ("a.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nsecret.wav\n#EXT-X-ENDLIST\n"),
        ("a.ffconcat", "ffconcat version 1.0\nfile secret.wav\n"),
        ("b.mp3", "ID3\x04\x00\x00\x00\x00\x00\x00ffconcat version 1.0\nfile secret.wav\n"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(AudioError, match="no audio"):
            audio.load(tmp_path / name)


def test_strange_headers_are_refused(tmp_path):
    path = tmp_path / "strange.wav"
    for channels, rate in ((1000, 16000), (1, 7), (1, 2_000_000)):
        data = b"\0" * 4000
        head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + len(data), b"WAVE", b"fmt ", 16, 1, channels, rate,
                           rate * channels * 2, channels * 2, 16, b"data", len(data))  # fmt: skip
        path.write_bytes(head + data)
        with pytest.raises(AudioError):
            sound.read(path, 60.0)


def test_the_outline_holds_every_peak():
    samples = np.zeros(16000, np.float32)
    samples[[0, 7777, 15999]] = 1, -1, 0.5
    found = sound.peaks(samples)
    assert found.shape == (800, 2)
    assert (found[0, 1], found[:, 0].min(), found[-1, 1]) == (1, -1, 0.5)
    short = sound.peaks(samples[:5])
    assert short.shape == (800, 2)
    assert short[0].tolist() == [1, 1]


def test_a_wav_for_players(tmp_path):
    path = tmp_path / "x.wav"
    sound.write_wav(noise(1), path)
    found, rate = soundfile.read(io.BytesIO(path.read_bytes()))
    assert rate == 16000
    assert np.abs(found - noise(1)).max() < 1e-4


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
def test_a_flac_that_does_not_say_how_long_it_is(tmp_path):
    """As programs write it to a pipe."""
    (tmp_path / "one.wav").write_bytes(wav(90))
    command = ["ffmpeg", "-v", "error", "-i", tmp_path / "one.wav", "-f", "flac", "-"]
    path = tmp_path / "piped.flac"
    path.write_bytes(subprocess.run(command, check=True, capture_output=True).stdout)
    assert soundfile.info(path).frames > 1 << 62
    assert len(sound.read(path, 100.0)) == 90 * 16000
    with pytest.raises(AudioLengthError):
        sound.read(path, 60.0)
