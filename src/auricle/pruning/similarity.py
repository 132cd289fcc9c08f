"""SpeechPrune's first phase: token-text similarity and a budget for every second of speech, as pure functions.

"SpeechPrune: Context-aware Token Pruning for Speech Information Retrieval", section 1.5, equations 3 to 5;
`docs/speechprune.md` maps its symbols to the names here and explains every choice that it leaves open.
"""

from fractions import Fraction
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from auricle.errors import QueryError

FramePool = Literal["sum", "mean"]

_ROWS = 4096  # speech tokens that are turned into float32 at a time


def relevance(S: Float[Tensor, "audio dim"], T: Float[Tensor, "text dim"]) -> Float[Tensor, "audio"]:
    """How much each speech token has to do with the text: the mean over the text of cosine(S, T).

    The mean of cosines is one product with the mean of the unit text vectors, so F (audio x text) is never made.
    A zero vector has relevance 0. Identical tokens get identical values, wherever they stand.

    Args:
        S: speech embeddings in the LLM's input space, of any float type.
        T: the text's input embeddings, on the same device.

    Returns:
        float32 in -1..1, on the device of S.

    Raises:
        QueryError: there is no text token.
    """
    if len(T) == 0:
        raise QueryError("The question has no token; ask something, for example 'What is decided?'.")
    text = torch.nn.functional.normalize(T.float(), dim=1).mean(0)
    smallest = torch.finfo(torch.float32).tiny
    blocks = [
        (rows * text).sum(1) / torch.linalg.vector_norm(rows, dim=1).clamp(min=smallest)
        for rows in (block.float() for block in torch.split(S, _ROWS))
    ]
    return torch.cat(blocks)


def frames_of(length: int, tokens_per_second: float) -> Int[Tensor, "audio"]:
    """The one-second frame of each of `length` tokens: floor(i / f), exactly, also for f = 12.5 or 448/30."""
    rate = Fraction(tokens_per_second).limit_denominator(1000)
    return torch.arange(length) * rate.denominator // rate.numerator


def frame_budgets(
    relevance: Float[Tensor, "audio"], tokens_per_second: float, budget: int, frame_pool: FramePool = "sum"
) -> Int[Tensor, "frames"]:
    """How many tokens each one-second frame keeps: `budget` shared out by softmax over the frames' relevance.

    Args:
        relevance: of every speech token, on the CPU.
        tokens_per_second: the paper's f; the last frame may be shorter.
        budget: tokens to keep in all.
        frame_pool: "sum" of the frame's relevance, as in the printed equation 4, or its "mean", as in the text.

    Returns:
        counts that add up to min(audio, budget) exactly, none above its frame's size (see `apportion`).
    """
    frames = frames_of(len(relevance), tokens_per_second)
    sizes = torch.bincount(frames)
    pooled = torch.bincount(frames, weights=relevance.double())
    if frame_pool == "mean":
        pooled = pooled / sizes
    return apportion(pooled.log_softmax(0), sizes, budget)


def apportion(
    log_weights: Float[Tensor, "frames"], sizes: Int[Tensor, "frames"], budget: int
) -> Int[Tensor, "frames"]:
    """Shares `budget` out in proportion to weights, with no share above its size and nothing lost.

    The quota of frame i is min(size_i, c * weight_i), where c makes the quotas add up to the budget: what a full
    frame cannot take goes to the others in proportion to their weights. Quotas are rounded down, and what is then
    missing goes, one token each, to the largest remainders; ties go to the earlier frame. Between frames of equal
    size the heavier never gets less.

    Args:
        log_weights: float64 logarithms, so that no weight is too small to count.
        sizes: tokens in each frame.
        budget: tokens to share out; at or above the sum of sizes, every frame is full.
    """
    if budget >= int(sizes.sum()):
        return sizes
    capacity = sizes.double()
    order = (log_weights - capacity.log()).argsort(descending=True, stable=True)  # who is full first
    weight, size = log_weights[order], capacity[order]
    left = (budget - size.cumsum(0) + size).clamp(min=0)  # if all frames before this one are full,
    log_c = left.log() - weight.flip(0).logcumsumexp(0).flip(0)  # and c if no other one is
    full = (log_c + weight >= size.log()).long().cumprod(0)
    shares = torch.minimum((log_c[int(full.sum())] + weight).exp(), size)
    quota = torch.empty_like(capacity)
    quota[order] = torch.where(full.bool(), size, shares)
    counts = quota.long()
    by_remainder = (quota - counts).argsort(descending=True, stable=True)
    counts[by_remainder[: budget - int(counts.sum())]] += 1
    return counts


def select_similar(
    relevance: Float[Tensor, "audio"], tokens_per_second: float, budget: int, frame_pool: FramePool = "sum"
) -> Int[Tensor, "kept"]:
    """Indices of the most relevant tokens of every frame, as many as `frame_budgets` grants it, sorted by time.

    Ties go to the earlier token. Arguments as for `frame_budgets`; exactly min(audio, budget) indices come back.
    """
    frames = frames_of(len(relevance), tokens_per_second)
    counts = frame_budgets(relevance, tokens_per_second, budget, frame_pool)
    order = relevance.argsort(descending=True, stable=True)
    order = order[frames[order].argsort(stable=True)]  # by frame, then by relevance, then by time
    sizes = torch.bincount(frames)
    rank = torch.arange(len(order)) - (sizes.cumsum(0) - sizes)[frames]
    kept: Tensor = order[rank < counts[frames]].sort().values
    return kept
