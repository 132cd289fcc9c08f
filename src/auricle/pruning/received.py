"""Attention among speech tokens, for methods that were made for the attention of a speech encoder.

A Speech LLM's contract has no encoder attention. What stands in for it is that of the LLM's first layer among the
speech tokens of one window of 30 s, with neither positions nor a causal mask, as an encoder attends.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from auricle.pruning.merging import Merge
from auricle.speech_lm import QK

_EPSILON = 1e-6
_LEAST = 1e-20  # of a weight, so that a run of tokens that receive nothing has a mean


def attention(S: Float[Tensor, "audio dim"], qk: QK) -> Float[Tensor, "heads audio audio"]:
    """Softmax over the keys of each query; the vectors are normalized as before a layer, without its gains."""
    vectors = S.to(qk.w_q.device).float()
    normed = vectors * (vectors.square().mean(1, keepdim=True) + _EPSILON).rsqrt()
    queries, keys = qk.queries(normed).transpose(0, 1), qk.keys(normed).transpose(0, 1)
    keys = keys.repeat_interleave(qk.heads // qk.kv_heads, 0)
    found: Tensor = (queries @ keys.transpose(1, 2) / qk.head_dim**0.5).softmax(-1)
    return found


def received(S: Float[Tensor, "audio dim"], qk: QK, window: int) -> Float[Tensor, "audio"]:
    """The attention that each token receives in its window, the mean over heads and queries, on the CPU; above 0.

    Args:
        S: speech tokens.
        qk: of the first layer.
        window: tokens of 30 s.
    """
    return torch.cat([attention(part, qk).mean((0, 1)) for part in torch.split(S, window)]).clamp(min=_LEAST).cpu()


def evenly(sizes: Sequence[int], count: int) -> list[int]:
    """Shares `count` out to parts in proportion to their sizes; what rounding leaves is spread over all of them."""
    total, ends = sum(sizes), accumulate(sizes, initial=0)
    given = [end * count // total for end in ends]
    return [after - before for before, after in pairwise(given)]


def in_windows(
    S: Float[Tensor, "audio dim"], window: int, count: int, merge: Callable[[Tensor, int], Merge]
) -> Merge:
    """What is merged window by window, each with its share of the count.

    Args:
        S: speech tokens.
        window: tokens of 30 s.
        count: how many are left of all.
        merge: of a window's tokens, so that so many are left of them, perhaps none.
    """
    parts = torch.split(S, window)
    merged = [
        merge(part, most) for part, most in zip(parts, evenly([len(part) for part in parts], count), strict=True)
    ]
    moved = [torch.where(each.into < 0, -1, each.into + at * window) for at, each in enumerate(merged)]
    return Merge(torch.cat(moved), torch.cat([each.weights for each in merged]))


def keys(S: Float[Tensor, "audio dim"], qk: QK) -> Float[Tensor, "audio k_dim"]:
    """The first layer's keys, without positions; a zero vector has a zero key."""
    vectors = S.to(qk.w_k.device).float()
    return qk.keys(vectors * (vectors.square().mean(1, keepdim=True) + _EPSILON).rsqrt()).flatten(1)
