"""Training samples: one answer, in one sentence, among others of its kind, anywhere in the talk."""

import itertools
import re
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from held_out import PATHS, grams, held_out_grams

from auricle.errors import AuricleError, OptionError
from auricle.training.dialogues import WORDS, Sample, samples
from auricle.training.facts import FactMaker, kinds, overlaps
from auricle.training.grammar import rules
from auricle.training.spoken import WEEKDAYS

COUNT = 500


@pytest.fixture(scope="module")
def many() -> list[Sample]:
    return list(itertools.islice(samples(11), COUNT))


def sentences_of(sample: Sample) -> list[str]:
    return [sentence for turn in sample.turns for sentence in turn.sentences]


def length(sample: Sample) -> int:
    return sum(len(sentence.split()) for sentence in sentences_of(sample))


def test_the_same_seed_gives_the_same_samples(many: list[Sample]):
    assert list(itertools.islice(samples(11), 40)) == many[:40]
    assert next(samples(12)) != many[0]


def test_everything_can_be_read_aloud(many: list[Sample]):
    for sample in many:
        for text in (*sentences_of(sample), sample.question, *sample.choices):
            assert re.fullmatch(r"[A-Z][A-Za-z ,.;:?!'-]*", text), text
            assert not re.search(r"  |,,| ,", text), text


def test_the_answer_stands_in_the_key_sentence(many: list[Sample]):
    for sample in many:
        assert sample.choices[sample.correct].lower() in sample.key_sentence.lower(), sample


def test_the_key_sentence_is_said_once(many: list[Sample]):
    for sample in many:
        assert sentences_of(sample).count(sample.key_sentence) == 1, sample


def test_no_choice_is_part_of_another(many: list[Sample]):
    for sample in many:
        assert not [pair for pair in itertools.combinations(sample.choices, 2) if overlaps(*pair)], sample
        assert all(1 <= len(choice.split()) <= 7 for choice in sample.choices), sample


def test_two_wrong_choices_were_heard(many: list[Sample]):
    for sample in many:
        talk = " ".join(sentences_of(sample)).lower()
        assert sum(choice.lower() in talk for choice in sample.choices) >= 3, sample


def test_letters_and_positions_are_even(many: list[Sample]):
    letters = Counter(sample.correct for sample in many)
    assert all(abs(letters[letter] / COUNT - 0.25) < 0.06 for letter in range(4))
    places = [
        (sentences_of(sample).index(sample.key_sentence) + 0.5) / len(sentences_of(sample)) for sample in many
    ]
    thirds = Counter(min(int(place * 3), 2) for place in places)
    assert all(abs(thirds[third] / COUNT - 1 / 3) < 0.08 for third in range(3))


def test_all_kinds_of_talk_come_up_with_their_speakers(many: list[Sample]):
    talks = Counter(sample.transcript_type for sample in many)
    assert talks.keys() == {"lecture", "meeting", "conversation"}
    assert min(talks.values()) > 0.25 * COUNT
    for sample in many:
        speakers = [turn.speaker for turn in sample.turns]
        known = list(dict.fromkeys(speakers))
        assert known == [f"spk_{place + 1}" for place in range(len(known))], speakers
        assert (len(known) == 1) if sample.transcript_type == "lecture" else len(known) <= 5
        if sample.transcript_type != "lecture":
            assert all(one != other for one, other in itertools.pairwise(speakers)), speakers


def test_ids_are_unique(many: list[Sample]):
    assert len({sample.id for sample in many}) == COUNT


def test_the_length_is_as_asked():
    for words in (30, 100, 220):
        found = [length(sample) for sample in itertools.islice(samples(3, words=words), 40)]
        assert all(words - 10 <= one <= words + 20 for one in found), found


def test_lengths_spread_without_one(many: list[Sample]):
    found = sorted(length(sample) for sample in many)
    assert found[COUNT // 10] < 80
    assert found[-COUNT // 10] > 210


def test_an_answer_that_cannot_be_new_is_refused():
    weekly = next(kind for kind in kinds() if kind.answer == "weekday")
    with pytest.raises(AuricleError, match="7 are taken"):
        FactMaker().value(weekly, Random(0), WEEKDAYS)


def test_a_length_too_short_is_refused():
    with pytest.raises(OptionError, match=f"at least {WORDS[0]}"):
        next(samples(0, words=5))


def test_the_kinds_of_fact_are_complete():
    assert len(kinds()) >= 60
    assert len({kind.name for kind in kinds()}) == len(kinds())
    for kind in kinds():
        assert min(len(set(kind.say)), len(set(kind.ask))) >= 4, kind
        assert all("{s}" in say and "{a}" in say for say in kind.say), kind
        assert all("{q}" in ask and "{a}" not in ask for ask in kind.ask), kind
        assert f"a.{kind.answer}" in rules("answers"), kind
        assert set(kind.groups) <= rules("subjects").keys(), kind


def test_questions_are_not_copies_of_the_sentence(many: list[Sample]):
    shared = sum(bool(grams(sample.question, 6) & grams(sample.key_sentence, 6)) for sample in many)
    assert shared < 0.1 * COUNT


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_nothing_is_shared_with_the_evaluation_data(path: Path, many: list[Sample]):
    if not path.exists():
        pytest.skip(f"the evaluation data {path.name} is not here")
    held_out = held_out_grams(path)
    for sample in many:
        assert not grams(" ".join(sentences_of(sample))) & held_out, sample
        assert not grams(sample.question) & held_out, sample
