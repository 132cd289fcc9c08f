"""Accuracy by the length of the recording, from 30 s to five minutes.

    python bench/lengths.py SPIRAL_DIR --samples 100 --seed 0
    python bench/lengths.py SPIRAL_DIR --samples 100 --summarize 4 8 16 [--sst DIR]

The recording of a sample is cut to 30 s around its evidence, or read whole, or joined with others of the set: its
evidence then lies anywhere, and all others are distractors. Samples are encoded alone and their tokens joined, as
auricle-mini hears windows of at most 30 s that end in pauses. Every length asks the same questions, by likelihood,
the prior taken off. Intervals are 95 % bootstraps over the samples. Prints Markdown.
"""

import argparse
import random
from functools import partial
from itertools import islice
from pathlib import Path

import torch

import auricle
from auricle.asking import encode
from auricle.audio import SAMPLE_RATE
from auricle.benchmarks.base import Sample
from auricle.benchmarks.spiral import Spiral
from auricle.evaluation.log import Record
from auricle.evaluation.metrics import row
from auricle.models.hugging_face import HuggingFaceSpeechLM
from auricle.speech_lm import AudioTokens, Query, SpeechPrompt
from auricle.summarization import summarizer as summarization
from auricle.summarization.summarizer import Summarizer
from auricle.training.lessons import join

SHORT = 30.0  # seconds
JOINED = (1, 2, 3, 4)  # recordings; four of SPIRAL's are five minutes
PRUNERS: dict[str, auricle.Pruner] = {
    "full": auricle.Full(),
    "SpeechPrune 0.2": auricle.SpeechPrune(0.2),
    "RandomCrop 0.2": auricle.RandomCrop(0.2, 0),
}


def around(tokens: AudioTokens, sample: Sample, rng: random.Random) -> AudioTokens:
    """The tokens of 30 s that hold the evidence, wherever in them."""
    first, last = sample.evidence[0][0], sample.evidence[-1][1]
    end = float(tokens.times[-1, 1])
    start = rng.uniform(max(0.0, last - SHORT), max(0.0, min(first, end - SHORT)))
    inside = (tokens.times[:, 0] >= start) & (tokens.times[:, 0] < start + SHORT)
    return tokens.select(inside.nonzero()[:, 0])


def recordings(tokens: dict[str, AudioTokens], sample: Sample, seed: int) -> dict[int, AudioTokens]:
    """The recording by how many it is joined from; 0 is what is cut."""
    rng = random.Random(f"{seed}-{sample.id}")
    others = rng.sample([tokens[each] for each in tokens if each != sample.id], JOINED[-1] - 1)
    found = {0: around(tokens[sample.id], sample, rng)}
    for count in JOINED:
        parts = others[: count - 1]
        parts.insert(rng.randint(0, len(parts)), tokens[sample.id])
        found[count] = join(parts)
    return found


def pruned(lm: HuggingFaceSpeechLM, method: auricle.Pruner, read: AudioTokens, query: Query) -> SpeechPrompt:
    return lm.prompt(read, query).keep(method.keep(read, query, lm), method.positions)


def summarized(maker: Summarizer, ratio: int, read: AudioTokens, query: Query) -> SpeechPrompt:
    return maker.prompt(maker.summarize(read, options=maker.at(ratio)), query)


def record(
    lm: HuggingFaceSpeechLM,
    sample: Sample,
    read: AudioTokens,
    asked: SpeechPrompt,
    name: str,
    prior: tuple[float, ...],
) -> Record:
    scores = lm.loglikelihood(asked, sample.choices)
    return Record(
        sample=sample.id,
        recording=sample.id,
        method=name,
        choices=sample.choices,
        correct=sample.correct,
        order=tuple(range(len(sample.choices))),
        loglikelihoods=tuple(scores.tolist()),
        prior=prior,
        audio_tokens=len(read),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a set of 'auricle spiral package'")
    parser.add_argument("--samples", type=int, default=100, help="questions of every length")
    parser.add_argument(
        "--summarize", type=int, nargs="*", default=[], help="ratios of Speech-XL, in the place of pruners"
    )
    parser.add_argument("--sst", type=Path, help="by default the package's")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    lm = auricle.load(options.model)
    if options.summarize:
        maker = summarization.load(lm, options.sst)
        methods = {f"Speech-XL {each}": partial(summarized, maker, each) for each in options.summarize}
    else:
        methods = {name: partial(pruned, lm, each) for name, each in PRUNERS.items()}
    samples = list(islice(Spiral(options.data).samples(), options.samples))
    tokens = {each.id: encode(lm, each.load(), SAMPLE_RATE).tokens for each in samples}
    seconds: dict[int, list[float]] = {count: [] for count in (0, *JOINED)}
    records: dict[tuple[str, int], list[Record]] = {}
    for sample in samples:
        query = lm.query(sample.question, sample.choices)
        prior = tuple(lm.loglikelihood(lm.prompt(None, query), sample.choices).tolist())
        for count, read in recordings(tokens, sample, options.seed).items():
            seconds[count].append(len(read) / lm.tokens_per_second)
            for name, method in methods.items():
                asked = method(read, query)
                records.setdefault((name, count), []).append(record(lm, sample, read, asked, name, prior))
    print("| recordings | seconds | " + " | ".join(methods) + " |\n|---|---|" + "---|" * len(methods))
    for count, lengths in seconds.items():
        found = [str(row(name, records[name, count]).accuracy) for name in methods]
        print(f"| {count or 'cut'} | {torch.tensor(lengths).mean():.0f} | " + " | ".join(found) + " |")


if __name__ == "__main__":
    main()
