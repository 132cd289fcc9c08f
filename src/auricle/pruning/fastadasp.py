"""FastAdaSP: merges runs of neighbouring speech tokens whose keys are alike, by the attention that they receive."""

from dataclasses import dataclass

from typing_extensions import override

from auricle.pruning.budget import window_tokens
from auricle.pruning.merging import Merge, Merger
from auricle.pruning.neighbours import at_first, runs, similarities
from auricle.pruning.received import keys, received
from auricle.speech_lm import AudioTokens, SpeechLM


@dataclass(frozen=True)
class FastAdaSP(Merger):
    """Weighted merging of neighbours, once.

    "FastAdaSP: Multitask-Adapted Efficient Inference for Large Speech Language Model" (Lu et al. 2024, arXiv
    2410.03007). Of all neighbours, those whose keys have the highest cosines are joined, in runs of any length; a
    run becomes the mean of its tokens, weighted by the attention that they receive. Its schedule for sparse tasks:
    one layer, once.

    Differs from the paper: before the LLM instead of inside it, with the keys of its first layer and the attention
    of `auricle.pruning.received`, so that the count is exact, and the LLM reads as much as with any other method.
    """

    @override
    def merge(self, tokens: AudioTokens, count: int, lm: SpeechLM) -> Merge:
        qk = lm.first_layer_qk()
        alike = similarities(keys(tokens.embeds, qk)).cpu()
        weights = received(tokens.embeds, qk, window_tokens(lm.tokens_per_second))
        return at_first(runs(alike, count), weights)
