"""Sets on which choosing speech by the question is hard, made of a SPIRAL-like one, as JSON lines.

    python bench/hard_questions.py SPIRAL_DIR gist  --samples 60 -o runs/gist      # what is the whole about?
    python bench/hard_questions.py SPIRAL_DIR vague --samples 60 -o runs/vague    # no words to find
    python bench/hard_questions.py SPIRAL_DIR noise --samples 60 --snr 10 -o runs/noise
    python bench/hard_questions.py SIR_DIR paraphrase -o runs/paraphrase           # other words than the speech's
    auricle compare jsonl --data runs/gist/data.jsonl --pruner full --pruner searchlight --output runs/gist-compared

The choices of a gist are the subtopics of four samples, drawn anew for each. Noise is white, so many dB under the
speech where it is not silent. Everything depends on the sample's number or id alone. The paraphrases of
`data/sir/paraphrased.jsonl` are of the samples of `data/sir/authored.jsonl`: SIR_DIR is a set packaged from those.
"""

import argparse
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile
from jaxtyping import Float

from auricle.audio import SAMPLE_RATE
from auricle.benchmarks.base import Sample
from auricle.benchmarks.spiral import Spiral, read_samples, records
from auricle.errors import DataError

SIR = Path(__file__).parent.parent / "data/sir"
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


def paraphrases() -> dict[str, str]:
    """By the question itself, as the ids of the authored samples are those of other samples in other sets."""
    said = {record["id"]: record["question"] for record in records(SIR / "paraphrased.jsonl")}
    authored = read_samples(SIR / "authored.jsonl")
    return {each.test.question: said[each.id] for each in authored if each.id in said}


def question(kind: str, sample: Sample, paraphrased: Mapping[str, str]) -> str:
    if kind != "paraphrase":
        return {"gist": GIST, "vague": VAGUE}.get(kind, sample.question)
    if sample.question not in paraphrased:
        raise DataError(
            f"Sample '{sample.id}', asked '{sample.question}', has no paraphrase; expected a set packaged from"
            f" '{SIR / 'authored.jsonl'}', and a line for each of its samples in '{SIR / 'paraphrased.jsonl'}'."
        )
    return paraphrased[sample.question]


def noisy(speech: Float[np.ndarray, "samples"], snr: float, seed: int) -> Float[np.ndarray, "samples"]:
    """With white noise `snr` dB under what is not silent, and not louder than 1."""
    power = float(np.mean(speech[np.abs(speech) > SILENT] ** 2))
    white = np.random.default_rng(seed).standard_normal(len(speech)).astype(np.float32)
    mixed = speech + white * np.float32(np.sqrt(power / 10 ** (snr / 10)))
    return (mixed / max(1.0, float(np.abs(mixed).max()))).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a set of 'auricle spiral package'")
    parser.add_argument("kind", choices=["gist", "vague", "noise", "paraphrase"])
    parser.add_argument("--output", "-o", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=60)
    parser.add_argument("--snr", type=float, default=10.0, help="dB, of noise")
    options = parser.parse_args()

    every = list(Spiral(options.data).samples())
    chosen, paraphrased = every[: options.samples], paraphrases()
    asked = [question(options.kind, sample, paraphrased) for sample in chosen]  # before anything is written
    options.output.mkdir(parents=True, exist_ok=True)
    with (options.output / "data.jsonl").open("w", encoding="utf-8") as file:
        for number, sample in enumerate(chosen):
            heard, name = sample.load(), f"{sample.id}.wav"
            if options.kind == "noise":
                heard = noisy(heard, options.snr, number)
            soundfile.write(options.output / name, heard, SAMPLE_RATE, subtype="FLOAT")
            choices, answer = sample.choices, sample.choices[sample.correct]
            if options.kind == "gist":
                choices, answer = gist(sample, every)
            evidence = [] if options.kind == "gist" else list(sample.evidence)
            line = {"id": sample.id, "audio": name, "question": asked[number], "choices": choices, "answer": answer}
            file.write(json.dumps(line | {"evidence": evidence}, ensure_ascii=False) + "\n")
    print(options.output / "data.jsonl")


if __name__ == "__main__":
    main()
