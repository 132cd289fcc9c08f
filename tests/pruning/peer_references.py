"""Eight published methods as plain loops over numbers, to compare the fast ones with. No tensor arithmetic.

What merges gives, for the place of each vector that is left, this vector.
"""

import math
from fractions import Fraction

from references import Vector, dot, normed, top

Matrix = list[Vector]
Left = dict[int, Vector]


def cosine(a: Vector, b: Vector) -> float:
    """Zero vectors are like each other, and like nothing else."""
    if not any(a) or not any(b):
        return float(not any(a) and not any(b))
    return dot(a, b) / math.sqrt(dot(a, a) * dot(b, b))


def mean(vectors: Matrix, weights: Vector) -> Vector:
    total = sum(weights)
    return [sum(w * v[d] for w, v in zip(weights, vectors, strict=True)) / total for d in range(len(vectors[0]))]


def share(sizes: list[int], count: int) -> list[int]:
    """In proportion to the sizes, exactly: token by token, a share is due whenever another whole one is full."""
    counts, full = [0] * len(sizes), Fraction(0)
    for part, size in enumerate(sizes):
        for _ in range(size):
            before, full = math.floor(full), full + Fraction(count, sum(sizes))
            counts[part] += math.floor(full) - before
    return counts


def parts(length: int, size: int) -> list[list[int]]:
    """The token indices of every window."""
    return [list(range(start, min(start + size, length))) for start in range(0, length, size)]


# -- the LLM's first layer ---------------------------------------------------------------------------------------


def project(S: Matrix, w: Matrix) -> Matrix:
    """Of vectors normalized to a mean square of 1."""
    normed = []
    for s in S:
        root = math.sqrt(dot(s, s) / len(s) + 1e-6)
        normed.append([x / root for x in s])
    return [[dot(row, s) for row in w] for s in normed]


def attention(
    S: Matrix,
    w_q: Matrix,
    w_k: Matrix,
    heads: int,
    kv_heads: int,
    gains: tuple[Vector | None, Vector | None] = (None, None),
) -> list[Matrix]:
    """Of every head, query and key, without positions or a causal mask."""
    queries, keys = project(S, w_q), project(S, w_k)
    width = len(w_q) // heads
    found = []
    for head in range(heads):
        shared = head // (heads // kv_heads)
        Q = [normed(q[head * width : (head + 1) * width], gains[0]) for q in queries]
        K = [normed(k[shared * width : (shared + 1) * width], gains[1]) for k in keys]
        rows = []
        for q in Q:
            scores = [dot(q, k) / math.sqrt(width) for k in K]
            most = max(scores)
            exps = [math.exp(score - most) for score in scores]
            total = sum(exps)
            rows.append([e / total for e in exps])
        found.append(rows)
    return found


def received(attended: list[Matrix]) -> Vector:
    """By each key: the mean over heads and queries."""
    heads, length = len(attended), len(attended[0])
    return [sum(A[i][j] for A in attended for i in range(length)) / (heads * length) for j in range(length)]


def received_most(attended: list[Matrix]) -> Vector:
    """By each key: of every query the highest over heads, then the mean over queries."""
    length = len(attended[0])
    return [sum(max(A[i][j] for A in attended) for i in range(length)) / length for j in range(length)]


# -- neighbours that become one ----------------------------------------------------------------------------------


def joined(alike: Vector, joins: int) -> list[list[int]]:
    """Runs of indices, where the most similar neighbours are joined."""
    edges = set(sorted(range(len(alike)), key=lambda i: (-alike[i], i))[:joins])
    runs = [[0]]
    for i in range(len(alike)):
        if i in edges:
            runs[-1].append(i + 1)
        else:
            runs.append([i + 1])
    return runs


def neighbours(S: Matrix) -> Vector:
    return [cosine(S[i], S[i + 1]) for i in range(len(S) - 1)]


def fastadasp(S: Matrix, keys: Matrix, weights: Vector, count: int) -> Left:
    runs = joined(neighbours(keys), len(S) - count)
    return {run[0]: mean([S[i] for i in run], [weights[i] for i in run]) for run in runs}


def fastlongspeech(S: Matrix, count: int) -> Left:
    left = dict(enumerate(S))
    while len(left) > count:
        after = len(left) // 2 if len(left) > 2 * count else count
        places, vectors = list(left), list(left.values())
        left = {
            places[run[0]]: mean([vectors[i] for i in run], [1.0] * len(run))
            for run in joined(neighbours(vectors), len(left) - after)
        }
    return left


def a_tome(S: Matrix, count: int) -> Left:
    left = list(enumerate(S))
    while len(left) > count:
        alike = neighbours([vector for _, vector in left])
        second: set[int] = set()  # of a pair
        for i in sorted(range(len(alike)), key=lambda i: (-alike[i], i)):
            if len(left) - len(second) > count and not {i, i + 2} & second:
                second.add(i + 1)
        after = []
        for i, (place, vector) in enumerate(left):
            if i + 1 in second:
                after.append((place, mean([vector, left[i + 1][1]], [1.0, 1.0])))
            elif i not in second:
                after.append((place, vector))
        left = after
    return dict(left)


# -- windows -----------------------------------------------------------------------------------------------------


def mean_key(wide: Vector, heads: int) -> Vector:
    """Of a token's keys, which lie side by side."""
    size = len(wide) // heads
    return [sum(wide[d + size * h] for h in range(heads)) / heads for d in range(size)]


def visionzip(S: Matrix, keys: Matrix, scores: Vector, count: int) -> Left:
    """Of one window."""
    contextual = round(Fraction(10 * count, 64))
    dominant = top(scores, count - contextual)
    left = {i: S[i] for i in dominant}
    rest = [i for i in range(len(S)) if i not in left]
    targets = [rest[t * (len(rest) // contextual)] for t in range(contextual)]
    members = {target: [target] for target in targets}
    for i in rest:
        if targets and i not in members:
            members[max(targets, key=lambda t: (cosine(keys[i], keys[t]), -t))].append(i)
    return left | {t: mean([S[i] for i in those], [1.0] * len(those)) for t, those in members.items()}


def segmentwise(scores: Vector, segment_tokens: Fraction, count: int) -> list[int]:
    """Of segments that are as long as `segment_tokens`, which need not be whole."""
    segments: dict[int, list[int]] = {}
    for i in range(len(scores)):
        segments.setdefault(math.floor(i / segment_tokens), []).append(i)
    counts = share([len(segment) for segment in segments.values()], count)
    kept: list[int] = []
    for segment, most in zip(segments.values(), counts, strict=True):
        kept += [segment[i] for i in top([scores[i] for i in segment], most)]
    return kept


def samap(S: Matrix, attended: list[Matrix], threshold: float, count: int) -> Left:
    """Of one window."""
    if not count:
        return {}
    groups, alike = [[0]], {}
    for i in range(1, len(S)):
        mean_cosine = sum(cosine(S[i], S[j]) for j in groups[-1]) / len(groups[-1])
        if mean_cosine >= threshold:
            groups[-1].append(i)
            alike[i] = mean_cosine
        else:
            groups.append([i])
    weights = received_most(attended)
    if len(groups) <= count:
        freed = sorted(alike, key=lambda i: (alike[i], i))[: count - len(groups)]
        groups = [[i for i in group if i not in freed] for group in groups] + [[i] for i in freed]
        chosen = list(range(len(groups)))
    vectors = [mean([S[i] for i in group], [weights[i] for i in group]) for group in groups]
    if len(groups) > count:
        own = [sum(A[i][i] for A in attended) / len(attended) for i in range(len(S))]
        chosen = diverse(vectors, [sum(own[i] for i in group) / len(group) for group in groups], count)
    return {groups[g][0]: vectors[g] for g in chosen}


def diverse(vectors: Matrix, relevance: Vector, count: int) -> list[int]:
    """Each step takes what makes the determinant of the chosen ones' kernel largest."""
    kernel = [
        [r * cosine(a, b) * s for b, s in zip(vectors, relevance, strict=True)]
        for a, r in zip(vectors, relevance, strict=True)
    ]
    chosen: list[int] = []
    for _ in range(count):
        others = [g for g in range(len(vectors)) if g not in chosen]
        chosen.append(max(others, key=lambda g: (_minor(kernel, [*chosen, g]), -g)))
    return sorted(chosen)


def _minor(kernel: Matrix, rows: list[int]) -> float:
    return determinant([[kernel[i][j] for j in rows] for i in rows])


def determinant(matrix: Matrix) -> float:
    """By elimination."""
    rows = [list(row) for row in matrix]
    found = 1.0
    for i in range(len(rows)):
        pivot = max(range(i, len(rows)), key=lambda r: abs(rows[r][i]))
        if rows[pivot][i] == 0:
            return 0.0
        if pivot != i:
            rows[i], rows[pivot] = rows[pivot], rows[i]
            found = -found
        found *= rows[i][i]
        for below in range(i + 1, len(rows)):
            factor = rows[below][i] / rows[i][i]
            rows[below] = [x - factor * y for x, y in zip(rows[below], rows[i], strict=True)]
    return found


# -- inside the LLM ----------------------------------------------------------------------------------------------


def fastv(attended: Matrix, audio: list[int], count: int) -> list[int]:
    """`attended`: by the last token, of every head and token."""
    return top([sum(head[i] for head in attended) / len(attended) for i in audio], count)


def dart(keys: list[Matrix], states: Matrix, audio: list[int], count: int) -> list[int]:
    norms = [sum(abs(x) for head in keys for x in head[i]) for i in range(len(states))]
    falling = sorted(range(len(states)), key=lambda i: (-norms[i], i))
    speech = [i for i in falling if i in audio][: min(4, count)]
    pivots = speech + [i for i in falling if i > audio[-1]][:4]
    quotas = [(count - len(speech)) // len(pivots)] * len(pivots)
    for i in range((count - len(speech)) % len(pivots)):
        quotas[i] += 1
    free = [i for i in audio if i not in speech]
    for pivot, quota in zip(pivots, quotas, strict=True):
        free.sort(key=lambda i: (cosine(states[i], states[pivot]), i))
        free = free[quota:]
    return [number for number, i in enumerate(audio) if i not in free]
