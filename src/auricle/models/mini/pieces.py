"""The units that auricle-mini hears: short pieces of its LLM's vocabulary.

A word is cut into the most likely sequence of pieces under a unigram model (Kudo 2018, "Subword Regularization",
section 3.2). Frequent words are one piece; every other word, also one never seen, is spelled in a few.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

SPACE = "Ġ"  # how byte-level BPE writes the space before a word
SPEAKABLE = re.compile(rf"{SPACE}?[a-z']+")
_WORD = re.compile(r"[a-z']+")


def normalize(text: str) -> str:
    """Lower-case words and apostrophes, one space between words: all that speech tells."""
    return " ".join(word for word in _WORD.findall(text.lower().replace("\u2019", "'")) if word.strip("'"))


@dataclass(frozen=True)
class Pieces:
    """An inventory of pieces with their log-probabilities.

    Attributes:
        logs: piece to log-probability, as byte-level BPE writes it ("Ġhar", "bor"); holds every letter and the
            apostrophe, with and without a space before.
    """

    logs: Mapping[str, float]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The pieces in the order of the connector's outputs."""
        return tuple(self.logs)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {piece: index for index, piece in enumerate(self.names)}

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self.logs))

    @cached_property
    def _known(self) -> dict[str, tuple[str, ...]]:
        return {}

    def cut(self, word: str) -> tuple[str, ...]:
        """The most likely pieces of one normalized word."""
        if word not in self._known:
            self._known[word] = self._viterbi(SPACE + word)
        return self._known[word]

    def encode(self, text: str) -> list[int]:
        """Indices of the pieces of a text, which is normalized first."""
        return [self._index[piece] for word in normalize(text).split() for piece in self.cut(word)]

    def decode(self, indices: Iterable[int]) -> str:
        """Text of piece indices."""
        return "".join(self.names[i] for i in indices).replace(SPACE, " ").strip()

    def save(self, path: Path) -> None:
        """Writes the inventory as JSON."""
        rounded = {piece: round(log, 3) for piece, log in self.logs.items()}
        path.write_text(json.dumps(rounded, indent=0, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "Pieces":
        """Reads an inventory that `save` wrote."""
        return cls(json.loads(path.read_text(encoding="utf-8")))

    def _viterbi(self, text: str) -> tuple[str, ...]:
        best: list[tuple[float, int]] = [(0.0, 0)]
        for end in range(1, len(text) + 1):
            starts = range(max(0, end - self._longest), end)
            options = [(best[s][0] + self.logs[text[s:end]], s) for s in starts if text[s:end] in self.logs]
            # A lone space mark is no piece, so nothing ends there.
            best.append(max(options, default=(-math.inf, 0)))
        cuts, end = [], len(text)
        while end:
            start = best[end][1]
            cuts.append(text[start:end])
            end = start
        return tuple(reversed(cuts))


def fit(words: Mapping[str, int], vocabulary: Sequence[str], size: int, longest: int = 10) -> Pieces:
    """Chooses the `size` pieces of a vocabulary that write a list of words best.

    Expectation maximization with the best cut only, dropping the rarest pieces between rounds; single letters stay.

    Args:
        words: how often each normalized word occurs.
        vocabulary: all tokens of the LLM.
        size: number of pieces to keep at most.
        longest: letters of the longest piece.
    """
    letters = "abcdefghijklmnopqrstuvwxyz'"
    always = sorted({prefix + letter for letter in letters for prefix in (SPACE, "")} & set(vocabulary))
    speakable = {t for t in vocabulary if SPEAKABLE.fullmatch(t) and len(t.removeprefix(SPACE)) <= longest}
    counts = _substring_counts(words, speakable | set(always))
    pieces = _normalized(counts, always)
    for keep in (4 * size, 3 * size, 2 * size, int(1.5 * size), size, size, size):
        used = dict.fromkeys(always, 0)
        others: Counter[str] = Counter()
        for word, count in words.items():
            for piece in pieces.cut(word):
                counted = used if piece in used else others
                counted[piece] += count
        pieces = _normalized(used | dict(others.most_common(keep - len(always))), always)
    return Pieces(dict(sorted(pieces.logs.items(), key=lambda item: -item[1])))


def _substring_counts(words: Mapping[str, int], allowed: set[str]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for word, count in words.items():
        text = SPACE + word
        for start in range(len(text)):
            for end in range(start + 1, len(text) + 1):
                if text[start:end] in allowed:
                    counts[text[start:end]] += count * (end - start)  # long pieces begin ahead
    return counts


def _normalized(counts: Mapping[str, int], always: Iterable[str]) -> Pieces:
    smoothed = dict.fromkeys(always, 1.0) | {p: c + 1.0 for p, c in counts.items()}
    total = math.log(sum(smoothed.values()))
    return Pieces({piece: math.log(count) - total for piece, count in smoothed.items()})
