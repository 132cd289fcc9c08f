"""What Searchlight's parts are worth: evidence recall with each of them off, changed, or added.

    python bench/searchlight.py SPIRAL_DIR --samples 48 --rates 0 0.6 0.8

Evidence recall is the share of the tokens of the sentence that holds the answer that is kept; silence is left out
of it, as nobody can answer from it. No answer is asked for. Intervals are 95 % bootstraps over the samples. Prints
Markdown. Set AURICLE_TOKENS, and recordings are encoded once.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from scipy import stats
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

import auricle
from auricle.asking import encode
from auricle.audio import SAMPLE_RATE
from auricle.benchmarks.spiral import Spiral
from auricle.pruning.budget import kept
from auricle.pruning.searchlight import RAREST, says_something, sliding_max, sliding_mean
from auricle.speech_lm import AudioTokens, Query

LAYER = 10  # where the second look is taken


@dataclass(frozen=True)
class Parts:
    """Which parts of the method act; by default all of them, as in the product."""

    window: float = 6.0
    threshold: float = 0.6
    question: bool = True
    choices: bool = True
    near: bool = True
    rarity: bool = True
    smooth: bool = True


VARIANTS = {
    "all parts (Searchlight)": Parts(),
    "every word weighs the same": Parts(rarity=False),
    "a token's own cosines only": Parts(near=False),
    "no mean over the window": Parts(smooth=False),
    "no threshold": Parts(threshold=0.0),
    "window 3 s": Parts(window=3.0),
    "window 12 s": Parts(window=12.0),
    "without the choices": Parts(choices=False),
    "the choices alone": Parts(question=False),
}


def light(S: Tensor, texts: list[Tensor], parts: Parts, tokens_per_second: float) -> Tensor:
    """Scores of speech vectors for a question, the first of the texts, and its choices."""
    T = torch.cat([*texts[: parts.question], *(texts[1:] if parts.choices else [])])
    half = max(1, round(parts.window * tokens_per_second / 2))
    cosine = F.normalize(S.float(), dim=1) @ F.normalize(T.float(), dim=1).T
    match = ((cosine - parts.threshold).clamp(min=0) / (1 - parts.threshold)).T
    near = sliding_max(match, half) if parts.near else match
    weights = -near.mean(1).clamp(RAREST, 1).log() if parts.rarity else torch.ones(len(near))
    scores = weights @ near
    return sliding_mean(scores, half) if parts.smooth else scores


def best(scores: Tensor, spoken: Tensor, count: int) -> Tensor:
    order = scores.argsort(descending=True, stable=True)
    return order[spoken[order].logical_not().long().argsort(stable=True)][:count]


def choices(lm: auricle.SpeechLM, tokens: AudioTokens, query: Query, count: int) -> Iterator[tuple[str, Tensor]]:
    """What every variant keeps, by name."""
    S, rate = tokens.embeds, lm.tokens_per_second
    spoken = says_something(S)
    texts = [query.embeds, *(lm.query(each).embeds for each in query.choices)]
    for name, parts in VARIANTS.items():
        yield name, best(light(S, texts, parts, rate), spoken, count)
    scores = light(S, texts, Parts(), rate)
    for share in (0.2, 0.4):
        first = best(scores, spoken, count - round(share * count))
        rest = torch.ones(len(S), dtype=torch.bool)
        rest[first] = False
        spread = (rest & spoken).nonzero()[:, 0]
        more = min(count - len(first), len(spread))
        even = torch.arange(more) * len(spread) // max(1, more)
        yield f"{share:.0%} spread over the recording", torch.cat([first, spread[even]])
    prompt = lm.prompt(tokens, query, query.choices)
    for layers in (1, 2):
        states = lm.inside(prompt, layers).states
        behind = states[int(prompt.audio[-1]) + 1 :]
        contextual = light(states[prompt.audio], [behind, behind[:0]], Parts(threshold=0.3), rate)
        yield f"vectors of the LLM's layer {layers}, threshold 0.3", best(contextual, spoken, count)
    mild = best(scores, spoken, kept(len(S), rate, 0.0)).sort().values
    looked = lm.inside(lm.prompt(tokens.select(mild), query), LAYER).attention.mean(0)
    attended = looked[len(prompt.embeds[0, : int(prompt.audio[0])]) :][: len(mild)]
    yield f"a second look, layer {LAYER}", mild[attended.argsort(descending=True, stable=True)[:count]]
    for share in (0.5, 0.7, 0.9):
        bright = (scores >= share * scores.max()) & spoken
        yield (
            f"all from {share} of the highest score, at most these",
            best(scores, spoken, min(count, int(bright.sum()))),
        )


def inside(times: Tensor, evidence: tuple[tuple[float, float], ...]) -> Tensor:
    middle = times.mean(1)
    return torch.stack([(middle >= start) & (middle < end) for start, end in evidence]).any(0)


def interval(values: list[float]) -> str:
    found = np.array(values)
    drawn = stats.bootstrap((found,), np.mean, n_resamples=2000, method="percentile", rng=0).confidence_interval
    return f"{found.mean():.3f} ({drawn.low:.3f} to {drawn.high:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a set of 'auricle spiral package'")
    parser.add_argument("--samples", type=int, default=48)
    parser.add_argument("--rates", type=float, nargs="+", default=[0.0, 0.6, 0.8])
    parser.add_argument("--model", default="mini")
    options = parser.parse_args()

    lm = auricle.load(options.model)
    found: dict[str, list[list[tuple[float, int]]]] = {}
    for sample in islice(Spiral(options.data).samples(), options.samples):
        tokens = encode(lm, sample.load(), SAMPLE_RATE).tokens
        query = lm.query(sample.question, sample.choices)
        evidence = inside(tokens.times, sample.evidence) & (tokens.embeds != 0).any(1)
        if not evidence.any():
            continue
        row: dict[str, list[tuple[float, int]]] = {}
        for rate in options.rates:
            for name, chosen in choices(lm, tokens, query, kept(len(tokens), lm.tokens_per_second, rate)):
                stays = torch.zeros(len(tokens), dtype=torch.bool)
                stays[chosen] = True
                row.setdefault(name, []).append((float(stays[evidence].float().mean()), len(chosen)))
        for name, values in row.items():
            found.setdefault(name, []).append(values)
    print("| variant | " + " | ".join(f"rate {rate:g} (tokens)" for rate in options.rates) + " |")
    print("|---|" + "---|" * len(options.rates))
    for name, rows in found.items():
        cells = []
        for at in range(len(options.rates)):
            tokens_kept = sum(row[at][1] for row in rows) / len(rows)
            cells.append(f"{interval([row[at][0] for row in rows])} ({tokens_kept:.0f})")
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
