"""From what was written, and when, to tokens of the LLM, one a frame.

The LLM reads speech as it reads text: a token stands in the frame in which it begins to be said, every other frame
is silence.
"""

import math
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from jaxtyping import Int
from torch import Tensor

SPACE = "Ġ"  # how byte-level BPE writes the space before a word
_WORD = re.compile(rf"{SPACE}?(?:[A-Za-z]+|[0-9])|'(?:s|t|re|ve|m|ll|d)|{SPACE}?[^A-Za-z0-9{SPACE}]+|{SPACE}")
HALVES = 2  # frames of letters (25 Hz) per speech token (12.5 Hz)


@dataclass(frozen=True)
class Spelling:
    """How a text is spelled in the LLM's tokens.

    Attributes:
        tokens: id of every token of the LLM that a text is spelled with, as byte-level BPE writes them; single
            characters among them. Those that BPE merges first have the lowest ids, as in every vocabulary that was
            trained.
        blank: id of the token for a frame in which none of those begins.
    """

    tokens: Mapping[str, int]
    blank: int

    def read(self, text: str) -> list[tuple[int, int]]:
        """The tokens that the LLM's tokenizer makes of a text, and the character where each begins.

        Args:
            text: as byte-level BPE writes it: "ĠHelloĠthere".
        """
        found = list[tuple[int, int]]()
        for word in _WORD.finditer(text):
            start = word.start()
            for part in self._merge(word[0]):
                found.append((self.tokens[part], start))
                start += len(part)
        return found

    def _merge(self, word: str) -> list[str]:
        parts = [sign for sign in word if sign in self.tokens]
        while True:
            pairs = [left + right for left, right in pairwise(parts)]
            ranks = [self.tokens.get(pair, math.inf) for pair in pairs]
            if not ranks or (first := min(ranks)) == math.inf:
                return parts
            at = ranks.index(first)
            parts[at : at + 2] = [pairs[at]]

    def place(self, pieces: Sequence[str], frames: Sequence[int], length: int) -> Int[Tensor, "audio"]:
        """The token of each frame of a window.

        Args:
            pieces: that were written, as byte-level BPE writes them.
            frames: where each of them begins to be said, at 25 Hz.
            length: of the window, in speech tokens. Tokens for which there are no frames are dropped.
        """
        tokens = torch.full((length,), self.blank)
        spelled = self.read("".join(pieces))[:length]
        ends = list(accumulate(map(len, pieces)))
        starts = [frames[bisect_right(ends, start)] // HALVES for _, start in spelled]
        places = torch.tensor(one_each(starts, length), dtype=torch.long)
        tokens[places] = torch.tensor([token for token, _ in spelled], dtype=torch.long)
        return tokens


def one_each(starts: Sequence[int], length: int) -> list[int]:
    """Rising frames below `length`, one a start, as near as can be; there are as many frames as starts at least."""
    places = list[int]()
    for start in starts:
        places.append(max(start, places[-1] + 1 if places else 0))
    for back in range(1, len(places) + 1):
        places[-back] = min(places[-back], length - back)
    return places
