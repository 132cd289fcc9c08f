"""Key/value pairs of an LLM's layers as a value: kept before RoPE, read again wherever they are put.

A key that is kept before its rotation can stand at any position: what is read later always finds the pairs at the
positions 0, 1, 2 ..., however many tokens they stand for.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import DynamicCache


@dataclass(frozen=True)
class Pairs:
    """Pairs of every layer, in the order in which they are read.

    Attributes:
        keys: before RoPE.
        values: that go with them.
    """

    keys: Float[Tensor, "layers kv_heads pairs head_dim"]
    values: Float[Tensor, "layers kv_heads pairs head_dim"]

    def __len__(self) -> int:
        return self.keys.shape[2]

    def __add__(self, other: "Pairs") -> "Pairs":
        return Pairs(torch.cat([self.keys, other.keys], 2), torch.cat([self.values, other.values], 2))

    @property
    def nbytes(self) -> int:
        """What they take in memory."""
        return self.keys.nbytes + self.values.nbytes

    def select(self, kept: Bool[Tensor, "pairs"]) -> "Pairs":
        """The pairs for which `kept` is true."""
        kept = kept.to(self.keys.device)
        return Pairs(self.keys[:, :, kept], self.values[:, :, kept])

    def cache(self, rotary: nn.Module) -> "DynamicCache":
        """A cache that holds the pairs at the positions 0, 1, 2 ...

        Args:
            rotary: the decoder's rotary embedding: from a tensor and positions to cosines and sines.
        """
        from transformers import DynamicCache  # slow to import

        cache = DynamicCache()
        positions = torch.arange(len(self), device=self.keys.device)[None]
        cos, sin = rotary(self.keys, positions)
        for layer, (keys, values) in enumerate(zip(self.keys, self.values, strict=True)):
            cache.update(rotate(keys, cos[0], sin[0])[None], values[None], layer)
        return cache


def rotate(
    keys: Float[Tensor, "*heads pairs head_dim"],
    cos: Float[Tensor, "*any_heads pairs head_dim"],
    sin: Float[Tensor, "*any_heads pairs head_dim"],
) -> Float[Tensor, "*heads pairs head_dim"]:
    """RoPE as Llama and Qwen2 have it: the first half of a head is turned with the second."""
    first, second = keys.chunk(2, -1)
    turned: Tensor = keys * cos + torch.cat([-second, first], -1) * sin
    return turned


def no_pairs(decoder: Any) -> Pairs:  # noqa: ANN401
    """None at all, of a decoder's shape, number format and device."""
    config, weight = decoder.config, next(decoder.parameters())
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    empty = weight.new_zeros(config.num_hidden_layers, getattr(config, "num_key_value_heads", heads), 0, size)
    return Pairs(empty, empty)
