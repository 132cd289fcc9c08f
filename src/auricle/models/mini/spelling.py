"""From what was written, and when which letter was heard, to tokens of the LLM, one a frame.

The LLM reads speech as it reads text: a token stands in the frame in which it begins to be said, every other frame
is silence.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from auricle.models.mini.connector import greedy

SPACE = "Ġ"  # how byte-level BPE writes the space before a word
_WORD = re.compile(rf"{SPACE}?(?:[A-Za-z]+|[0-9])|'(?:s|t|re|ve|m|ll|d)(?![A-Za-z])|{SPACE}?[^A-Za-z0-9{SPACE}]+|{SPACE}")
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

    def frames(self, text: str, best: Int[Tensor, "halves"]) -> Int[Tensor, "audio"]:
        """The token of each frame.

        Args:
            text: what was written, as byte-level BPE writes it. Tokens for which there are no frames are dropped.
            best: the connector's best class of every frame of letters, of the window's own length.
        """
        tokens = torch.full((-(-len(best) // HALVES),), self.blank, device=best.device)
        spelled = self.read(text)[: len(tokens)]
        if spelled:
            times = when(text, *greedy(best), len(best))
            starts = [int(times[start]) // HALVES for _, start in spelled]
            places = torch.tensor(one_each(starts, len(tokens)), device=best.device)
            tokens[places] = torch.tensor([token for token, _ in spelled], device=best.device)
        return tokens


def when(text: str, letters: str, frames: Sequence[int], length: int) -> Float[np.ndarray, "characters"]:
    """The frame in which each character of a text is said.

    What was written and what was heard are compared letter by letter; what differs, such as a number in digits,
    lies between its neighbours.

    Args:
        text: as byte-level BPE writes it.
        letters: heard.
        frames: in which each of them begins.
        length: of the window in these frames.
    """
    matcher = SequenceMatcher(None, text.replace(SPACE, " ").lower(), letters, autojunk=False)
    pairs = [
        (block.a + i, frames[block.b + i]) for block in matcher.get_matching_blocks() for i in range(block.size)
    ]
    first, last = (frames[0], frames[-1]) if frames else (0, length - 1)
    known = np.array([(-1, first), *pairs, (len(text), last)])
    found: Float[np.ndarray, "characters"] = np.interp(np.arange(len(text)), known[:, 0], known[:, 1])
    return found


def one_each(starts: Sequence[int], length: int) -> list[int]:
    """Rising frames below `length`, one a start, as near as can be; there are as many frames as starts at least."""
    places = list[int]()
    for start in starts:
        places.append(max(start, places[-1] + 1 if places else 0))
    for back in range(1, len(places) + 1):
        places[-back] = min(places[-back], length - back)
    return places
