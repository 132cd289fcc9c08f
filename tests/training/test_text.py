"""The stream of sentences: the same for a seed, speakable, varied, and clear of the evaluation data."""

import itertools
import re
from collections import Counter
from pathlib import Path
from random import Random
from statistics import median

import pytest
from held_out import PATHS, grams, held_out_grams

from auricle.errors import AuricleError
from auricle.training import spoken
from auricle.training.grammar import Deck, Grammar, lexicon, plural, with_article
from auricle.training.text import sentences, speakable


def take(count: int, seed: int = 7, words: tuple[str, ...] = ()) -> list[str]:
    return list(itertools.islice(sentences(seed, words=words), count))


def test_the_same_seed_gives_the_same_sentences():
    assert take(300) == take(300)
    assert take(300) != take(300, seed=8)


def test_every_sentence_can_be_read_aloud():
    for sentence in take(5000):
        assert re.fullmatch(r"[A-Za-z ,.;:?!'-]+", sentence), sentence
        assert re.fullmatch(r"[A-Z].*[.?!]", sentence), sentence
        assert 5 <= len(sentence.split()) <= 30, sentence
        assert not re.search(r"  |,,| ,", sentence), sentence


def test_sentences_are_varied():
    many = take(6_000)
    words = {word for sentence in many for word in re.findall(r"[a-z']+", sentence.lower())}
    assert len(words) > 9_000
    assert len(set(many)) > 5_970
    assert 11 <= median(len(sentence.split()) for sentence in many) <= 15
    openings = Counter(tuple(sentence.split()[:3]) for sentence in many)
    assert openings.most_common(1)[0][1] < 0.02 * len(many)


def test_the_lexicons_are_large():
    least = {"thing": 1500, "first_name": 300, "surname": 400, "place": 400, "verb": 400, "shapes": 100}
    assert {group: len(lexicon(group)) >= count for group, count in least.items()} == dict.fromkeys(least, True)


def test_extra_words_all_come_up():
    words = tuple(f"{a}{b}" for a in ("zal", "bri", "tor", "fen") for b in ("omic", "urth", "ezzle", "anto"))
    heard = " ".join(take(200, words=words)).lower()
    assert all(word in heard for word in words)


def test_unspeakable_extra_words_are_left_out():
    assert speakable(["fine", "x1", "fine", "don't", "caf\u00e9", "a", "", "well-known", " {slot}"]) == [
        "fine",
        "don't",
        "well-known",
    ]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_nothing_is_shared_with_the_evaluation_data(path: Path):
    if not path.exists():
        pytest.skip(f"the evaluation data {path.name} is not here")
    held_out = held_out_grams(path)
    assert not [sentence for sentence in take(6_000) if grams(sentence) & held_out]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (spoken.cardinal(0), "zero"),
        (spoken.cardinal(342), "three hundred and forty-two"),
        (spoken.cardinal(12_005), "twelve thousand and five"),
        (spoken.cardinal(2_400_000), "two million four hundred thousand"),
        (spoken.ordinal(42), "forty-second"),
        (spoken.ordinal(20), "twentieth"),
        (spoken.ordinal(112), "one hundred and twelfth"),
        (spoken.year(1907), "nineteen oh seven"),
        (spoken.year(2003), "two thousand and three"),
        (spoken.year(2023), "twenty twenty-three"),
        (plural("volcano"), "volcanoes"),
        (plural("monarch"), "monarchs"),
        (plural("model railway"), "model railways"),
        (with_article("hourglass"), "an hourglass"),
        (with_article("uniform"), "a uniform"),
    ],
)
def test_spelling(said: str, expected: str):
    assert said == expected


def test_a_time_of_day_suits_its_part_of_the_day():
    fitting = {
        "morning": "one two three four five six seven eight nine ten eleven",
        "afternoon": "twelve one two three four five",
        "evening": "five six seven eight nine ten eleven",
    }
    rng, parts = Random(0), set()
    for clock in (spoken.clock(rng) for _ in range(5000)):
        if " in the " in clock:
            parts.add(part := clock.rpartition(" ")[2])
            assert clock.split()[0] in fitting[part].split(), clock
    assert parts == fitting.keys()


def test_a_number_that_cannot_be_spelled_is_refused():
    with pytest.raises(ValueError, match="from 0 to 999999999"):
        spoken.cardinal(-1)


def test_a_deck_deals_every_entry_before_any_comes_again():
    deck, rng = Deck(["a", "b", "c"]), Random(0)
    assert sorted(deck.draw(rng) for _ in range(3)) == ["a", "b", "c"]


def test_an_unknown_slot_is_named():
    with pytest.raises(AuricleError, match="no_such_slot"):
        Grammar({}, {}).fill("{no_such_slot}", Random(0))
