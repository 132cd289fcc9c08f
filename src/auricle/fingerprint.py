"""What tells weights from others."""

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor

SAMPLED = 4096  # elements of each tensor, evenly spread: whoever trains a tensor changes all of it


def fingerprint(about: str, weights: Iterable[tuple[str, Tensor]], *, sampled: bool = False) -> str:
    """SHA-256 of a text and of tensors: their names, shapes, number formats and elements.

    Args:
        about: what else they depend on.
        weights: names and tensors.
        sampled: takes a sample of every tensor's elements, which is quick even for large models.
    """
    digest = hashlib.sha256(about.encode())
    for name, weight in weights:
        flat = weight.detach().flatten()
        read = flat[:: max(1, len(flat) // SAMPLED)] if sampled else flat
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        digest.update(read.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
