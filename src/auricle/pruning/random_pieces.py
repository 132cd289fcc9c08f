"""Random speech tokens."""

from dataclasses import dataclass
from hashlib import blake2b

import torch
from jaxtyping import Int
from torch import Tensor
from typing_extensions import override

from auricle.pruning.base import Rated
from auricle.speech_lm import AudioTokens, Query, SpeechLM


@dataclass(frozen=True)
class RandomPieces(Rated):
    """Keeps tokens drawn at random from the whole recording, every set of them with equal chance.

    Random Audio Pruning (RAP) of the SpeechPrune paper, section 1.6. The paper says neither how long its random
    pieces are nor how they are drawn; here a piece is a token.

    Attributes:
        pruning_rate: fraction to remove of the tokens of 30 s, 0 to 1; as many stay as with `SpeechPrune`.
        seed: of the draw (see `generator`).
    """

    seed: int = 0

    @override
    def choose(self, tokens: AudioTokens, count: int, query: Query, lm: SpeechLM) -> Int[Tensor, "kept"]:
        drawn = torch.randperm(len(tokens), generator=generator(self.seed, tokens, query))
        chosen: Tensor = drawn[:count].sort().values
        return chosen


def generator(seed: int, tokens: AudioTokens, query: Query) -> torch.Generator:
    """A generator of its own for each seed, recording length and question.

    With the seed alone, recordings of one length would all be cut at the same place.
    """
    digest = blake2b(f"{seed}\n{len(tokens)}\n{query.text}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest))
