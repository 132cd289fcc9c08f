"""Where an interval is summarized: which of the tokens that the LLM reads are SSTs, and what they stand for.

An interval of n speech tokens has ceil(n / ratio) SSTs at any ratio, so that nothing is left out if the ratio does
not divide n: the last one stands for the remainder.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Placement = Literal["interleave", "end", "pool", "all"]


def ssts(count: int, ratio: int) -> int:
    """How many SSTs an interval of `count` speech tokens has."""
    return -(-count // ratio)


def groups(count: int, ratio: int) -> Int[Tensor, "tokens"]:
    """The SST that each speech token belongs to, from 0."""
    return torch.arange(count) // ratio


def marks(count: int, ratio: int, placement: Placement) -> Bool[Tensor, "read"]:
    """Which of the tokens that are read of an interval keep their pairs, and have the SSTs' projections.

    Args:
        count: speech tokens of the interval.
        ratio: speech tokens per SST.
        placement: "interleave" puts an SST behind every `ratio` speech tokens (the paper's), "end" puts all behind
            the last one (the mask of gist tokens, Mu et al. 2023); "pool" reads the means of `ratio` speech tokens
            in their place, "all" every speech token; both keep what they read.
    """
    if placement == "all":
        return torch.ones(count, dtype=torch.bool)
    summaries = ssts(count, ratio)
    if placement == "pool":
        return torch.ones(summaries, dtype=torch.bool)
    found = torch.zeros(count + summaries, dtype=torch.bool)
    if placement == "end":
        found[count:] = True
        return found
    last = torch.minimum((torch.arange(summaries) + 1) * ratio, torch.tensor(count))
    found[last + torch.arange(summaries)] = True
    return found


def read(
    speech: Float[Tensor, "tokens dim"], sst: Float[Tensor, "dim"], ratio: int, placement: Placement
) -> tuple[Float[Tensor, "read dim"], Bool[Tensor, "read"]]:
    """What is read of an interval, and its `marks`."""
    found = marks(len(speech), ratio, placement).to(speech.device)
    if placement == "all":
        return speech, found
    if placement == "pool":
        return pooled(speech, ratio), found
    summaries = sst.to(speech).expand(int(found.sum()), -1)
    embeds = speech.new_zeros(len(found), speech.shape[1])
    embeds = embeds.masked_scatter(~found[:, None], speech).masked_scatter(found[:, None], summaries)
    return embeds, found


def pooled(speech: Float[Tensor, "tokens dim"], ratio: int) -> Float[Tensor, "groups dim"]:
    """Means of `ratio` tokens each; the last one of the remainder."""
    group = groups(len(speech), ratio).to(speech.device)
    sums = speech.new_zeros(ssts(len(speech), ratio), speech.shape[1]).index_add(0, group, speech)
    return sums / torch.bincount(group, minlength=len(sums))[:, None].to(sums)


def spans(times: Float[Tensor, "tokens 2"], ratio: int, placement: Placement) -> Float[Tensor, "pairs 2"]:
    """Start and end in seconds of the speech that each kept pair stands for."""
    if placement == "all":
        return times
    first = torch.arange(0, len(times), ratio)
    last = (first + ratio).clamp(max=len(times)) - 1
    return torch.stack([times[first, 0], times[last, 1]], 1)
