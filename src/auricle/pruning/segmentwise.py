"""Segmentwise pruning: the speech tokens of every three seconds that receive most attention."""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor
from typing_extensions import override

from auricle.pruning.base import Rated, check_finite
from auricle.pruning.budget import window_tokens
from auricle.pruning.received import evenly, received
from auricle.speech_lm import AudioTokens, Query, SpeechLM

SEGMENTS = 10  # of 30 s


@dataclass(frozen=True)
class Segmentwise(Rated):
    """Top-k in every time segment.

    "Segmentwise Pruning in Audio-Language Models" (Gibier et al. 2025, arXiv 2511.14293). A window of 30 s has ten
    segments, and each keeps an equal share of the tokens, those that receive most attention.

    Differs from the paper: attention is that of `auricle.pruning.received`, not the speech encoder's; what rounding
    down loses is spread over the recording, so that the count is exact; so are all, where they are fewer than the
    segments.

    Attributes:
        pruning_rate: fraction to remove of the tokens of 30 s, 0 to 1; as many stay as with `SpeechPrune`.
    """

    @override
    def choose(self, tokens: AudioTokens, count: int, query: Query, lm: SpeechLM) -> Int[Tensor, "kept"]:
        check_finite(tokens, lm)
        scores = received(tokens.embeds, lm.first_layer_qk(), window_tokens(lm.tokens_per_second))
        at, window = torch.arange(len(scores)), window_tokens(lm.tokens_per_second)
        segment = at // window * SEGMENTS + at % window * SEGMENTS // window
        members = torch.split(at, segment.unique(return_counts=True)[1].tolist())
        counts = evenly([len(each) for each in members], count)
        chosen = [
            each[scores[each].argsort(descending=True, stable=True)[:most]]
            for each, most in zip(members, counts, strict=True)
        ]
        found: Tensor = torch.cat(chosen).sort().values
        return found
