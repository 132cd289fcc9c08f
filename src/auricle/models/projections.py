"""Projections of decoder layers, with what a LoRA adds to them, and the norms behind them."""

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from auricle.speech_lm import QK


def qk_of(layer: nn.Module, heads: int, kv_heads: int) -> QK:
    """Projections of a decoder layer with `self_attn.q_proj` and `k_proj`, and perhaps `q_norm` and `k_norm`."""
    attention: Any = layer.self_attn
    norms = [getattr(attention, name, nn.Identity()) for name in ("q_norm", "k_norm")]
    return QK(weight_of(attention.q_proj), weight_of(attention.k_proj), heads, kv_heads, *norms)


def weight_of(linear: nn.Module) -> Float[Tensor, "out_dim dim"]:
    """Weights of a linear layer, with what its active LoRA adapters add to them."""
    layer: Any = linear
    weight: Tensor = layer.weight.detach()
    if getattr(layer, "disable_adapters", True) or layer.merged:
        return weight
    for adapter in layer.active_adapters:
        if adapter in layer.lora_A:
            weight = weight + layer.get_delta_weight(adapter).detach()
    return weight
