"""What Searchlight's parts are worth: evidence recall with each of them off, changed, or added.

    python bench/searchlight.py SPIRAL_DIR --samples 48 --rates 0 0.6 0.8

Evidence recall is the share of the tokens of the sentence that holds the answer that is kept; silence is left out
of it, as nobody can answer from it. No answer is asked for. Contextual vectors are those of the question and its
choices where the prompt asks them, at two thresholds: they resemble each other more than embeddings do. A word is
as rare to the LLM as it does not expect it behind the words before it. Intervals are 95 % bootstraps over the
samples. Prints Markdown. Set AURICLE_TOKENS, and recordings are encoded once.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from scipy import stats
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

import auricle
from auricle.asking import encode
from auricle.audio import SAMPLE_RATE
from auricle.benchmarks.spiral import Spiral
from auricle.models.hugging_face import HuggingFaceSpeechLM
from auricle.pruning.budget import kept
from auricle.pruning.searchlight import RAREST, says_something, sliding_max, sliding_mean
from auricle.speech_lm import AudioTokens, Query

LAYER = 10  # where the second look is taken


@dataclass(frozen=True)
class Parts:
    """Which parts of the method act; by default all of them, as in the product."""

    windows: tuple[float, ...] = (6.0,)
    threshold: float = 0.6
    question: bool = True
    choices: bool = True
    near: bool = True
    rarity: Literal["recording", "llm", "both", "none"] = "recording"
    smooth: bool = True
    silence: bool = True
    margin: float = 0.0


VARIANTS = {
    "all parts (Searchlight)": Parts(),
    "every word weighs the same": Parts(rarity="none"),
    "rarity to the LLM instead of in the recording": Parts(rarity="llm"),
    "both rarities, multiplied": Parts(rarity="both"),
    "a token's own cosines only": Parts(near=False),
    "no mean over the window": Parts(smooth=False),
    "no threshold": Parts(threshold=0.0),
    "window 3 s": Parts(windows=(3.0,)),
    "window 12 s": Parts(windows=(12.0,)),
    "windows of 3, 6 and 12 s together": Parts(windows=(3.0, 6.0, 12.0)),
    "a margin of 1 s around what is brightest": Parts(margin=1.0),
    "silence is not skipped": Parts(silence=False),
    "without the choices": Parts(choices=False),
    "the choices alone": Parts(question=False),
}


def light(S: Tensor, texts: list[Tensor], surprise: list[Tensor], parts: Parts, tokens_per_second: float) -> Tensor:
    """Scores of speech vectors for a question, the first of the texts, and its choices."""
    T, rare = (
        torch.cat([*each[: parts.question], *(each[1:] if parts.choices else [])]) for each in (texts, surprise)
    )
    cosine = F.normalize(S.float(), dim=1) @ F.normalize(T.float(), dim=1).T
    match = ((cosine - parts.threshold).clamp(min=0) / (1 - parts.threshold)).T
    total = torch.zeros(len(S))
    for window in parts.windows:
        half = max(1, round(window * tokens_per_second / 2))
        near = sliding_max(match, half) if parts.near else match
        weights = (
            -near.mean(1).clamp(RAREST, 1).log() if parts.rarity in ("recording", "both") else torch.ones(len(T))
        )
        weights = weights * rare if parts.rarity in ("llm", "both") else weights
        scores = weights @ near
        total += sliding_mean(scores, half) if parts.smooth else scores
    return total


def surprises(lm: HuggingFaceSpeechLM, texts: list[str]) -> list[Tensor]:
    """In nats, for every token of every text, behind a turn that asks for it."""
    found = []
    for text in texts:
        ids = lm.query(text).ids
        prompt = lm.prompt(None, lm.query("Say it."))
        read = torch.cat([prompt.embeds[0], lm.query(text).embeds])[None]
        with torch.inference_mode():
            logits = lm.model(inputs_embeds=read, logits_to_keep=len(ids) + 1).logits[0, :-1]
        found.append(-logits.float().log_softmax(-1).gather(1, ids[:, None])[:, 0])
    return found


def best(scores: Tensor, spoken: Tensor, count: int) -> Tensor:
    order = scores.argsort(descending=True, stable=True)
    return order[spoken[order].logical_not().long().argsort(stable=True)][:count]


def with_margin(scores: Tensor, spoken: Tensor, count: int, around: int) -> Tensor:
    """The brightest tokens, each with its neighbours that speak, until there are enough."""
    kept_: dict[int, None] = {}
    for place in best(scores, spoken, count).tolist():
        for near in range(max(0, place - around), min(len(scores), place + around + 1)):
            if spoken[near] and len(kept_) < count:
                kept_.setdefault(near)
    return torch.tensor(list(kept_), dtype=torch.long)


def choices(lm: HuggingFaceSpeechLM, tokens: AudioTokens, query: Query, count: int) -> Iterator[tuple[str, Tensor]]:
    """What every variant keeps, by name."""
    S, rate = tokens.embeds, lm.tokens_per_second
    spoken = says_something(S)
    texts = [query.embeds, *(lm.query(each).embeds for each in query.choices)]
    rare = surprises(lm, [query.text, *query.choices])
    for name, parts in VARIANTS.items():
        scores = light(S, texts, rare, parts, rate)
        said = spoken if parts.silence else torch.ones(len(S), dtype=torch.bool)
        if parts.margin:
            yield name, with_margin(scores, said, count, round(parts.margin * rate))
        else:
            yield name, best(scores, said, count)
    scores = light(S, texts, rare, Parts(), rate)
    for share in (0.2, 0.4):
        first = best(scores, spoken, count - round(share * count))
        rest = torch.ones(len(S), dtype=torch.bool)
        rest[first] = False
        spread = (rest & spoken).nonzero()[:, 0]
        more = min(count - len(first), len(spread))
        even = torch.arange(more) * len(spread) // max(1, more)
        yield f"{share:.0%} spread over the recording", torch.cat([first, spread[even]])
    yield from contextual(lm, tokens, query, count)
    mild = best(scores, spoken, kept(len(S), rate, 0.0)).sort().values
    again = lm.prompt(tokens.select(mild), query)
    attended = lm.inside(again, LAYER).attention.mean(0)[again.audio]
    yield f"a second look, layer {LAYER}", mild[attended.argsort(descending=True, stable=True)[:count]]
    for share in (0.5, 0.7, 0.9):
        bright = (scores >= share * scores.max()) & spoken
        yield (
            f"all from {share} of the highest score, at most these",
            best(scores, spoken, min(count, int(bright.sum()))),
        )


def contextual(
    lm: HuggingFaceSpeechLM, tokens: AudioTokens, query: Query, count: int
) -> Iterator[tuple[str, Tensor]]:
    """By the vectors of the LLM's first layers in the place of its embeddings."""
    spoken = says_something(tokens.embeds)
    prompt = lm.prompt(tokens, lm.query("\n".join([query.text, *query.choices])))
    for layers in (1, 2):
        states = lm.inside(prompt, layers).states
        asked, speech = states[prompt.query], states[prompt.audio]
        for threshold in (0.3, 0.6):
            parts = Parts(threshold=threshold, choices=False)  # they stand in the question
            scores = light(speech, [asked], [torch.ones(len(asked))], parts, lm.tokens_per_second)
            yield f"vectors of the LLM's layer {layers}, threshold {threshold}", best(scores, spoken, count)


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
