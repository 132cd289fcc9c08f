"""The inventory of pieces: it writes every word, and writes it best."""

import itertools
import json
import os
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auricle.models.mini.pieces import SPACE, Pieces, fit, normalize

SIZE = 90
LETTERS = "abcdefghijklmnopqrstuvwxyz'"
SINGLE = [prefix + letter for letter in LETTERS for prefix in (SPACE, "")]
TEXT = "the harbor the harbour lies in the north of the island where boats and the boat lie"
WORDS = Counter(normalize(TEXT).split())
VOCABULARY = [
    *SINGLE,
    *(f"{SPACE}{word}" for word in ("the", "boat", "har", "harbor", "is", "Island", "north", "extraordinarily")),
    *("bor", "bour", "land", "s", "ar", "ts", "9", "!", f"{SPACE}12", SPACE),
]


FITTED = fit(WORDS, VOCABULARY, SIZE)


@pytest.fixture
def pieces():
    return FITTED


@settings(deadline=None)
@given(st.text(alphabet=LETTERS + " ABZ,.9-é\u2019\n", max_size=40))
def test_decoding_gives_the_normalized_text(text):
    assert FITTED.decode(FITTED.encode(text)) == normalize(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The HARBOR, lies north!", "the harbor lies north"),
        ("don\u2019t", "don't"),
        ("' '' a", "a"),
        ("twenty-one 5 boats", "twenty one boats"),
        ("", ""),
        ("\u00e9", ""),
    ],
)
def test_normalize(text, expected):
    assert normalize(text) == expected == normalize(normalize(text))


def cuts(text):
    """All ways to cut a text."""
    for marks in itertools.product([False, True], repeat=len(text) - 1):
        places = [0, *(i + 1 for i, mark in enumerate(marks) if mark), len(text)]
        yield tuple(text[a:b] for a, b in itertools.pairwise(places))


@settings(deadline=None)
@given(st.text(alphabet="hartbo'", min_size=1, max_size=8), st.integers(0, 99))
def test_viterbi_is_the_best_of_all_cuts(word, seed):
    # Other weights than the fitted ones, under which often several short pieces are best.
    items = enumerate(FITTED.logs.items())
    logs = {piece: log - ((seed + 31 * number) % 97) / 13 for number, (piece, log) in items}
    made = Pieces(logs)
    scores = {cut: sum(map(logs.get, cut)) for cut in cuts(SPACE + word) if all(p in logs for p in cut)}
    assert sum(map(logs.get, made.cut(word))) == pytest.approx(max(scores.values()))
    assert made.cut(word) in scores


def test_fit_keeps_every_letter_and_what_is_frequent(pieces):
    assert set(SINGLE) <= set(pieces.names)
    assert len(SINGLE) < len(pieces.names) <= SIZE
    assert {f"{SPACE}the", f"{SPACE}boat"} <= set(pieces.names)
    assert pieces.cut("the") == (f"{SPACE}the",)
    assert len(fit(WORDS, VOCABULARY, len(SINGLE)).names) == len(SINGLE)
    others = set(pieces.names) - set(VOCABULARY)
    assert not others
    for wrong in (f"{SPACE}Island", "9", "!", f"{SPACE}12", SPACE, f"{SPACE}extraordinarily"):
        assert wrong not in pieces.names


def test_fit_is_deterministic():
    expected = fit(WORDS, VOCABULARY, SIZE).logs
    assert list(fit(WORDS, VOCABULARY[::-1], SIZE).logs.items()) == list(expected.items())
    program = (
        "import json, sys; from auricle.models.mini.pieces import fit;"
        " words, vocabulary = json.loads(sys.argv[1]); print(json.dumps(fit(words, set(vocabulary), 90).logs))"
    )
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", program, json.dumps([WORDS, VOCABULARY])],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert list(json.loads(done.stdout).items()) == list(expected.items())


def test_save_and_load(pieces, tmp_path):
    pieces.save(tmp_path / "pieces.json")
    assert SPACE.encode() in (tmp_path / "pieces.json").read_bytes()  # UTF-8, wherever it is written
    loaded = Pieces.load(tmp_path / "pieces.json")
    assert loaded.names == pieces.names
    assert loaded.logs == pytest.approx(pieces.logs, abs=5e-4)
    assert loaded.encode("the harbor") == pieces.encode("the harbor")


def test_indices_follow_the_names(pieces):
    indices = pieces.encode("the boats")
    assert [pieces.names[i] for i in indices] == [*pieces.cut("the"), *pieces.cut("boats")]
