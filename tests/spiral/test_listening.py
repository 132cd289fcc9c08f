"""Words and sound of a recording, with small things in the place of the weights and once with the real ones."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from auricle.errors import DataError, MissingDependencyError, WeightsError
from auricle.models.mini.wheels import cache_dir
from auricle.spiral import listening
from auricle.spiral.listening import Heard, transcribe, whisper_folder, word_errors
from auricle.synthesis import voice
from auricle.synthesis.dialogue import resample

HALVES = [cache_dir() / "wheels" / half for half in listening._HALVES]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AURICLE_CACHE", str(tmp_path))
    listening._whisper.cache_clear()
    for number, half in enumerate(listening._HALVES):
        path = tmp_path / "wheels" / half
        path.parent.mkdir(parents=True)
        path.write_bytes(bytes([number]) * 10)
    for name in listening._BESIDE:
        (tmp_path / "wheels" / listening._HALVES[0]).with_name(name).write_text("{}")
    return tmp_path


@pytest.mark.parametrize(
    ("said", "heard", "words", "errors"),
    [
        ("Good morning, Dr. Lin!", "good morning doctor lin", 4, 0),
        ("It is 9:45, and 15% of 1,250 people left.", "it is 9:45 and 15 percent of 1250 people left", 10, 0),
        ("Uh, we've got two hundred and five.", "We have got 205", 4, 0),
        ("red green blue black", "red brown blue", 4, 2),
        ("red green", "red green blue", 2, 1),
        ("red green", "", 2, 2),
    ],
)
def test_word_errors(said: str, heard: str, words: int, errors: int) -> None:
    pytest.importorskip("jiwer", reason="needs the extra 'spiral'")
    assert word_errors(said, heard) == (words, errors)


def test_word_errors_agree_with_jiwer() -> None:
    jiwer = pytest.importorskip("jiwer", reason="needs the extra 'spiral'")
    rng = np.random.default_rng(0)
    for _ in range(50):
        said, heard = (" ".join(rng.choice(list("abcde"), size)) for size in rng.integers(1, 12, 2))
        words, errors = word_errors(said, heard)
        assert errors / words == pytest.approx(
            jiwer.wer(listening._normalizer()(said), listening._normalizer()(heard))
        )


@pytest.mark.parametrize("said", ["", "...", "uh, um"])
def test_nothing_said(said: str) -> None:
    pytest.importorskip("jiwer", reason="needs the extra 'spiral'")
    with pytest.raises(DataError, match="no words"):
        word_errors(said, "hello")


def test_whisper_is_put_together_once(cache: Path) -> None:
    folder = whisper_folder()
    assert (folder / "model.bin").read_bytes() == bytes([0]) * 10 + bytes([1]) * 10
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.bin", *listening._BESIDE[1:]]
    shutil.rmtree(cache / "wheels")
    assert whisper_folder() == folder
    assert [path.name for path in cache.iterdir()] == [folder.name]


def test_whisper_without_its_wheels(cache: Path) -> None:
    (cache / "wheels" / listening._HALVES[1]).unlink()
    with pytest.raises(WeightsError, match="auricle models pull mini"):
        whisper_folder()


def test_whisper_without_room(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(folder: Path, target: Path) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(listening, "put", full)
    with pytest.raises(WeightsError, match=r"No space left.*AURICLE_CACHE"):
        whisper_folder()
    assert [path.name for path in cache.iterdir()] == ["wheels"]


def test_damaged_whisper(cache: Path) -> None:
    pytest.importorskip("faster_whisper", reason="needs the extra 'spiral'")
    with pytest.raises(WeightsError, match=r"are damaged.*remove that folder"):
        transcribe(np.zeros(16_000, np.float32))


def test_missing_packages_are_said(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("faster_whisper", "jiwer"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependencyError, match=r"faster-whisper .* auricle\[spiral\]"):
        transcribe(np.zeros(16_000, np.float32))
    with pytest.raises(MissingDependencyError, match=r"jiwer .* auricle\[spiral\]"):
        word_errors("red", "red")


@pytest.mark.parametrize("text", ["", "[]", '{"id": "a"}'])
def test_a_foreign_check(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match="check the set again"):
        Heard.load(tmp_path / "a.json")


@pytest.mark.weights
@pytest.mark.skipif(not all(map(Path.is_file, HALVES)), reason="Whisper base is not here; pull auricle-mini")
@pytest.mark.skipif(shutil.which("flite") is None, reason="the program flite is not installed")
def test_the_real_whisper() -> None:
    pytest.importorskip("faster_whisper", reason="needs the extra 'spiral'")
    listening._whisper.cache_clear()
    said = "The ferry to the northern island leaves at half past three in the afternoon."
    spoken = resample(voice("flite/slt").speak(said), 16_000)
    words, errors = word_errors(said, transcribe(spoken.waveform))
    assert errors <= 0.2 * words
