"""What all methods share that merge speech tokens instead of dropping them."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from auricle.pruning.base import Rated, Reduced, check_finite
from auricle.pruning.budget import kept
from auricle.speech_lm import AudioTokens, Query, SpeechLM


@dataclass(frozen=True)
class Merge:
    """Which speech tokens become one. However often tokens are merged, this is what comes of it.

    Attributes:
        into: for each token the index of the one in whose place it is read, its own if it stays in its place; -1
            for those that are dropped.
        weights: of each token in the mean of those that become one, above 0 for at least one of them.
    """

    into: Int[Tensor, "audio"]
    weights: Float[Tensor, "audio"]

    @property
    def keep(self) -> Int[Tensor, "kept"]:
        """The places that are left, sorted, on the CPU."""
        found: Tensor = self.into[self.into >= 0].unique().cpu()
        return found

    def embeds(self, S: Float[Tensor, "audio dim"]) -> Float[Tensor, "kept dim"]:
        """The weighted means, in the order of `keep`; sums are float32."""
        into, weights = self.into.to(S.device), self.weights.to(S.device).float()
        read = into >= 0
        group = torch.searchsorted(self.keep.to(S.device), into[read])
        sums = torch.zeros(len(self.keep), S.shape[1], device=S.device)
        sums.index_add_(0, group, S[read].float() * weights[read, None])
        total = torch.zeros(len(self.keep), device=S.device).index_add_(0, group, weights[read])
        return (sums / total[:, None]).to(S.dtype)


@dataclass(frozen=True)
class Merger(Rated):
    """A method that merges. Every implementation is a frozen dataclass."""

    @abstractmethod
    def merge(self, tokens: AudioTokens, count: int, lm: SpeechLM) -> Merge:
        """Which tokens become one, so that exactly `count` are left, at least one and fewer than there are."""

    @final
    @override
    def choose(self, tokens: AudioTokens, count: int, query: Query, lm: SpeechLM) -> Int[Tensor, "kept"]:
        check_finite(tokens, lm)
        return self.merge(tokens, count, lm).keep

    @final
    @override
    @torch.no_grad()
    def reduce(self, tokens: AudioTokens, query: Query, lm: SpeechLM) -> Reduced:
        count = kept(len(tokens), lm.tokens_per_second, self.pruning_rate)
        if count in (0, len(tokens)):
            return Reduced(torch.arange(count), None, self.positions)
        check_finite(tokens, lm)
        merge = self.merge(tokens, count, lm)
        return Reduced(merge.keep, merge.embeds(tokens.embeds), self.positions)
