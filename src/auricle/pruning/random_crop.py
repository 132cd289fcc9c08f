"""One random piece of the recording."""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor
from typing_extensions import override

from auricle.pruning.base import Rated
from auricle.pruning.random_pieces import generator
from auricle.speech_lm import AudioTokens, Query, SpeechLM


@dataclass(frozen=True)
class RandomCrop(Rated):
    """Keeps one contiguous piece of the recording, every start with equal chance.

    Random Audio Cropping (RAC) of the SpeechPrune paper, section 1.6.

    Attributes:
        pruning_rate: fraction to remove of the tokens of 30 s, 0 to 1; as many stay as with `SpeechPrune`.
        seed: of the draw (see `auricle.pruning.random_pieces.generator`).
    """

    seed: int = 0

    @override
    def choose(self, tokens: AudioTokens, count: int, query: Query, lm: SpeechLM) -> Int[Tensor, "kept"]:
        starts = len(tokens) - count + 1
        start = int(torch.randint(starts, (), generator=generator(self.seed, tokens, query)))
        return torch.arange(start, start + count)
