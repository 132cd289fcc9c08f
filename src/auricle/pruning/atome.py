"""A-ToMe: merges pairs of neighbouring speech tokens that are alike, in rounds."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from auricle.pruning.merging import Merge, Merger
from auricle.pruning.neighbours import Rounds, similarities
from auricle.speech_lm import AudioTokens, SpeechLM


@dataclass(frozen=True)
class AToMe(Merger):
    """Adjacent token merging.

    "Accelerating Transducers through Adjacent Token Merging" (Li et al. 2023, arXiv 2306.16009). In each round the
    most similar neighbours become their mean, a token in one pair at most; rounds follow each other until as many
    are left as should be.

    Differs from the paper: the tokens after the projector, by their cosine, instead of a speech encoder's layers
    and their keys, and without training with it. Which pairs are formed where pairs overlap, the abstract does not
    say; here the most similar first.
    """

    @override
    def merge(self, tokens: AudioTokens, count: int, lm: SpeechLM) -> Merge:
        rounds = Rounds.start(tokens.embeds.cpu())
        while (surplus := len(rounds.S) - count) > 0:
            rounds = rounds.then(pairs(similarities(rounds.S), surplus))
        return rounds.merge()


def pairs(similar: Float[Tensor, "pairs"], most: int) -> Int[Tensor, "left"]:
    """The number of the pair, or of the single token, that each token is in.

    Args:
        similar: how alike each token and the one behind it are; the most similar are paired first, ties from the
            first on.
        most: how many pairs are formed at most.
    """
    order = similar.argsort(descending=True, stable=True).tolist()
    taken = [False] * (len(similar) + 1)
    first = torch.ones(len(similar) + 1, dtype=torch.long)
    for left in order:
        if most and not taken[left] and not taken[left + 1]:
            taken[left] = taken[left + 1] = True
            first[left + 1] = 0
            most -= 1
    return first.cumsum(0) - 1
