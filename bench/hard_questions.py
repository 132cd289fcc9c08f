"""Sets on which choosing speech by the question is hard, made of a SPIRAL-like one, as JSON lines.

    python bench/hard_questions.py SPIRAL_DIR gist  --samples 60 -o runs/gist      # what is the whole about?
    python bench/hard_questions.py SPIRAL_DIR vague --samples 60 -o runs/vague    # no words to find
    python bench/hard_questions.py SPIRAL_DIR noise --samples 60 --snr 10 -o runs/noise
    auricle compare jsonl --data runs/gist/data.jsonl --pruner full --pruner searchlight --output runs/gist-compared

The choices of a gist are the subtopics of four samples, drawn anew for each. Noise is white, so many dB under the
speech where it is not silent. Everything depends on the sample's number or id alone.
"""

import argparse
import json
import random
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import soundfile
from jaxtyping import Float

from auricle.audio import SAMPLE_RATE
from auricle.benchmarks.base import Sample
from auricle.benchmarks.spiral import Spiral

GIST = "What is the recording about?"
VAGUE = "Which of these is said in the recording?"
SILENT = 1e-3  # samples up to here are no speech


def topic(sample: Sample) -> str:
    return sample.groups.get("subtopic") or sample.groups["main_topic"]


def gist(sample: Sample, every: Sequence[Sample]) -> tuple[tuple[str, ...], str]:
    """Choices and answer."""
    rng = random.Random(sample.id)
    choices = [topic(sample), *rng.sample(sorted({topic(each) for each in every} - {topic(sample)}), 3)]
    rng.shuffle(choices)
    return tuple(choices), topic(sample)


def noisy(speech: Float[np.ndarray, "samples"], snr: float, seed: int) -> Float[np.ndarray, "samples"]:
    """With white noise `snr` dB under what is not silent, and not louder than 1."""
    power = float(np.mean(speech[np.abs(speech) > SILENT] ** 2))
    white = np.random.default_rng(seed).standard_normal(len(speech)).astype(np.float32)
    mixed = speech + white * np.float32(np.sqrt(power / 10 ** (snr / 10)))
    return (mixed / max(1.0, float(np.abs(mixed).max()))).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a set of 'auricle spiral package'")
    parser.add_argument("kind", choices=["gist", "vague", "noise"])
    parser.add_argument("--output", "-o", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=60)
    parser.add_argument("--snr", type=float, default=10.0, help="dB, of noise")
    options = parser.parse_args()

    every = list(Spiral(options.data).samples())
    options.output.mkdir(parents=True, exist_ok=True)
    with (options.output / "data.jsonl").open("w", encoding="utf-8") as file:
        for number, sample in enumerate(islice(every, options.samples)):
            heard, name = sample.load(), f"{sample.id}.wav"
            if options.kind == "noise":
                heard = noisy(heard, options.snr, number)
            soundfile.write(options.output / name, heard, SAMPLE_RATE, subtype="FLOAT")
            choices, answer = sample.choices, sample.choices[sample.correct]
            if options.kind == "gist":
                choices, answer = gist(sample, every)
            question = {"gist": GIST, "vague": VAGUE, "noise": sample.question}[options.kind]
            evidence = [] if options.kind == "gist" else list(sample.evidence)
            line = {"id": sample.id, "audio": name, "question": question, "choices": choices, "answer": answer}
            file.write(json.dumps(line | {"evidence": evidence}, ensure_ascii=False) + "\n")
    print(options.output / "data.jsonl")


if __name__ == "__main__":
    main()
