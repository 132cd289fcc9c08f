"""Evenly spaced speech tokens."""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor
from typing_extensions import override

from auricle.pruning.base import Pruner
from auricle.pruning.budget import check_rate, kept
from auricle.speech_lm import AudioTokens, Query, SpeechLM


@dataclass(frozen=True)
class Uniform(Pruner):
    """Keeps the token in the middle of each of as many equal stretches of the recording as tokens stay.

    Not in the SpeechPrune paper: random pieces (its RAP, section 1.6) without the chance.

    Attributes:
        pruning_rate: fraction to remove of the tokens of 30 s, 0 to 1; as many stay as with `SpeechPrune`.
    """

    pruning_rate: float = 0.6

    def __post_init__(self) -> None:
        """Checks the rate.

        Raises:
            OptionError: it is outside 0..1.
        """
        check_rate(self.pruning_rate)

    @override
    def keep(self, tokens: AudioTokens, query: Query, lm: SpeechLM) -> Int[Tensor, "kept"]:
        count = kept(len(tokens), lm.tokens_per_second, self.pruning_rate)
        return (2 * torch.arange(count) + 1) * len(tokens) // (2 * count)
