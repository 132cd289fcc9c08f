import json

import pytest
import soundfile

from auricle.audio import SAMPLE_RATE
from auricle.benchmarks.jsonl import Jsonl, correct_index
from auricle.errors import DataError
from fakes import noise

LINE = {"audio": "a.wav", "question": "Who?", "choices": ["Ann", "Ben", "Cid"], "answer": "Ben"}


def read(folder, *lines):
    path = folder / "mine.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in lines))
    return list(Jsonl(path).samples())


def test_a_set_of_ones_own(tmp_path):
    soundfile.write(tmp_path / "a.wav", noise(1.0), SAMPLE_RATE)
    more = {"id": "q", "evidence": [[0.2, 0.5]], "transcript": "Ben did.", "groups": {"kind": "who"}}
    first, second = read(tmp_path, LINE, LINE | more)
    assert (first.id, first.choices, first.correct, first.recording) == ("1", ("Ann", "Ben", "Cid"), 1, "a.wav")
    assert first.load().size == SAMPLE_RATE
    assert (second.id, second.evidence, second.groups) == ("q", ((0.2, 0.5),), {"kind": "who"})
    assert Jsonl(tmp_path / "mine.jsonl").name == "mine"


@pytest.mark.parametrize("answer", ["Ben", "B", "(B)", "B.", 1, "B. Ben", "(B) Ben"])
def test_the_answer_may_be_text_letter_or_index(answer):
    assert correct_index(answer, ("Ann", "Ben", "Cid"), "1") == 1


@pytest.mark.parametrize("answer", ["Bob", "D", 3, -1, True, "", "b"])
def test_an_answer_that_is_no_choice_is_refused(answer):
    with pytest.raises(DataError, match="not one of the choices"):
        correct_index(answer, ("Ann", "Ben", "Cid"), "1")


def test_a_choice_that_is_a_letter_is_a_choice_first():
    assert correct_index("B", ("C", "A", "B"), "1") == 2


@pytest.mark.parametrize("change", [{"choices": {"A": "Ann", "B": "Ben"}}, {"choices": "AB"}, {"groups": ["x"]}])
def test_a_field_of_another_kind_is_refused(tmp_path, change):
    with pytest.raises(DataError, match="misuses a field"):
        read(tmp_path, LINE | change)


def test_a_folder_and_a_mark_at_the_start_are_fine(tmp_path):
    soundfile.write(tmp_path / "a.wav", noise(1.0), SAMPLE_RATE)
    (tmp_path / "data.jsonl").write_text(json.dumps(LINE | {"transcript": None}), encoding="utf-8-sig")
    sample = next(Jsonl(tmp_path).samples())
    assert sample.load().size == SAMPLE_RATE
    assert sample.transcript == ""


@pytest.mark.parametrize("field", ["audio", "question", "choices", "answer"])
def test_a_missing_field_is_named(tmp_path, field):
    with pytest.raises(DataError, match=field):
        read(tmp_path, {key: value for key, value in LINE.items() if key != field})
