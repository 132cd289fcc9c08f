"""Neighbouring speech tokens that become one: how alike they are, and what several rounds of merging come to."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from auricle.pruning.merging import Merge


def directions(S: Float[Tensor, "audio dim"]) -> Float[Tensor, "audio directions"]:
    """Unit vectors in float32, in a space with one more axis, along which zero vectors point.

    A zero vector (silence is one to auricle-mini) is then like other zero vectors, and like nothing else.
    """
    vectors = S.float()
    length = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return torch.cat([vectors / length.clamp(min=torch.finfo(torch.float32).tiny), (length == 0).float()], 1)


def similarities(S: Float[Tensor, "audio dim"]) -> Float[Tensor, "pairs"]:
    """The cosine of each token and the one behind it."""
    units = directions(S)
    return (units[1:] * units[:-1]).sum(1)


def runs(similar: Float[Tensor, "pairs"], count: int) -> Int[Tensor, "audio"]:
    """The run that each token is in, from 0 on, if the most similar neighbours are joined until `count` are left.

    Ties are joined from the first on.
    """
    joins = similar.argsort(descending=True, stable=True)[: len(similar) + 1 - count]
    first = torch.ones(len(similar) + 1, dtype=torch.long, device=similar.device)
    first[joins + 1] = 0
    return first.cumsum(0) - 1


@dataclass(frozen=True)
class Rounds:
    """Speech tokens after some rounds of merging.

    Attributes:
        S: the vectors that are left.
        row: which of them each token of the recording is part of.
        weights: with what share.
    """

    S: Float[Tensor, "left dim"]
    row: Int[Tensor, "audio"]
    weights: Float[Tensor, "audio"]

    @classmethod
    def start(cls, S: Float[Tensor, "audio dim"]) -> "Rounds":
        """Before the first round."""
        return cls(S, torch.arange(len(S), device=S.device), torch.ones(len(S), device=S.device))

    def then(self, run: Int[Tensor, "left"]) -> "Rounds":
        """After a round that gives the plain mean of each run of what is left, whatever its parts are made of."""
        size = run.bincount()
        sums = torch.zeros(len(size), self.S.shape[1], device=self.S.device).index_add_(0, run, self.S.float())
        row = run[self.row]
        return Rounds(sums / size[:, None], row, self.weights / size[row])

    def merge(self) -> Merge:
        """What the rounds come to; each run stands in the place of its first token."""
        return at_first(self.row, self.weights)


def at_first(run: Int[Tensor, "audio"], weights: Float[Tensor, "audio"]) -> Merge:
    """Runs of tokens, numbered from 0 on in order of time, each read in the place of its first token."""
    first = torch.ones_like(run, dtype=torch.bool)
    first[1:] = run[1:] != run[:-1]
    return Merge(first.nonzero()[:, 0][run], weights)
