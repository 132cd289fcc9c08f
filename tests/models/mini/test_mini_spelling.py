"""From pieces to the LLM's tokens."""

import pytest
import torch

from auricle.models.mini.spelling import Spelling

PIECES = ("Ġhar", "bor", "s", "Ġa", "n", "ing", "Ġb")
TOKENS = {name: number for number, name in enumerate((*PIECES, "Ġharbor", "Ġan", "boring", "ors"))}
BLANK = 99


def blank():
    return len(PIECES)


@pytest.fixture
def spelling():
    return Spelling(PIECES, TOKENS, BLANK)


def named(tokens):
    names = {number: name for name, number in TOKENS.items()} | {BLANK: "-"}
    return " ".join(names[token] for token in tokens)


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ("Ġhar bor", "Ġharbor -"),
        ("Ġhar bor s Ġa n", "Ġharbor - s Ġan -"),
        ("Ġb bor ing", "Ġb boring -"),  # what no token spells stays as it is
        ("s s Ġa Ġa n n", "s s Ġa Ġan - n"),
        ("Ġhar", "Ġhar"),
        ("", ""),
    ],
)
def test_the_longest_token(spelling, pieces, expected):
    assert named(spelling.read([PIECES.index(piece) for piece in pieces.split()])) == expected


def test_a_longer_token_over_one_that_is_none(spelling):
    """ "Ġhar bor" is no token here, but "Ġhar bor s" is."""
    longer = Spelling(PIECES, {name: TOKENS[name] for name in PIECES} | {"Ġharbors": 50}, BLANK)
    assert longer.read([0, 1, 2]) == [50, BLANK, BLANK]


def test_a_token_stands_where_its_first_piece_begins(spelling):
    b = blank()
    best = torch.tensor([b, 0, 0, b, 1, 1, b, b, 2, b, 2, 3, 4, b])
    assert named(spelling.frames(best).tolist()) == "- Ġharbor - - - - - - s - s Ġan - -"


@pytest.mark.parametrize("best", [[], [7], [7, 7]])
def test_nothing_heard(spelling, best):
    assert spelling.frames(torch.tensor(best, dtype=torch.long)).tolist() == [BLANK] * len(best)
