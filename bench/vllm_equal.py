"""Greedy answers by vLLM and by transformers, compared: the same prompts, as vectors.

    auricle models export-llm mini -o runs/llm --dtype float32
    vllm serve runs/llm --enable-prompt-embeds --dtype float32 --port 8001      # docs/serving.md
    python bench/vllm_equal.py SPIRAL_DIR --samples 20 --url http://127.0.0.1:8001

Each sample is asked openly, with everything and with SpeechPrune at 0.4. Prints every answer as it comes, and
Markdown. Set AURICLE_TOKENS, and recordings are encoded once.
"""

import argparse
import asyncio
from itertools import islice
from pathlib import Path

import torch

import auricle
from auricle.asking import encode, shortened
from auricle.audio import SAMPLE_RATE
from auricle.benchmarks.spiral import Spiral
from auricle.serving.engine import Decoding
from auricle.serving.vllm import VllmEngine
from auricle.speech_lm import SpeechLM, SpeechPrompt

TOKENS = 32
METHODS: dict[str, auricle.Pruner] = {"full": auricle.Full(), "SpeechPrune 0.4": auricle.SpeechPrune(0.4)}


async def answers(lm: SpeechLM, engine: VllmEngine, prompt: SpeechPrompt) -> tuple[str, str]:
    """By transformers and by vLLM, which work at the same time."""

    async def by_vllm() -> str:
        return "".join([piece.text async for piece in engine.generate(prompt, Decoding(TOKENS), lambda: None)])

    here, there = await asyncio.gather(asyncio.to_thread(lm.generate, prompt, TOKENS), by_vllm())
    return here, there


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a set of 'auricle spiral package'")
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--url", default="http://127.0.0.1:8001")
    parser.add_argument("--dtype", default="float32", help="of the model here; give vLLM the same")
    options = parser.parse_args()

    lm = auricle.load("mini", dtype=getattr(torch, options.dtype))
    engine = VllmEngine(lm, options.url)
    equal = dict.fromkeys(METHODS, 0)
    asked = 0
    for sample in islice(Spiral(options.data).samples(), options.samples):
        recording, query = encode(lm, sample.load(), SAMPLE_RATE), lm.query(sample.question)
        asked += 1
        for name, pruner in METHODS.items():
            prompt = shortened(lm, recording, query, pruner)[0]
            here, there = asyncio.run(answers(lm, engine, prompt))
            equal[name] += here == there
            verdict = "equal" if here == there else f"not {there!r}, as by vLLM"
            print(f"{asked}. {sample.id}, {name}, {len(prompt)} tokens: {here!r}: {verdict}", flush=True)
    engine.close()
    print("\n| method | equal answers |\n|---|---|")
    for name, count in equal.items():
        print(f"| {name} | {count} of {asked} |")


if __name__ == "__main__":
    main()
