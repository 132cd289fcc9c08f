"""A good set passes; every defect fails its own check and no other."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from auricle.errors import AudioError, DataError, OptionError
from auricle.questions import letter
from auricle.speech_lm import SpeechPrompt
from auricle.spiral import check, listening
from auricle.spiral.check import Report, Thresholds, check_all, controls, mean, report, share
from auricle.spiral.listening import Heard
from auricle.spiral.schema import MultipleChoice, SpiralSample, Topic
from auricle.synthesis.base import Speech
from auricle.synthesis.dialogue import Turn, level
from fakes import FakeSpeechLM

pytest.importorskip("pyloudnorm", reason="needs the extra 'synthesis'")
pytest.importorskip("jiwer", reason="needs the extra 'spiral'")

RATE = 8_000
TENTH = Thresholds(shortest=6.0, longest=12.0)  # recordings of a tenth of the length, for quick tests
COLORS = ("red", "green", "blue", "black", "white", "brown", "pink", "grey")
GOOD = {
    "word error rate",
    "word error rate of a sample",
    "UTMOS",
    "shortest recording",
    "longest recording",
    "loudness off -23 LUFS",
    "constant letter, lower end",
    "question alone, lower end",
    "transcript",
}


def make(index: int) -> SpiralSample:
    """The right color is said; three other ones are not."""
    right = COLORS[index]
    wrong = [color for color in COLORS if color != right][:3]
    place = index % 4
    choices = (*wrong[:place], right, *wrong[place:])
    key = f"Well, the shed number {letter(index)} is {right} now."
    turn = Turn(
        "spk_1", ("We painted all of the sheds by the lake.", key, "It took us two days and a lot of paint.")
    )
    test = MultipleChoice("Which color has it?", choices, place)
    return SpiralSample(f"lecture_{index}", Topic("lecture", "Home", "Paint"), (turn,), key, test)


SAMPLES = [make(index) for index in range(8)]


@cache
def tone(index: int, seconds: float = 7.0) -> np.ndarray:
    """A recording that tells its sample by its pitch, at -23 LUFS."""
    times = np.arange(round(seconds * RATE)) / RATE
    return level(Speech(np.sin(2 * np.pi * (300 + 100 * index) * times).astype(np.float32), RATE)).waveform


def write(folder: Path, index: int, waveform: np.ndarray) -> None:
    (folder / "speech").mkdir(exist_ok=True)
    soundfile.write(folder / f"speech/lecture_{index}.wav", waveform, RATE, subtype="PCM_16")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for index in range(len(SAMPLES)):
        write(tmp_path, index, tone(index))

    def transcribe(waveform: np.ndarray) -> str:
        hertz = np.count_nonzero(np.diff(np.signbit(waveform))) / 2 / len(waveform) * 16_000
        return SAMPLES[round((hertz - 300) / 100)].text.lower()

    monkeypatch.setattr(listening, "transcribe", transcribe)
    monkeypatch.setattr(listening.opinion, "predict", lambda waveform: {"UTMOS": 4.0})
    return tmp_path


class Reader(FakeSpeechLM):
    """Finds a choice likely if it is in the speech's text, and more so if it is in the question."""

    def loglikelihood(
        self, prompt: SpeechPrompt, continuations: Sequence[str], on_prefill: Callable[[], None] | None = None
    ) -> torch.Tensor:
        said, asked = self.spell(prompt, prompt.audio), self.spell(prompt, prompt.query)
        found = [2.0 * (choice in said) + 3.0 * (choice in asked) for choice in continuations]
        return torch.tensor(found) - torch.arange(len(found)) / 100

    def spell(self, prompt: SpeechPrompt, places: torch.Tensor) -> str:
        return bytes(torch.cdist(prompt.embeds[0, places], self.table).argmin(1).tolist()).decode()


def judge(samples: Sequence[SpiralSample], folder: Path) -> Report:
    list(check_all(samples, folder))
    return report(samples, folder, controls(samples, Reader()), TENTH)


def failed(samples: Sequence[SpiralSample], folder: Path) -> list[str]:
    judged = judge(samples, folder)
    assert {verdict.name for verdict in judged.verdicts} == GOOD
    assert judged.passed == all(verdict.passed for verdict in judged.verdicts)
    return [verdict.name for verdict in judged.verdicts if not verdict.passed]


def test_a_good_set(folder: Path) -> None:
    assert failed(SAMPLES, folder) == []
    judged = judge(SAMPLES, folder)
    assert judged.passed
    assert judged.wer.value == 0.0
    assert judged.seconds.value == pytest.approx(7.0)
    assert judged.loudness.value == pytest.approx(-23.0, abs=0.1)
    assert judged.opinion["UTMOS"].value == pytest.approx(4.0)
    assert judged.chance == judged.letter.value == 0.25
    assert judged.controls is not None
    assert judged.controls.model == "fake"
    assert judged.controls.question.value == 0.25
    assert judged.controls.transcript.value == 1.0
    assert [row.id for row in judged.rows] == [sample.id for sample in SAMPLES]
    assert all(row.faults == () for row in judged.rows)
    written = json.loads(json.dumps(judged.to_json(), allow_nan=False))
    assert written["passed"] is True
    assert written["verdicts"][0] == {
        "name": "word error rate",
        "value": 0.0,
        "rule": "at most",
        "threshold": 0.1,
        "passed": True,
    }


def test_a_wrong_transcript(folder: Path) -> None:
    turn = Turn("spk_1", (*SAMPLES[3].turns[0].sentences[:2], "Nobody knows how much of it is left over there."))
    samples = [*SAMPLES[:3], replace(SAMPLES[3], turns=(turn,)), *SAMPLES[4:]]
    assert failed(samples, folder) == ["word error rate of a sample"]
    assert [row.faults for row in judge(samples, folder).rows][2:4] == [(), ("word error rate",)]


def test_many_small_errors(folder: Path) -> None:
    for_all = [
        replace(sample, turns=(Turn("spk_1", (*sample.turns[0].sentences, "And now more paint.")),))
        for sample in SAMPLES
    ]
    assert failed(for_all, folder) == ["word error rate"]


def test_a_cut_recording(folder: Path) -> None:
    write(folder, 2, tone(2, 5.9))
    assert failed(SAMPLES, folder) == ["shortest recording"]
    assert judge(SAMPLES, folder).rows[2].faults == ("shortest recording",)


def test_a_long_recording(folder: Path) -> None:
    write(folder, 2, tone(2, 12.1))
    assert failed(SAMPLES, folder) == ["longest recording"]


@pytest.mark.parametrize("gain", [0.9, 1.1])
def test_a_recording_of_another_loudness(folder: Path, gain: float) -> None:
    write(folder, 5, tone(5) * gain)
    assert failed(SAMPLES, folder) == ["loudness off -23 LUFS"]


def test_bad_sound(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening.opinion, "predict", lambda waveform: {"UTMOS": 3.4})
    assert failed(SAMPLES, folder) == ["UTMOS"]


def test_a_giveaway_letter(folder: Path) -> None:
    def swapped(sample: SpiralSample) -> SpiralSample:
        choices = list(sample.test.choices)
        choices[1], choices[sample.test.correct] = choices[sample.test.correct], choices[1]
        return replace(sample, test=MultipleChoice("Which color?", tuple(choices), 1))

    assert failed([swapped(sample) for sample in SAMPLES], folder) == ["constant letter, lower end"]


def test_a_giveaway_question(folder: Path) -> None:
    def told(sample: SpiralSample) -> SpiralSample:
        right = sample.test.choices[sample.test.correct]
        return replace(sample, test=replace(sample.test, question=f"Is it {right}?"))

    assert failed([told(sample) for sample in SAMPLES], folder) == ["question alone, lower end"]


def test_questions_that_the_transcript_does_not_answer(folder: Path) -> None:
    def other(sample: SpiralSample) -> SpiralSample:
        choices = tuple(f"{choice}ish" for choice in sample.test.choices)
        return replace(sample, test=replace(sample.test, choices=choices))

    assert failed([other(sample) for sample in SAMPLES], folder) == ["transcript"]


def test_thresholds_are_the_callers(folder: Path) -> None:
    list(check_all(SAMPLES, folder))
    judged = report(SAMPLES, folder, thresholds=Thresholds(shortest=7.1, longest=12.0, opinion={"UTMOS": 4.1}))
    assert [verdict.name for verdict in judged.verdicts if not verdict.passed] == ["UTMOS", "shortest recording"]
    assert judged.controls is None
    assert {verdict.name for verdict in judged.verdicts} == GOOD - {
        "question alone, lower end",
        "transcript",
    }


def test_durations_around_those_of_the_paper() -> None:
    assert (Thresholds().shortest, Thresholds().longest) == (60.0, 120.0)


def test_checking_goes_on_where_it_was(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listen = check.listen

    def failing(sample: SpiralSample, folder: Path) -> Heard:
        if sample.id == "lecture_2":
            raise DataError("stopped")
        return listen(sample, folder)

    monkeypatch.setattr(check, "listen", failing)
    with pytest.raises(DataError, match="stopped"):
        list(check_all(SAMPLES[:4], folder))
    assert sorted(path.name for path in (folder / "checks").iterdir()) == ["lecture_0.json", "lecture_1.json"]
    with pytest.raises(DataError, match=r"lecture_2.json' does not describe a checked sample"):
        report(SAMPLES[:4], folder)
    monkeypatch.undo()
    monkeypatch.setattr(listening, "transcribe", lambda waveform: "")
    monkeypatch.setattr(listening.opinion, "predict", lambda waveform: {"DNSMOS P.808": 4.0})
    wav, old = folder / "speech/lecture_0.wav", folder / "checks/lecture_0.json"
    later = old.stat().st_mtime_ns + 1
    os.utime(wav, ns=(later, later))
    assert list(check_all(SAMPLES[:4], folder)) == ["lecture_0", "lecture_2", "lecture_3"]
    assert list(check_all(SAMPLES[:4], folder)) == []
    assert Heard.load(old).wer == 1.0
    with pytest.raises(DataError, match="different metrics"):
        report(SAMPLES[:4], folder)


def test_nothing_to_check(folder: Path) -> None:
    with pytest.raises(DataError, match="no samples"):
        report([], folder)
    with pytest.raises(OptionError, match="no samples"):
        controls([], Reader())
    with pytest.raises(DataError, match="'lecture_9' has no recording"):
        list(check_all([replace(SAMPLES[0], id="lecture_9")], folder))


def test_a_silent_recording(folder: Path) -> None:
    write(folder, 0, np.zeros(RATE))
    with pytest.raises(AudioError, match="is silent"):
        list(check_all(SAMPLES, folder))


def test_what_is_likely_anyway_does_not_win_over_the_transcript() -> None:
    def misled(sample: SpiralSample) -> SpiralSample:
        wrong = sample.test.choices[sample.test.correct - 1]
        return replace(sample, test=replace(sample.test, question=f"Is it {wrong}?"))

    asked = controls([misled(sample) for sample in SAMPLES], Reader())
    assert (asked.question.value, asked.transcript.value) == (0.0, 1.0)


def test_progress_of_the_controls() -> None:
    seen: list[int] = []
    controls(SAMPLES[:3], Reader(), seen.append)
    assert seen == [1, 2, 3]


def test_share_is_wilsons() -> None:
    low, high = share(5, 20).low, share(5, 20).high
    assert (share(5, 20).value, low, high) == pytest.approx((0.25, 0.1119, 0.4687), abs=1e-4)
    assert share(0, 5).low == 0.0
    assert share(5, 5).high == 1.0


def test_mean() -> None:
    values = np.random.default_rng(1).normal(5, 2, 400).tolist()
    found = mean(values)
    assert found.value == pytest.approx(np.mean(values))
    half = 1.96 * np.std(values) / 20
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half), abs=0.03)
    assert mean(values) == found
    assert mean([1.0, 1.0], [10.0, 30.0]).value == 0.05
    assert mean([3.0]) == check.Interval(3.0, 3.0, 3.0)
