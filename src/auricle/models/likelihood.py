"""The likelihoods of texts that may follow a prompt, which is read once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import DynamicCache

# Reads rows of tokens, at their positions, behind what a cache holds, and gives the logits after each.
Step = Callable[[Tensor, Tensor, DynamicCache], Tensor]
TOGETHER = 4096  # tokens of prompts that are held at a time to read several continuations together


@dataclass(frozen=True)
class Prefill:
    """What the LLM holds after reading a prompt.

    Attributes:
        logits: of the token that follows the prompt.
        cache: key/value pairs of every layer.
        length: number of tokens read.
        next_position: position of the token that follows.
    """

    logits: Float[Tensor, "vocab"]
    cache: DynamicCache
    length: int
    next_position: int


def loglikelihoods(
    read: Prefill, encoded: Sequence[Int[Tensor, "_"]], step: Step
) -> Float[Tensor, "continuations"]:
    """Log-probabilities of continuations, in nats; as many are read together as the prompt is short.

    Args:
        read: the prompt; its cache is as before afterwards.
        encoded: the tokens of each, at least one.
        step: runs the model.
    """
    most = max(1, TOGETHER // (read.length + 1))
    parts = [encoded[first : first + most] for first in range(0, len(encoded), most)]
    return torch.cat([_together(read, part, step) for part in parts])


def _together(read: Prefill, encoded: Sequence[Int[Tensor, "_"]], step: Step) -> Float[Tensor, "continuations"]:
    ids = nn.utils.rnn.pad_sequence(list(encoded), batch_first=True)
    logits = read.logits.expand(len(ids), 1, -1)
    if ids.shape[1] > 1:
        first = read.next_position
        positions = torch.arange(first, first + ids.shape[1] - 1, device=ids.device).expand(len(ids), -1)
        cache = read.cache if len(ids) == 1 else _repeated(read.cache, len(ids))
        logits = torch.cat([logits, step(ids[:, :-1], positions, cache).to(logits.device)], 1)
        if cache is read.cache:
            cache.crop(1 - ids.shape[1])
    ids = ids.to(logits.device)
    found = logits.float().log_softmax(-1).gather(2, ids[..., None])[..., 0]
    lengths = torch.tensor([len(each) for each in encoded], device=ids.device)
    return (found * (torch.arange(ids.shape[1], device=ids.device) < lengths[:, None])).sum(1)


def _repeated(cache: DynamicCache, rows: int) -> DynamicCache:
    """A cache whose every row holds the only one's pairs, which it leaves alone."""
    wide = DynamicCache()
    layers: Any = cache.layers
    for number, layer in enumerate(layers):
        wide.update(layer.keys.expand(rows, -1, -1, -1), layer.values.expand(rows, -1, -1, -1), number)
    return wide
