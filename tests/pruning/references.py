"""SpeechPrune as plain loops over numbers, to compare the fast functions with. No tensor arithmetic."""

import math
from fractions import Fraction

Vector = list[float]


def sign(x: float) -> int:
    return (x > 0) - (x < 0)


def dot(a: Vector, b: Vector) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def cosine(a: Vector, b: Vector) -> float:
    norms = math.sqrt(dot(a, a)) * math.sqrt(dot(b, b))
    return dot(a, b) / norms if norms else 0.0


def relevance(S: list[Vector], T: list[Vector]) -> Vector:
    """Equation 3, and its mean over the text."""
    return [sum(cosine(s, t) for t in T) / len(T) for s in S]


def frames(length: int, tokens_per_second: Fraction) -> list[list[int]]:
    """The token indices of every second."""
    grouped: dict[int, list[int]] = {}
    for i in range(length):
        grouped.setdefault(math.floor(i / tokens_per_second), []).append(i)
    return [grouped[second] for second in sorted(grouped)]


def apportion(weights: Vector, sizes: list[int], budget: int) -> list[int]:
    """Fills frames that overflow, one round at a time, then rounds down and hands on the rest."""
    if budget >= sum(sizes):
        return list(sizes)
    full: set[int] = set()
    while True:
        left = budget - sum(sizes[i] for i in full)
        total = sum(w for i, w in enumerate(weights) if i not in full)
        quota = [float(sizes[i]) if i in full else left * w / total for i, w in enumerate(weights)]
        over = {i for i, q in enumerate(quota) if i not in full and q > sizes[i]}
        if not over:
            break
        full |= over
    counts = [math.floor(q) for q in quota]
    by_remainder = sorted(range(len(quota)), key=lambda i: (counts[i] - quota[i], i))
    for i in by_remainder[: budget - sum(counts)]:
        counts[i] += 1
    return counts


def frame_budgets(r: Vector, tokens_per_second: Fraction, budget: int, frame_pool: str) -> list[int]:
    grouped = frames(len(r), tokens_per_second)
    pooled = [sum(r[i] for i in frame) / (len(frame) if frame_pool == "mean" else 1) for frame in grouped]
    weights = [math.exp(x - max(pooled)) for x in pooled]
    return apportion(weights, [len(frame) for frame in grouped], budget)


def select_similar(r: Vector, tokens_per_second: Fraction, budget: int, frame_pool: str) -> list[int]:
    kept: list[int] = []
    counts = frame_budgets(r, tokens_per_second, budget, frame_pool)
    for frame, count in zip(frames(len(r), tokens_per_second), counts, strict=True):
        kept += sorted(frame, key=lambda i: (-r[i], i))[:count]
    return sorted(kept)


def normed(head: Vector, gains: Vector | None) -> Vector:
    """One head of a query or a key at a mean square of 1, times the gains; as it is if there are none."""
    if gains is None:
        return head
    root = math.sqrt(dot(head, head) / len(head) + 1e-6)
    return [x / root * gain for x, gain in zip(head, gains, strict=True)]


def received_attention(
    S: list[Vector],
    w_q: list[Vector],
    w_k: list[Vector],
    heads: int,
    kv_heads: int,
    gains: tuple[Vector | None, Vector | None] = (None, None),
) -> Vector:
    """Equations 6 to 8, and the mean over heads and queries: a probability for every token."""
    signs = [[sign(x) for x in s] for s in S]
    w_q, w_k = ([[sign(x) for x in row] for row in w] for w in (w_q, w_k))
    width = len(w_q) // heads
    received = [0.0] * len(S)
    for head in range(heads):
        shared = head // (heads // kv_heads)
        Q = [normed([dot(s, row) for row in w_q[head * width : (head + 1) * width]], gains[0]) for s in signs]
        K = [normed([dot(s, row) for row in w_k[shared * width : (shared + 1) * width]], gains[1]) for s in signs]
        for q in Q:
            scores = [dot(q, k) / math.sqrt(width) for k in K]
            exps = [math.exp(score - max(scores)) for score in scores]
            for j, e in enumerate(exps):
                received[j] += e / sum(exps) / (heads * len(S))
    return received


def top(scores: Vector, count: int) -> list[int]:
    return sorted(sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:count])
