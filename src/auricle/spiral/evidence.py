"""Where in a transcript the key sentence stands."""

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import accumulate

from auricle.errors import DataError

LEAST_MATCH = 0.6  # part of the key sentence's words that have to be there, in its order
SENTENCE_COST = 0.1  # part of its words that a further sentence has to bring


def locate(sentences: Sequence[str], key: str) -> range:
    """Which contiguous sentences say the key sentence.

    Case and punctuation do not count. Where the key sentence's words stand one after the other, it is in all
    sentences that hold some of them, at the first place if there are several. Else it is in those that hold most of
    its words in its order, where every further sentence has to bring a tenth of them.

    Args:
        sentences: of a transcript.
        key: the key sentence; part of a sentence, or of several.

    Returns:
        Indices into `sentences`.

    Raises:
        DataError: the key sentence has no words, or less than 60 % of them are found.
    """
    wanted = _words(key)
    if not wanted:
        raise DataError(f"The key sentence {key!r} has no words; give every sample a key sentence.")
    said = [_words(sentence) for sentence in sentences]
    found = _verbatim(said, wanted)
    if found is None:
        scored = (
            (_match(said[start:end], wanted), range(start, end)) for start, end in _windows(said, len(wanted))
        )
        match, found = max(scored, key=lambda each: each[0] - SENTENCE_COST * len(each[1]), default=(0.0, range(0)))
        if match < LEAST_MATCH:
            raise DataError(
                f"The key sentence {key!r} is not in the transcript: at most {match:.0%} of its words stand"
                f" together, expected {LEAST_MATCH:.0%}."
            )
    return found


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", re.sub(r"['\u2019]", "", text.casefold()))


def _verbatim(said: Sequence[Sequence[str]], wanted: Sequence[str]) -> range | None:
    """The sentences of the first place where the wanted words follow each other."""
    owners = [number for number, words in enumerate(said) for _ in words]
    flat = [word for words in said for word in words]
    for start in range(len(flat) - len(wanted) + 1):
        if flat[start : start + len(wanted)] == wanted:
            return range(owners[start], owners[start + len(wanted) - 1] + 1)
    return None


def _windows(said: Sequence[Sequence[str]], words: int) -> list[tuple[int, int]]:
    """Start and end of all runs of sentences that have not yet so many words before their last sentence."""
    before = [0, *accumulate(len(sentence) for sentence in said)]
    return [
        (start, end)
        for start in range(len(said))
        for end in range(start + 1, len(said) + 1)
        if before[end - 1] - before[start] < words
    ]


def _match(said: Sequence[Sequence[str]], wanted: Sequence[str]) -> float:
    """Part of the wanted words that are said in their order."""
    spoken = [word for words in said for word in words]
    blocks = SequenceMatcher(None, wanted, spoken, autojunk=False).get_matching_blocks()
    return sum(block.size for block in blocks) / len(wanted)
