"""What a server of auricle-mini would gain by reading and writing for several requests at once.

    OMP_NUM_THREADS=1 python bench/batching.py --requests 8 --tokens 60 150 400

Prompts of equal length, of random vectors: all at once, against one after the other; the median of three. Decoding
is 16 steps. Prints Markdown.
"""

import argparse
import statistics

import torch

import auricle
from auricle.models.hugging_face import HuggingFaceSpeechLM
from auricle.timing import now

STEPS = 16


@torch.inference_mode()
def seconds(lm: HuggingFaceSpeechLM, requests: int, tokens: int) -> tuple[float, float]:
    """To read prompts and to write after them."""
    width, dtype = lm.model.get_input_embeddings().embedding_dim, lm.model.dtype
    prompts = (0.1 * torch.randn(requests, tokens, width)).to(dtype)
    start = now()
    read = lm.model.language_model(inputs_embeds=prompts, use_cache=True, logits_to_keep=1)
    middle = now()
    for _ in range(STEPS):
        lm.model.language_model(inputs_embeds=prompts[:, :1], past_key_values=read.past_key_values, use_cache=True)
    return middle - start, now() - middle


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=8)
    parser.add_argument("--tokens", type=int, nargs="+", default=[60, 150, 400])
    options = parser.parse_args()

    torch.manual_seed(0)
    lm = auricle.load("mini")
    print("| tokens | one prefill, s | all at once | 16 tokens, s | all at once |\n|---|---|---|---|---|")
    for tokens in options.tokens:
        seconds(lm, 1, tokens)
        alone, gains = [], []
        for _ in range(3):
            one = [seconds(lm, 1, tokens) for _ in range(options.requests)]
            together = seconds(lm, options.requests, tokens)
            sums = [sum(each) for each in zip(*one, strict=True)]
            alone.append([each / options.requests for each in sums])
            gains.append([each / whole for each, whole in zip(sums, together, strict=True)])
        (read, write), (reads, writes) = (
            [statistics.median(each) for each in zip(*found, strict=True)] for found in (alone, gains)
        )
        print(f"| {tokens} | {read:.3f} | {reads:.2f} times faster | {write:.3f} | {writes:.2f} times faster |")


if __name__ == "__main__":
    main()
