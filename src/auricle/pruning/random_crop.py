"""One random piece of the recording."""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor
from typing_extensions import override

from auricle.pruning.base import Pruner
from auricle.pruning.budget import check_rate, kept
from auricle.pruning.random_pieces import generator
from auricle.speech_lm import AudioTokens, Query, SpeechLM


@dataclass(frozen=True)
class RandomCrop(Pruner):
    """Keeps one contiguous piece of the recording, every start with equal chance.

    Random Audio Cropping (RAC) of the SpeechPrune paper, section 1.6.

    Attributes:
        pruning_rate: fraction to remove of the tokens of 30 s, 0 to 1; as many stay as with `SpeechPrune`.
        seed: of the draw (see `auricle.pruning.random_pieces.generator`).
    """

    pruning_rate: float = 0.6
    seed: int = 0

    def __post_init__(self) -> None:
        """Checks the rate.

        Raises:
            OptionError: it is outside 0..1.
        """
        check_rate(self.pruning_rate)

    @override
    def keep(self, tokens: AudioTokens, query: Query, lm: SpeechLM) -> Int[Tensor, "kept"]:
        count = kept(len(tokens), lm.tokens_per_second, self.pruning_rate)
        starts = len(tokens) - count + 1
        start = int(torch.randint(starts, (), generator=generator(self.seed, tokens, query)))
        return torch.arange(start, start + count)
