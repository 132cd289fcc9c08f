"""What a question costs after minutes of speech: key/value memory, seconds to the first token, peak memory.

    python bench/hours.py SPIRAL_DIR --minutes 1 5 15 60 --seed 0

Recordings of the set are encoded one by one and their tokens joined. Every cell is a process of its own, so that
its peak is its own: the most that was resident, with model and libraries. Seconds are the median of three
questions, from the speech tokens to the first token of the answer; a summary is made once before, and stands in a
column of its own. "from file": from a saved memory, which is read for every question, to the first token.
Key/value MB are those of the speech in a cache that was filled, or of the memory itself. "too long": the prompt
does not fit into the model's context, and the MB, in brackets, are what they would be. Prints Markdown.
"""

import argparse
import random
import resource
import statistics
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from transformers import DynamicCache

import auricle
from auricle.asking import encode
from auricle.audio import SAMPLE_RATE
from auricle.benchmarks.spiral import Spiral
from auricle.cost import Decoder
from auricle.errors import ContextLengthError
from auricle.models.hugging_face import HuggingFaceSpeechLM
from auricle.speech_lm import AudioTokens, Query, SpeechPrompt
from auricle.summarization import summarizer as summarization
from auricle.summarization.memory import Memory
from auricle.timing import now
from auricle.training.lessons import join

PRUNERS: dict[str, auricle.Pruner] = {"full": auricle.Full(), "SpeechPrune 0.6": auricle.SpeechPrune(0.6)}
SUMMARY = "Speech-XL"


@dataclass(frozen=True)
class Cell:
    """Of one method and length.

    Attributes:
        tokens: of the speech.
        seen: of them, as tokens or pairs, by the LLM.
        megabytes: of their keys and values, as they lie in memory; computed where `first` is None.
        summary: seconds to make the summary.
        first: seconds to the first token; None where the prompt is too long.
        loaded: seconds from a memory's file to the first token; None without a memory.
        peak: gigabytes resident.
    """

    tokens: int
    seen: int
    megabytes: float
    summary: float
    first: float | None
    loaded: float | None
    peak: float


def speech(lm: HuggingFaceSpeechLM, data: Path, minutes: float, seed: int) -> tuple[AudioTokens, list[Query]]:
    """Recordings of the set until there are enough minutes, and questions about three of them."""
    samples = list(islice(Spiral(data).samples(), 80))
    random.Random(seed).shuffle(samples)
    parts, wanted = list[AudioTokens](), round(minutes * 60 * lm.tokens_per_second)
    while (have := sum(map(len, parts))) < wanted:
        if len(parts) == len(samples):
            raise ValueError(f"'{data}' has not enough speech for {minutes:g} minutes.")
        tokens = encode(lm, samples[len(parts)].load(), SAMPLE_RATE).tokens
        parts.append(tokens.select(torch.arange(min(len(tokens), wanted - have))))
    return join(parts), [lm.query(each.question, each.choices) for each in samples[:3]]


def measure(data: Path, method: str, minutes: float, ratio: int, sst: Path | None, seed: int) -> Cell:
    lm = auricle.load("mini")
    tokens, queries = speech(lm, data, minutes, seed)
    try:
        if method == SUMMARY:
            return summarized(lm, tokens, queries, ratio, sst)
        return read(lm, tokens, queries, PRUNERS[method])
    except ContextLengthError:
        seen = -(-len(tokens) // ratio) if method == SUMMARY else len(tokens)
        kv = Decoder.of(lm.model.config).kv(seen, tokens.embeds.element_size())
        return Cell(len(tokens), seen, kv / 1e6, 0.0, None, None, peak())


def read(lm: HuggingFaceSpeechLM, tokens: AudioTokens, queries: list[Query], method: auricle.Pruner) -> Cell:
    first = first_token(lm, lambda query: pruned(lm, tokens, query, method), queries)
    most, prompt = peak(), pruned(lm, tokens, queries[0], method)
    kv = speech_bytes(prompt, lm.prefill(prompt).cache)
    return Cell(len(tokens), len(prompt.audio), kv / 1e6, 0.0, first, None, most)


def summarized(
    lm: HuggingFaceSpeechLM, tokens: AudioTokens, queries: list[Query], ratio: int, sst: Path | None
) -> Cell:
    maker = summarization.load(lm, sst)
    start = now()
    memory = maker.summarize(tokens, options=maker.at(ratio))
    summary = now() - start
    first, most = first_token(lm, lambda query: maker.prompt(memory, query), queries), peak()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "one.memory"
        memory.save(path)
        loaded = first_token(lm, lambda query: maker.prompt(Memory.load(path), query), queries)
    return Cell(len(tokens), len(memory), memory.nbytes / 1e6, summary, first, loaded, most)


def first_token(lm: HuggingFaceSpeechLM, prompt: Callable[[Query], SpeechPrompt], queries: list[Query]) -> float:
    """Median seconds to make a prompt and an answer of one token."""
    seconds = list[float]()
    for query in queries:
        start = now()
        lm.generate(prompt(query), 1)
        seconds.append(now() - start)
    return statistics.median(seconds)


def speech_bytes(prompt: SpeechPrompt, cache: DynamicCache) -> int:
    """Of a filled cache, what the keys and values of the prompt's speech take."""
    every = (each[:, :, prompt.audio] for layer in cache.layers for each in (layer.keys, layer.values))
    return sum(each.nbytes for each in every)


def peak() -> float:
    """The most gigabytes that this process has had resident."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def pruned(lm: HuggingFaceSpeechLM, tokens: AudioTokens, query: Query, method: auricle.Pruner) -> SpeechPrompt:
    return lm.prompt(tokens, query).keep(method.keep(tokens, query, lm), method.positions)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a set of 'auricle spiral package'")
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 5, 15, 60])
    parser.add_argument("--ratio", type=int, default=8)
    parser.add_argument("--sst", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    columns = "speech tokens | seen | key/value MB | summary s | first token s | from file s | peak GB"
    print(f"| minutes | method | {columns} |\n|---|---|---|---|---|---|---|---|---|")
    for minutes in options.minutes:
        for method in (*PRUNERS, SUMMARY):
            run = partial(measure, options.data, method, minutes, options.ratio, options.sst, options.seed)
            with ProcessPoolExecutor(1, get_context("spawn")) as alone:
                cell = alone.submit(run).result()
            name = f"{method} {options.ratio}" if method == SUMMARY else method
            summary = f"{cell.summary:.1f}" if method == SUMMARY else ""
            first = "too long" if cell.first is None else f"{cell.first:.2f}"
            megabytes = f"({cell.megabytes:.1f})" if cell.first is None else f"{cell.megabytes:.1f}"
            loaded = "" if cell.loaded is None else f"{cell.loaded:.2f}"
            seen = (cell.tokens, cell.seen, megabytes)
            row = (minutes, name, *seen, summary, first, loaded, f"{cell.peak:.2f}")
            print("| " + " | ".join(map(str, row)) + " |", flush=True)


if __name__ == "__main__":
    main()
