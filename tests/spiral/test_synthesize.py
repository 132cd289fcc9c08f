"""Samples become recordings: whole, repeatable, at their loudness, with times that agree with the sound."""

import json
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from auricle.errors import DataError, OptionError, SynthesisError, UnknownNameError
from auricle.spiral import synthesize as module
from auricle.spiral.schema import MultipleChoice, SpiralSample, Topic
from auricle.spiral.synthesize import Voiced, cast, in_processes, synthesize, synthesize_all
from auricle.synthesis.base import Speech, Voice
from auricle.synthesis.dialogue import Turn

pyloudnorm = pytest.importorskip("pyloudnorm", reason="needs the extra 'synthesis'")
pytest.importorskip("pysbd", reason="needs the extra 'synthesis'")

TURNS = (
    Turn("spk_1", ("Good morning. The ferry leaves at 3:30 p.m. today.", "Dr. Lin told me so!")),
    Turn("spk_2", ("Really? I thought that it leaves at noon.",)),
    Turn("spk_1", ("", "Not in 2018, no.")),
)
VOICES = ("flite/slt", "flite/rms", "flite/awb", "flite/kal16", "espeak/en-us+f1", "espeak/en-us+f2")


def sample(
    name: str = "meeting_1", turns: tuple[Turn, ...] = TURNS, key: str = "Dr. Lin told me so!"
) -> SpiralSample:
    test = MultipleChoice("Who told it?", ("Dr. Lin", "Dr. Low"), 0)
    return SpiralSample(name, Topic("meeting", "Travel", "Ferries"), turns, key, test)


def of(*speakers: int) -> list[SpiralSample]:
    """Samples with so many speakers each."""
    return [
        sample(f"meeting_{number}", tuple(Turn(f"spk_{i}", ("Hello.",)) for i in range(count)), "Hello.")
        for number, count in enumerate(speakers)
    ]


@dataclass(frozen=True)
class ToneVoice(Voice):
    """Speaks a tone of 50 ms per character; a text with "fail" in it cannot be spoken."""

    hertz: float = 300.0
    peak: float = 0.0

    def _speak_lines(self, lines: Sequence[str], speed: float) -> list[Speech]:
        return [self._tone(line) for line in lines]

    def _tone(self, line: str) -> Speech:
        if "fail" in line:
            raise SynthesisError("this cannot be spoken")
        tone = 0.1 * np.sin(2 * np.pi * self.hertz * np.arange(len(line) * 800) / 16_000)
        tone[len(tone) // 2] += self.peak
        return Speech(np.pad(tone, 3000).astype(np.float32), 16_000)


@pytest.fixture
def tones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "voice", lambda name, files: ToneVoice(name, "female", 200.0 + len(name)))


CASTING = {"spk_1": "a", "spk_2": "bb"}


def test_files_of_a_sample(tones: None, tmp_path: Path) -> None:
    synthesize(sample(), CASTING, 0, tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["meeting_1.json", "meeting_1.wav", "speech"]
    info = soundfile.info(tmp_path / "speech/meeting_1.wav")
    assert (info.samplerate, info.channels, info.subtype) == (24_000, 1, "PCM_16")
    voiced = Voiced.load(tmp_path / "speech/meeting_1.json")
    assert (voiced.id, voiced.sampling_rate, voiced.voices) == ("meeting_1", 24_000, CASTING)
    assert voiced.seconds == info.frames / 24_000
    assert [(sentence.speaker, sentence.text) for sentence in voiced.sentences] == [
        ("spk_1", "Good morning."),
        ("spk_1", "The ferry leaves at 3:30 p.m. today."),
        ("spk_1", "Dr. Lin told me so!"),
        ("spk_2", "Really?"),
        ("spk_2", "I thought that it leaves at noon."),
        ("spk_1", "Not in 2018, no."),
    ]
    assert voiced.evidence == ((voiced.sentences[2].start, voiced.sentences[2].end),)
    assert voiced.text.startswith("Good morning. The ferry")


def test_evidence_of_several_sentences(tones: None, tmp_path: Path) -> None:
    synthesize(sample(key="leaves at 3:30 p.m. today. Dr. Lin told me"), CASTING, 0, tmp_path)
    voiced = Voiced.load(tmp_path / "speech/meeting_1.json")
    assert voiced.evidence == ((voiced.sentences[1].start, voiced.sentences[2].end),)


@pytest.mark.parametrize(
    "names",
    [
        None,
        pytest.param(
            {"spk_1": "flite/slt", "spk_2": "flite/rms"},
            marks=pytest.mark.skipif(shutil.which("flite") is None, reason="the program flite is not installed"),
        ),
    ],
)
def test_times_and_loudness(names: dict[str, str] | None, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if names is None:
        request.getfixturevalue("tones")
    synthesize(sample(), names or CASTING, 0, tmp_path)
    waveform, rate = soundfile.read(tmp_path / "speech/meeting_1.wav")
    voiced = Voiced.load(tmp_path / "speech/meeting_1.json")
    assert pyloudnorm.Meter(rate).integrated_loudness(waveform) == pytest.approx(-23.0, abs=0.1)
    assert voiced.loudness == pytest.approx(-23.0, abs=0.1)
    silent = np.ones(len(waveform), dtype=bool)
    for sentence in voiced.sentences:
        start, end = round(sentence.start * rate), round(sentence.end * rate)
        assert np.sqrt(np.mean(waveform[start:end] ** 2)) > 0.01
        silent[start:end] = False
    assert not waveform[silent].any()


def test_a_recording_that_would_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "voice", lambda name, files: ToneVoice(name, "female", peak=5.0))
    synthesize(sample(), CASTING, 0, tmp_path)
    waveform, rate = soundfile.read(tmp_path / "speech/meeting_1.wav")
    voiced = Voiced.load(tmp_path / "speech/meeting_1.json")
    assert 0.98 < np.abs(waveform).max() < 1.0
    assert voiced.loudness == pytest.approx(pyloudnorm.Meter(rate).integrated_loudness(waveform), abs=0.01)
    assert voiced.loudness < -30


def test_a_seed_and_an_id_give_one_recording(tones: None, tmp_path: Path) -> None:
    def bits(folder: str, seed: int, name: str = "meeting_1") -> bytes:
        synthesize(sample(name), CASTING, seed, tmp_path / folder)
        return (tmp_path / folder / f"speech/{name}.wav").read_bytes()

    assert bits("a", 0) == bits("b", 0)
    assert bits("a", 0) != bits("c", 1)
    assert bits("a", 0) != bits("a", 0, "meeting_2")


@pytest.mark.skipif(shutil.which("flite") is None, reason="the program flite is not installed")
def test_processes_do_not_change_the_recordings(tmp_path: Path) -> None:
    samples = [sample(f"meeting_{number}") for number in range(3)]
    casting = cast(samples, VOICES[:4], 0)
    for processes in (1, 2):
        done = synthesize_all(samples, casting, 0, tmp_path / str(processes), processes=processes)
        assert sorted(done) == ["meeting_0", "meeting_1", "meeting_2"]
    for path in (tmp_path / "1/speech").iterdir():
        assert path.read_bytes() == (tmp_path / "2/speech" / path.name).read_bytes()


@pytest.mark.parametrize(
    ("name", "key"), [("../meeting_1", "Really?"), ("a/b", "Really?"), ("x", "Nobody says this.")]
)
def test_samples_that_cannot_be_voiced(tones: None, tmp_path: Path, name: str, key: str) -> None:
    with pytest.raises(DataError):
        synthesize(sample(name, key=key), CASTING, 0, tmp_path)
    assert not list(tmp_path.rglob("*.*"))


def test_a_speaker_without_a_voice(tones: None, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="'spk_2' has no voice"):
        synthesize(sample(), {"spk_1": "a"}, 0, tmp_path)
    with pytest.raises(OptionError, match="'meeting_1' has no casting"):
        list(synthesize_all([sample()], {"meeting_2": CASTING}, 0, tmp_path))


def test_a_stopped_run_goes_on(tones: None, tmp_path: Path) -> None:
    samples = [sample(f"meeting_{number}") for number in range(4)]
    samples[2] = replace(samples[2], turns=(*TURNS, Turn("spk_2", ("I fail.",))))
    casting = {each.id: CASTING for each in samples}
    done = []
    with pytest.raises(SynthesisError, match="cannot be spoken"):
        done.extend(synthesize_all(samples, casting, 0, tmp_path))
    assert not (tmp_path / "speech/meeting_3.json").exists()
    (tmp_path / "speech/meeting_0.wav").unlink()
    before = (tmp_path / "speech/meeting_1.json").stat().st_mtime_ns
    samples[2] = sample("meeting_2")
    assert list(synthesize_all(samples, casting, 0, tmp_path)) == ["meeting_0", "meeting_2", "meeting_3"]
    assert (tmp_path / "speech/meeting_1.json").stat().st_mtime_ns == before
    assert len(list((tmp_path / "speech").iterdir())) == 8
    assert list(synthesize_all(samples, casting, 0, tmp_path)) == []


def test_a_recording_without_its_description_is_not_done(
    tones: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, value: object) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(module, "write_json", full)
        with pytest.raises(OSError, match="No space"):
            list(synthesize_all([sample()], {"meeting_1": CASTING}, 0, tmp_path))
    assert [path.name for path in (tmp_path / "speech").iterdir()] == ["meeting_1.wav"]
    assert list(synthesize_all([sample()], {"meeting_1": CASTING}, 0, tmp_path)) == ["meeting_1"]


def mark(item: tuple[Path, str]) -> str:
    """What a process does in the tests below: writes down that it began, then does as it is told."""
    folder, name = item
    (folder / name).touch()
    while name.startswith("late") and not (folder / "bad").exists():
        time.sleep(0.01)
    if name == "die":
        (folder / "bad").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "fail":
        (folder / "bad").touch()
        raise SynthesisError(f"{name} failed")
    if name.startswith("late"):
        time.sleep(0.5)
    return name


@pytest.mark.parametrize(("bad", "message"), [("fail", "fail failed"), ("die", "A process died")])
def test_after_an_error_nothing_new_begins(bad: str, message: str, tmp_path: Path) -> None:
    items = [(tmp_path, bad), *((tmp_path, f"late-{number}") for number in range(5))]
    with pytest.raises(SynthesisError, match=message):
        list(in_processes(mark, items, 2))
    assert {path.name for path in tmp_path.iterdir()} <= {"bad", bad, "late-0"}


def test_in_processes(tmp_path: Path) -> None:
    items = [(tmp_path, f"item-{number}") for number in range(7)]
    for processes in (1, 3):
        assert sorted(in_processes(mark, items, processes)) == [name for _, name in items]
    assert list(in_processes(mark, [], 2)) == []
    with pytest.raises(OptionError, match="processes is 0"):
        list(in_processes(mark, items, 0))


def test_cast_is_distinct_within_a_sample_and_the_same_again() -> None:
    samples = of(5, 1, 2, 3, 4) * 1
    casting = cast(samples, VOICES, 0)
    assert casting == cast(samples, VOICES, 0)
    assert casting != cast(samples, VOICES, 1)
    for each in samples:
        assert list(casting[each.id]) == list(each.speakers)
        assert len(set(casting[each.id].values())) == len(each.speakers)
        assert set(casting[each.id].values()) <= set(VOICES)


def test_cast_does_not_change_with_further_samples() -> None:
    samples = of(*[1, 2, 3, 5, 4, 1, 1] * 5)
    whole = cast(samples, VOICES, 0)
    for count in (1, 7, 20):
        assert cast(samples[:count], VOICES, 0) == {each.id: whole[each.id] for each in samples[:count]}


@pytest.mark.parametrize("speakers", [[1] * 101, [2] * 50, [3] * 51, [1, 2, 3, 4, 5] * 20])
def test_genders_are_balanced(speakers: list[int]) -> None:
    casting = cast(of(*speakers), VOICES, 0)
    names = Counter(name for voices in casting.values() for name in voices.values())
    women = sum(names[name] for name in ("flite/slt", "espeak/en-us+f1", "espeak/en-us+f2"))
    assert abs(2 * women - sum(speakers)) <= 1
    assert min(names[name] for name in VOICES) > sum(speakers) / 15


def test_genders_are_balanced_as_far_as_the_voices_allow() -> None:
    casting = cast(
        of(*[5, 1, 1, 1] * 10), ("flite/slt", "flite/rms", "flite/awb", "espeak/en-us", "flite/kal16"), 0
    )
    women = [[name == "flite/slt" for name in voices.values()] for voices in casting.values()]
    assert all(
        sum(sample) == 1 for sample in women
    )  # 5 speakers have the only woman, and the lectures make up for it
    assert len(cast(of(3), ("flite/rms", "flite/awb", "espeak/en-us"), 0)["meeting_0"]) == 3
    assert len(cast(of(3), ("flite/slt", "espeak/en-us+f1", "espeak/en-us+f2"), 0)["meeting_0"]) == 3


def test_either_gender_speaks_first() -> None:
    casting = cast(of(*[2] * 100), VOICES, 0)
    first = Counter(
        voices["spk_0"] in ("flite/slt", "espeak/en-us+f1", "espeak/en-us+f2") for voices in casting.values()
    )
    assert 30 < first[True] < 70


def test_too_few_voices() -> None:
    with pytest.raises(OptionError, match=r"'meeting_1' has 3 speakers, but there are 2 voices; .* 5 different"):
        cast(of(2, 3, 5), ("flite/slt", "flite/rms", "flite/slt"), 0)
    with pytest.raises(UnknownNameError):
        cast(of(1), ("flite/nobody",), 0)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"id": "a", "seconds": "x"}', '{"id": 1'])
def test_a_foreign_description(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"a.json' does not describe a voiced sample"):
        Voiced.load(path)
    with pytest.raises(DataError, match="voice the sample again"):
        Voiced.load(tmp_path / "none.json")


def test_a_description_comes_back(tones: None, tmp_path: Path) -> None:
    synthesize(sample(), CASTING, 0, tmp_path)
    record = json.loads((tmp_path / "speech/meeting_1.json").read_text())
    assert list(record) == ["id", "seconds", "sampling_rate", "loudness", "voices", "sentences", "evidence"]
    assert list(record["sentences"][0]) == ["speaker", "text", "start", "end"]
    record["sentences"][0]["more"] = 1
    (tmp_path / "speech/meeting_1.json").write_text(json.dumps(record))
    with pytest.raises(DataError):
        Voiced.load(tmp_path / "speech/meeting_1.json")
