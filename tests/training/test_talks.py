"""The written talks: well-formed, speakable, answerable, and clear of the evaluation data."""

import re
from importlib.resources import files
from itertools import islice
from typing import get_args

import pytest
from held_out import PATHS, grams, held_out_grams

from auricle.errors import AuricleError
from auricle.models.mini.connector import normalize
from auricle.training.talks import Question, Style, Talk, endless, parse, talks

TALK = """# meeting | tea
1: We need tea. Now!
2: Why? Cocoa, then.

# lecture | b
1: It is so.
? What is so? | it | she | he | they
"""


def test_parse():
    first, second = parse(TALK)
    assert first.kind == "meeting"
    assert [(turn.speaker, turn.sentences) for turn in first.turns] == [
        ("spk_1", ("We need tea.", "Now!")),
        ("spk_2", ("Why?", "Cocoa, then.")),
    ]
    assert first.text == "We need tea. Now! Why? Cocoa, then."
    assert first.questions == ()
    assert second.questions == (Question("What is so?", "it", ("she", "he", "they")),)


@pytest.mark.parametrize("line", ["1 no colon", "? only one | answer", "hello"])
def test_a_line_of_no_kind(line):
    with pytest.raises(AuricleError, match="expected a turn"):
        list(parse(f"# lecture | a\n{line}"))


def test_a_talk_without_a_head():
    with pytest.raises(AuricleError, match="begins with '1: Hello"):
        list(parse("1: Hello."))


@pytest.fixture(scope="module")
def every():
    return [talk for style in get_args(Style) for talk in of(style)]


def of(style: Style) -> list[Talk]:
    return [*talks(style), *talks(style, validation=True)]


def test_there_are_many(every):
    assert len(every) >= 600
    assert {talk.kind for talk in every} == {"lecture", "meeting", "conversation"}
    assert len({talk.text for talk in every}) == len(every)
    kept = [talk for style in get_args(Style) for talk in talks(style, validation=True)]
    assert 0.08 < len(kept) / len(every) < 0.12
    words = {word for talk in every for word in normalize(talk.text).split()}
    assert len(words) > 12_000


def test_every_talk_can_be_read_aloud_and_asked(every):
    for talk in every:
        assert re.fullmatch(r"[A-Za-z .,?!;:'-]+", talk.text), talk.text
        assert all(any(c.isalpha() for c in sentence) for turn in talk.turns for sentence in turn.sentences)
        assert max(len(sentence.split()) for turn in talk.turns for sentence in turn.sentences) <= 70
        for question in talk.questions:
            choices = [question.answer, *question.wrong]
            assert len({choice.lower() for choice in choices}) == 4, question
            assert all(re.fullmatch(r"[A-Za-z .,?!;'-]+", text) for text in (question.question, *choices)), question


@pytest.mark.parametrize(("style", "questions"), [("plain", 5), ("dense", 5), ("wide", 3), ("hard", 5)])
def test_questions_of_each_style(style, questions):
    assert len(of(style)) > 100
    assert {len(talk.questions) for talk in of(style)} == {questions}


@pytest.mark.parametrize("style", ["plain", "dense", "wide"])
def test_most_answers_are_said(style):
    """In these words; others are said in other forms, and those to the hard questions mostly are."""
    said = [normalize(q.answer) in normalize(talk.text) for talk in of(style) for q in talk.questions]
    assert sum(said) > 0.4 * len(said)


def test_endless_draws_each_talk_once_before_any_again():
    every = [talk for style in get_args(Style) for talk in talks(style)]
    drawn = list(islice(endless(3), 2 * len(every)))
    assert drawn == list(islice(endless(3), 2 * len(every)))
    first, second = drawn[: len(every)], drawn[len(every) :]
    assert {talk.text for talk in first} == {talk.text for talk in second} == {talk.text for talk in every}
    for style in get_args(Style):
        block, first = first[: len(talks(style))], first[len(talks(style)) :]
        assert {talk.text for talk in block} == {talk.text for talk in talks(style)}
    assert drawn[: len(every)] != second


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.parent.name)
def test_no_evaluation_text(path):
    if not path.exists():
        pytest.skip(f"{path.name} lies beside the project only in its own workshop")
    held_out, folder = held_out_grams(path), files("auricle.training").joinpath("talks")
    lines = [line for file in folder.iterdir() for line in file.read_text().splitlines()]
    assert not {gram for line in lines for gram in grams(line)} & held_out
