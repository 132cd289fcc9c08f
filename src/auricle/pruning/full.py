"""Every speech token, as the upper end of every comparison."""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor
from typing_extensions import override

from auricle.pruning.base import Pruner
from auricle.speech_lm import AudioTokens, Query, SpeechLM


@dataclass(frozen=True)
class Full(Pruner):
    """Keeps all speech tokens of all windows.

    Stands for "all inputs" in the ablation of the SpeechPrune paper (section 1.8, Fig. 3). Not its "Original",
    which reads the first 30 s alone (`First30`).
    """

    @override
    def keep(self, tokens: AudioTokens, query: Query, lm: SpeechLM) -> Int[Tensor, "kept"]:
        return torch.arange(len(tokens))
