"""What pruners keep of auricle-mini's speech: words or blanks, how many different vectors, and how near a blank is.

    python bench/kept_words.py --data runs/dev/package --step 20

Of every `--step`th sample. A blank is the vector that comes most often. Prints Markdown.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

import auricle
from auricle.asking import encode
from auricle.audio import SAMPLE_RATE
from auricle.benchmarks.spiral import Spiral
from auricle.pruning.similarity import relevance
from auricle.reproduce.figures import figure3_methods
from auricle.reproduce.tables import table1_methods


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="a set that 'auricle spiral voice' packaged")
    parser.add_argument("--step", type=int, default=20)
    options = parser.parse_args()
    lm = auricle.load("mini")
    methods = {method.name: method for method in (*table1_methods(), *figure3_methods()) if method.pruner}
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in methods}
    below = []
    samples = list(Spiral(options.data).samples())[:: options.step]
    for sample in samples:
        tokens, query = encode(lm, sample.load(), SAMPLE_RATE).tokens, lm.query(sample.question, sample.choices)
        _, which, counts = torch.unique(tokens.embeds.float(), dim=0, return_inverse=True, return_counts=True)
        word = which != counts.argmax()
        near = relevance(tokens.embeds, query.embeds)
        below.append(float((near[word] < near[~word].mean()).float().mean()))
        evidence = torch.zeros(len(tokens), dtype=torch.bool)
        for start, end in sample.evidence:
            evidence |= (tokens.times[:, 1] > start) & (tokens.times[:, 0] < end)
        for name, method in methods.items():
            keep = torch.zeros(len(tokens), dtype=torch.bool)
            keep[method.pruner.keep(tokens, query, lm)] = True
            shares = [(keep & of).sum() / of.sum() for of in (torch.ones_like(word), word, word & evidence)]
            distinct = len(torch.unique(which[keep]))
            found[name].append((*map(float, shares), float(word[keep].float().mean()), distinct))
    low, high = min(below), max(below)
    print(f"{len(samples)} samples; {np.mean(below):.2f} of the words ({low:.2f} to {high:.2f} by sample) are less")
    print("like the question than a blank is (phase 1's relevance)\n")
    print("| method | tokens kept | words kept | words of the evidence kept | words among what is kept | vectors |")
    print("|---|---|---|---|---|---|")
    for name, rows in found.items():
        *shares, distinct = np.mean(rows, axis=0)
        print(f"| {name} | {' | '.join(f'{share:.3f}' for share in shares)} | {distinct:.0f} |")


if __name__ == "__main__":
    main()
