"""Where an interval is summarized: which of the tokens that the LLM reads are SSTs, and what they stand for.

An interval of n speech tokens has ceil(n / ratio) SSTs at any ratio, so that nothing is left out if the ratio does
not divide n. Tokens that are not read (silence) give their share to the others.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

Placement = Literal["recall", "anchor", "interleave", "end", "pool", "all"]
Silence = Literal["skip", "read"]


def ssts(count: int, ratio: int) -> int:
    """How many SSTs an interval of `count` speech tokens may have."""
    return -(-count // ratio)


def spoken(speech: Float[Tensor, "tokens dim"], silence: Silence) -> Bool[Tensor, "tokens"]:
    """Which speech tokens are read: all, or all but those that are zero, which are silence in auricle-mini."""
    every = torch.ones(len(speech), dtype=torch.bool, device=speech.device)
    return every if silence == "read" else (speech != 0).any(1)


def ends(speech: Float[Tensor, "tokens dim"], summaries: int, placement: Placement) -> Int[Tensor, "summaries"]:
    """Behind which speech token the tokens of each SST end; they begin where those of the one before it end.

    Args:
        speech: the tokens that are read.
        summaries: SSTs that stand for them, at most as many.
        placement: "anchor" ends them at the tokens that are least like the others, and at the last one; all other
            placements share the tokens evenly, so that no two SSTs differ by more than one.
    """
    count = len(speech)
    if placement != "anchor":
        shares = torch.arange(count, device=speech.device) * summaries // max(1, count)
        return torch.bincount(shares, minlength=summaries).cumsum(0)
    rarity = distinctness(speech)
    rarity[count - 1 :] = torch.inf
    return rarity.topk(summaries).indices.sort().values + 1


def distinctness(speech: Float[Tensor, "tokens dim"]) -> Float[Tensor, "tokens"]:
    """How little a token is like the others: minus the mean of its cosines with all, -1 to 1.

    What is said often and everywhere is like the mean of all; names, numbers and rare words are not. Linear in the
    number of tokens.
    """
    unit = F.normalize(speech.float(), dim=1)
    return -(unit @ unit.mean(0))


def marks(ends: Int[Tensor, "summaries"], count: int, placement: Placement) -> Bool[Tensor, "read"]:
    """Which of the tokens that are read of an interval keep their pairs, and have the SSTs' projections.

    Args:
        ends: of each SST's tokens.
        count: speech tokens that are read.
        placement: "interleave" puts every SST behind the speech tokens that belong to it (the paper's), "end" puts
            all behind the last one (the mask of gist tokens, Mu et al. 2023). With "anchor" the last of the tokens
            that belong to an SST is the SST (as the anchors of Pang et al. 2024): nothing is read besides the
            speech. "pool" reads the mean of an SST's speech tokens in their place, "all" every speech token; both
            keep what they read. "recall" marks every token that is read, and then keeps other pairs in every head;
            see `auricle.summarization.recall`.
    """
    summaries = len(ends)
    if placement in ("all", "recall", "pool"):
        return torch.ones(summaries if placement == "pool" else count, dtype=torch.bool, device=ends.device)
    if placement == "anchor":
        return ends.new_zeros(count, dtype=torch.bool).index_fill(0, ends - 1, value=True)
    behind = torch.full_like(ends, count) if placement == "end" else ends
    found = ends.new_zeros(count + summaries, dtype=torch.bool)
    return found.index_fill(0, behind + torch.arange(summaries, device=ends.device), value=True)


def read(
    speech: Float[Tensor, "tokens dim"],
    embedding: Float[Tensor, "dim"],
    ends: Int[Tensor, "summaries"],
    placement: Placement,
) -> tuple[Float[Tensor, "read dim"], Bool[Tensor, "read"]]:
    """What is read of an interval, and its `marks`.

    Args:
        speech: the tokens that are read.
        embedding: of an SST; an anchor has it added to its own.
        ends: of each SST's tokens.
        placement: see `marks`.
    """
    found = marks(ends, len(speech), placement)
    if placement in ("all", "recall"):
        return speech, found
    if placement == "pool":
        return pooled(speech, ends), found
    if placement == "anchor":
        return speech + found[:, None] * embedding.to(speech), found
    own = embedding.to(speech).expand(len(ends), -1)
    embeds = speech.new_zeros(len(found), speech.shape[1])
    return embeds.masked_scatter(~found[:, None], speech).masked_scatter(found[:, None], own), found


def pooled(speech: Float[Tensor, "tokens dim"], ends: Int[Tensor, "summaries"]) -> Float[Tensor, "summaries dim"]:
    """Means of the tokens of each SST."""
    counts = ends.diff(prepend=ends.new_zeros(1))
    group = torch.arange(len(ends), device=ends.device).repeat_interleave(counts)
    sums = speech.new_zeros(len(ends), speech.shape[1]).index_add(0, group, speech)
    return sums / counts[:, None].to(sums)


def spans(
    times: Float[Tensor, "tokens 2"], ends: Int[Tensor, "summaries"], placement: Placement
) -> Float[Tensor, "pairs 2"]:
    """Start and end in seconds of the speech that each kept pair stands for."""
    if placement == "all":
        return times
    first = torch.cat([ends.new_zeros(1), ends])[: len(ends)]
    return torch.stack([times[first, 0], times[ends - 1, 1]], 1)
