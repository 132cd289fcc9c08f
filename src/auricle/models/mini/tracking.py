"""How well a text agrees with what CTC heard, prefix by prefix, and when each letter is said.

The score of a prefix is that of its best alignment, followed by the best path without constraint, against the best
path of all: 0 where the letters are those that were heard, far below 0 where heard letters are left out, said
twice, or invented. The recursion over frames is a running maximum (Viterbi), so that no loop goes over time.

Relatives: Watanabe et al. 2017, "Hybrid CTC/Attention Architecture for End-to-End Speech Recognition" (sums over
alignments, by a loop over time).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from auricle.models.mini.connector import ALPHABET, LETTERS

STAR = "*"  # stands for a letter or more, whichever: how a digit is read depends on its neighbours
STAR_COST = 0.15  # nats for each of them
ROUNDING = 1e-6  # nats within which scores are equal: in a pause they all are


@dataclass(frozen=True)
class Heard:
    """Log-probabilities of a window's letters.

    Attributes:
        letters: of every class of the connector, at 25 Hz; a space counts as a blank, since words run together.
    """

    letters: Float[np.ndarray, "halves classes"]

    @cached_property
    def blank(self) -> Float[np.ndarray, "halves"]:
        """Of no letter."""
        return np.asarray(np.logaddexp(self.letters[:, LETTERS], self.letters[:, ALPHABET.index(" ")]))

    @cached_property
    def free(self) -> Float[np.ndarray, "halves_and_one"]:
        """Of the best path up to each frame."""
        best = np.maximum(self.letters[:, 1:LETTERS].max(1), self.blank)
        return np.asarray(np.concatenate([[0.0], best.cumsum()]))

    @cached_property
    def count(self) -> Float[np.ndarray, "halves_and_one"]:
        """Letters that begin on the best path up to each frame."""
        return np.asarray(np.concatenate([[0.0], self._begins.cumsum()]))

    def ahead(self, frame: int, length: int) -> str:
        """The letters on the best path from a frame on."""
        at = np.flatnonzero(self._begins[frame:])[:length] + frame
        return "".join(ALPHABET[self._best[each]] for each in at)

    @cached_property
    def _best(self) -> Int[np.ndarray, "halves"]:
        """Of every frame; 0 is no letter."""
        likeliest = self.letters[:, 1:LETTERS]
        return np.asarray(np.where(self.blank >= likeliest.max(1), 0, likeliest.argmax(1) + 1))

    @cached_property
    def _begins(self) -> Bool[np.ndarray, "halves"]:
        before = np.concatenate([[0], self._best[:-1]])
        return np.asarray((self._best != 0) & (self._best != before))


@dataclass(frozen=True)
class Prefix:
    """All alignments of a prefix, as the score of the best one that ends at each frame.

    Attributes:
        heard: what it is aligned with.
        inside: scores of those that end in the last letter, before each frame and at the end.
        behind: scores of those that end in a blank.
        last: the last letter.
    """

    heard: Heard
    inside: Float[np.ndarray, "halves_and_one"]
    behind: Float[np.ndarray, "halves_and_one"]
    last: str = ""

    @staticmethod
    def empty(heard: Heard) -> "Prefix":
        """Nothing is written yet."""
        silent = np.concatenate([[0.0], heard.blank.cumsum()])
        return Prefix(heard, np.full_like(silent, -np.inf), silent)

    @cached_property
    def _ends(self) -> Float[np.ndarray, "halves_and_one"]:
        return np.asarray(np.maximum(self.inside, self.behind) - self.heard.free)

    @property
    def score(self) -> float:
        """Of the prefix, whatever follows."""
        return float(self._ends.max())

    @property
    def whole(self) -> float:
        """Of the prefix as all that is said."""
        return float(self._ends[-1])

    @property
    def at(self) -> int:
        """The frame behind the prefix, at 25 Hz."""
        return int((self._ends > self.score - ROUNDING).argmax())

    def then(self, letter: str) -> "Prefix":
        """The prefix with one letter more."""
        if letter == STAR:
            return self._star()
        before = self.behind if letter == self.last else np.maximum(self.inside, self.behind)
        inside = _stay(before, self.heard.letters[:, ALPHABET.index(letter)])
        return Prefix(self.heard, inside, _stay(inside, self.heard.blank), letter)

    def _star(self) -> "Prefix":
        path = self.heard.free - STAR_COST * self.heard.count
        entered = np.maximum.accumulate(np.maximum(self.inside, self.behind) - path)
        begin = np.searchsorted(self.heard.count, self.heard.count) - 1  # the frame before the last letter began
        inside = np.where(begin >= 0, entered[begin] + path, -np.inf)
        return Prefix(self.heard, inside, np.full_like(inside, -np.inf), STAR)


def _stay(
    before: Float[np.ndarray, "halves_and_one"], logs: Float[np.ndarray, "halves"]
) -> Float[np.ndarray, "halves_and_one"]:
    """The best of entering a class at any frame and staying in it: at least one frame, up to each frame."""
    total = np.concatenate([[0.0], logs.cumsum()])
    entered = np.maximum.accumulate(before - total)
    return np.asarray(np.concatenate([[-np.inf], entered[:-1] + total[1:]]))
