"""What a prompt costs, by formula: operations and memory of a dense decoder with grouped key heads."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Flops:
    """Floating point operations of one prefill; a multiplication and an addition are two.

    Attributes:
        projections: of all layers' weights, linear in the tokens.
        attention: of queries with keys and weights with values, quadratic in the tokens. The whole square counts,
            as in `torch.utils.flop_counter`, though a causal kernel may skip half of it.
        head: of the logits.
    """

    projections: int
    attention: int
    head: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.projections + self.attention + self.head


@dataclass(frozen=True)
class Memory:
    """Bytes while a prompt is read.

    Attributes:
        weights: of the model.
        kv: of the key/value cache.
        activations: of one layer, as if all its outputs were held at once.
    """

    weights: int
    kv: int
    activations: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.weights + self.kv + self.activations


@dataclass(frozen=True)
class Decoder:
    """The shape of a decoder: attention with grouped key heads, and a gated feed-forward of three matrices.

    Experts, and adapters beside the weights (LoRA), are not counted. With the paper's choices (every token's logits
    and no attention in the operations, weights of the layers, 2 bytes a number, attention weights stored) these
    formulas give all of SpeechPrune's Table 1 for Qwen2-Audio: its prompts hold 107 tokens beside the speech.

    Attributes:
        layers: number of layers.
        dim: width of the residual stream.
        heads: query heads.
        kv_heads: key heads.
        head_dim: width of a head.
        hidden: width of the feed-forward.
        vocab: tokens that logits are made for.
    """

    layers: int
    dim: int
    heads: int
    kv_heads: int
    head_dim: int
    hidden: int
    vocab: int

    @classmethod
    def of(cls, config: Any) -> "Decoder":  # noqa: ANN401 - any model's PreTrainedConfig
        """The decoder that a model's config describes."""
        text = config.get_text_config()
        heads = text.num_attention_heads
        return cls(
            layers=text.num_hidden_layers,
            dim=text.hidden_size,
            heads=heads,
            kv_heads=getattr(text, "num_key_value_heads", None) or heads,
            head_dim=getattr(text, "head_dim", None) or text.hidden_size // heads,
            hidden=text.intermediate_size,
            vocab=text.vocab_size,
        )

    @property
    def layer_weights(self) -> int:
        """Numbers in the matrices of all layers."""
        attention = 2 * self.dim * (self.heads + self.kv_heads) * self.head_dim
        return self.layers * (attention + 3 * self.dim * self.hidden)

    def flops(self, tokens: int, logits: int = 1, past: int = 0) -> Flops:
        """Operations of reading `tokens` and making `logits` rows of logits (one is enough to answer).

        Args:
            tokens: that are read.
            logits: rows.
            past: tokens that were read before, whose keys and values are there.
        """
        return Flops(
            projections=2 * tokens * self.layer_weights,
            attention=4 * self.layers * tokens * (tokens + past) * self.heads * self.head_dim,
            head=2 * logits * self.dim * self.vocab,
        )

    def kv(self, tokens: int, bytes_each: int) -> int:
        """Bytes of the keys and values of `tokens`."""
        return 2 * self.layers * tokens * self.kv_heads * self.head_dim * bytes_each

    def activations(self, tokens: int, bytes_each: int, stored_attention: bool = False) -> int:
        """Bytes of one layer's outputs, counted as LLM-Viewer does ("LLM Inference Unveiled", Yuan et al. 2024).

        Those are two norms, queries, attention output, its projection, gate, up, their product, down and two sums.
        Keys and values are in the cache.

        Args:
            tokens: tokens of the prompt.
            bytes_each: bytes of a number.
            stored_attention: whether attention scores and weights are stored, as eager attention does and fused
                kernels (the default of `transformers`) do not.
        """
        linear = 2 * self.heads * self.head_dim + 7 * self.dim + 2 * self.hidden
        square = 2 * tokens**2 * self.heads if stored_attention else 0
        return (tokens * linear + square) * bytes_each
