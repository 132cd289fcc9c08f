"""How a recording is cut into intervals: the spans of speech tokens that are summarized one after the other."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

Boundaries = Literal["fixed", "dynamic"]
Spans = tuple[tuple[int, int], ...]
AROUND = 8  # tokens on each side of a boundary that are compared


def fixed(count: int, length: int) -> Spans:
    """Spans of `length` tokens; the last one has the remainder."""
    return tuple((start, min(start + length, count)) for start in range(0, count, length))


def dynamic(embeds: Float[Tensor, "tokens dim"], length: int) -> Spans:
    """Spans that end where the speech changes most, each of `length / 2` to `length` tokens.

    The change at a boundary is one minus the cosine of the mean tokens before and behind it; where nothing is said
    at one side, it is 1: a pause that begins or ends. Ties go to the longer span.
    """
    found, start = list[tuple[int, int]](), 0
    scores = change(embeds)
    while len(embeds) - start > length:
        first, last = start + max(1, length // 2), start + length
        behind = scores[first : last + 1].flip(0)
        end = last - int(behind.argmax())
        found.append((start, end))
        start = end
    return (*found, (start, len(embeds))) if len(embeds) else ()


def change(embeds: Float[Tensor, "tokens dim"]) -> Float[Tensor, "boundaries"]:
    """How much the speech changes between token i - 1 and token i, 0 to 2; at 0 and at the end it is 0."""
    if len(embeds) < 2:
        return embeds.new_zeros(len(embeds) + 1, dtype=torch.float32)
    sums = F.pad(embeds.float().cumsum(0), (0, 0, 1, 0))
    at = torch.arange(1, len(embeds), device=embeds.device)
    before = sums[at] - sums[(at - AROUND).clamp(min=0)]
    behind = sums[(at + AROUND).clamp(max=len(embeds))] - sums[at]
    inner = 1 - F.cosine_similarity(before, behind)
    return F.pad(inner, (1, 1))


def cut(embeds: Float[Tensor, "tokens dim"], length: int, boundaries: Boundaries) -> Spans:
    """Cuts a recording's tokens into intervals of at most `length`."""
    return fixed(len(embeds), length) if boundaries == "fixed" else dynamic(embeds, length)
