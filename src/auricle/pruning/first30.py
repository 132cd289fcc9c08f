"""The first 30 s, which is what most Speech LLMs read of a longer recording."""

from dataclasses import dataclass

from jaxtyping import Int
from torch import Tensor
from typing_extensions import override

from auricle.audio import WINDOW_SECONDS
from auricle.pruning.base import Pruner
from auricle.speech_lm import AudioTokens, Query, SpeechLM


@dataclass(frozen=True)
class First30(Pruner):
    """Keeps the tokens that start in the first 30 s and drops the rest of the recording.

    "Original (30s trim)" of the SpeechPrune paper, section 1.6.
    """

    @override
    def keep(self, tokens: AudioTokens, query: Query, lm: SpeechLM) -> Int[Tensor, "kept"]:
        return (tokens.times[:, 0] < WINDOW_SECONDS).nonzero()[:, 0].cpu()
