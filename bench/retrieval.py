"""Answers and evidence recall on the authored samples, voiced by two voices.

    python bench/retrieval.py recall  --voices-files DIR --work DIR --seed 0
    python bench/retrieval.py answers --voices-files DIR --work DIR --seed 0 [--methods full first30 ...]

`recall` needs no LLM: of the key sentence's tokens, the share that each method and phase keeps, beside the share of
all tokens kept. `answers` scores the choices by log-likelihood, the question's prior taken off. Intervals are 95 %
percentile bootstraps over the samples (the two voices of a sample are one cluster). Prints Markdown.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
from scipy.stats import bootstrap

import auricle
from auricle.asking import Recording, answer, encode
from auricle.audio import SAMPLE_RATE
from auricle.pruning.recall import evidence_recall, kept_share
from auricle.synthesis import Turn, voice, voice_dialogue

DATA = Path(__file__).parent.parent / "data/sir/authored.jsonl"
RATES = (0.2, 0.4, 0.6, 0.8)


def methods(seed: int) -> dict[str, auricle.Pruner]:
    found: dict[str, auricle.Pruner] = {"full": auricle.Full(), "first30": auricle.First30()}
    for rate in RATES:
        found[f"SpeechPrune {rate}"] = auricle.SpeechPrune(rate)
        found[f"SpeechPrune, phase 1 {rate}"] = auricle.SpeechPrune(rate, phase="similarity")
        found[f"SpeechPrune, phase 2 {rate}"] = auricle.SpeechPrune(rate, phase="attention")
        found[f"RandomPieces {rate}"] = auricle.RandomPieces(rate, seed)
        found[f"RandomCrop {rate}"] = auricle.RandomCrop(rate, seed)
        found[f"Uniform {rate}"] = auricle.Uniform(rate)
    return found


def recordings(
    voices: list[str], files: Path, work: Path, seed: int
) -> Iterator[tuple[dict, Path, tuple[float, float]]]:
    """Every sample in every voice: the sample, its wav and when its key sentence is spoken."""
    work.mkdir(parents=True, exist_ok=True)
    for number, line in enumerate(DATA.read_text().splitlines()):
        sample = json.loads(line)
        turns = [Turn(turn["speaker"], tuple(turn["text"])) for turn in sample["transcript"]]
        for name in voices:
            wav = work / f"{sample['id']}_{name.replace('/', '_')}_{seed}.wav"
            times = wav.with_suffix(".json")
            if not times.exists():
                speaker = voice(name, files)
                spoken = voice_dialogue(
                    turns,
                    {turn.speaker: speaker for turn in turns},
                    np.random.default_rng((seed, number)),
                    sampling_rate=SAMPLE_RATE,
                )
                soundfile.write(wav, spoken.waveform, SAMPLE_RATE)
                key = next(s for s in spoken.sentences if s.text == sample["key_sentence"])
                times.write_text(json.dumps([key.start, key.end]))
            yield sample, wav, tuple(json.loads(times.read_text()))


def interval(by_sample: dict[str, list[float]]) -> str:
    means = [float(np.mean(values)) for values in by_sample.values()]
    if len(set(means)) == 1:
        return f"{means[0]:.3f}"
    found = bootstrap((means,), np.mean, n_resamples=5000, method="percentile", random_state=0).confidence_interval
    return f"{np.mean(means):.3f} ({found.low:.3f} to {found.high:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["recall", "answers"])
    parser.add_argument("--voices", nargs="*", default=["flite/slt", "piper/joe"])
    parser.add_argument("--voices-files", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="where the voiced samples are kept")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--methods", nargs="*", help="all if omitted")
    options = parser.parse_args()

    table = methods(options.seed)
    if unknown := set(options.methods or ()) - set(table):
        parser.error(f"there is no method {', '.join(sorted(unknown))}; there are {', '.join(table)}")
    table = {name: table[name] for name in options.methods or table}
    lm = auricle.load("mini")
    results: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    shares: dict[str, list[float]] = defaultdict(list)
    for sample, wav, span in recordings(options.voices, options.voices_files, options.work, options.seed):
        question = sample["test_question"]
        query = lm.query(question["question"], list(question["choices"].values()))
        recording: Recording = encode(lm, wav)
        for name, method in table.items():
            if options.what == "recall":
                keep = method.keep(recording.tokens, query, lm)
                value = evidence_recall(keep, recording.tokens.times, [span])
                shares[name].append(kept_share(keep, recording.tokens.times))
            else:
                given = answer(lm, recording, query, method)
                value = float(given.choice == question["correct_answer"])
                shares[name].append(given.tokens.kept / given.tokens.audio)
            results[name][sample["id"]].append(value)
    column = "evidence recall" if options.what == "recall" else "accuracy"
    print(f"| method | tokens kept | {column} (95 %) |\n|---|---|---|")
    for name, by_sample in results.items():
        print(f"| {name} | {np.mean(shares[name]):.3f} | {interval(by_sample)} |")


if __name__ == "__main__":
    main()
