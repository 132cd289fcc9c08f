"""From what the connector hears to tokens of the LLM, one a frame.

The connector writes short pieces, because sounds are spelled; the LLM knows words. Pieces that together spell a
longer token of the LLM's vocabulary become that token, so that the LLM reads speech as it reads text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

LONGEST = 12  # pieces that are tried as one token


@dataclass(frozen=True)
class Spelling:
    """How pieces spell tokens.

    Attributes:
        pieces: of the connector's outputs, as byte-level BPE writes them ("Ġhar", "bor"); the last output, the
            blank, has none.
        tokens: id of every token of the LLM that letters can spell, the pieces among them.
        blank: id of the token for a frame in which none of those begins.
    """

    pieces: tuple[str, ...]
    tokens: Mapping[str, int]
    blank: int

    def read(self, pieces: Sequence[int]) -> list[int]:
        """For each piece the longest token that begins with it, or the blank where it is part of one before."""
        found, start = [self.blank] * len(pieces), 0
        while start < len(pieces):
            text, after = "", start
            for end, piece in enumerate(pieces[start : start + LONGEST], start + 1):
                text += self.pieces[piece]
                if text in self.tokens:
                    found[start], after = self.tokens[text], end
            start = after
        return found

    def frames(self, best: Int[Tensor, "audio"]) -> Int[Tensor, "audio"]:
        """The token of each frame of a best CTC path: a token stands where its first piece begins.

        Args:
            best: the best output of each frame.
        """
        begins = torch.cat([best.new_ones(1, dtype=torch.bool), best[1:] != best[:-1]])[: len(best)]
        heard = (begins & (best != len(self.pieces))).nonzero()[:, 0]
        tokens = torch.full_like(best, self.blank)
        tokens[heard] = torch.tensor(self.read(best[heard].tolist()), dtype=best.dtype, device=best.device)
        return tokens
