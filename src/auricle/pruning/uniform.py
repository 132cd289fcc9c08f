"""Evenly spaced speech tokens."""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor
from typing_extensions import override

from auricle.pruning.base import Rated
from auricle.speech_lm import AudioTokens, Query, SpeechLM


@dataclass(frozen=True)
class Uniform(Rated):
    """Keeps the token in the middle of each of as many equal stretches of the recording as tokens stay.

    Not in the SpeechPrune paper: random pieces (its RAP, section 1.6) without the chance.

    Attributes:
        pruning_rate: fraction to remove of the tokens of 30 s, 0 to 1; as many stay as with `SpeechPrune`.
    """

    @override
    def choose(self, tokens: AudioTokens, count: int, query: Query, lm: SpeechLM) -> Int[Tensor, "kept"]:
        return (2 * torch.arange(count) + 1) * len(tokens) // (2 * count)
