"""Segmentwise pruning: the speech tokens of every three seconds that receive most attention."""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor
from typing_extensions import override

from auricle.pruning.base import Pruner, check_finite
from auricle.pruning.budget import FIRST_PHASE_SECONDS, check_rate, kept, window_tokens
from auricle.pruning.received import received
from auricle.pruning.similarity import apportion
from auricle.speech_lm import AudioTokens, Query, SpeechLM

SEGMENTS = 10  # of 30 s


@dataclass(frozen=True)
class Segmentwise(Pruner):
    """Top-k in every time segment.

    "Segmentwise Pruning in Audio-Language Models" (Gibier et al. 2025, arXiv 2511.14293). A window of 30 s has ten
    segments, and each keeps an equal share of the tokens, those that receive most attention.

    Differs from the paper: attention is that of `auricle.pruning.received`, not the speech encoder's; what rounding
    down loses is handed on, so that the count is exact.

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
    @torch.no_grad()
    def keep(self, tokens: AudioTokens, query: Query, lm: SpeechLM) -> Int[Tensor, "kept"]:
        count = kept(len(tokens), lm.tokens_per_second, self.pruning_rate)
        if count in (0, len(tokens)):
            return torch.arange(count)
        check_finite(tokens, lm)
        scores = received(tokens.embeds, lm.first_layer_qk(), window_tokens(lm.tokens_per_second))
        size = window_tokens(lm.tokens_per_second, FIRST_PHASE_SECONDS / SEGMENTS)
        segments = torch.split(scores, size)
        sizes = torch.tensor([len(each) for each in segments])
        counts = apportion(sizes.double().log(), sizes, count)
        chosen = [
            each.argsort(descending=True, stable=True)[:most] + number * size
            for number, (each, most) in enumerate(zip(segments, counts.tolist(), strict=True))
        ]
        found: Tensor = torch.cat(chosen).sort().values
        return found
