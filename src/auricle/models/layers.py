"""Inside a decoder: speech tokens that only its first layers read, and what it holds when these have read them.

Nothing of a model is changed: hooks stand before its layers, and its attention goes another way, for a while.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from auricle.errors import ModelError, OptionError
from auricle.speech_lm import Inside, Later

_SEEN = "auricle_seen"


@contextmanager
def dropping(decoder: Any, later: Later | None) -> Iterator[None]:  # noqa: ANN401
    """Inside, the first thing that the decoder reads loses tokens on the way; what follows does not see them.

    The tokens keep their positions. Every layer's cache holds what the layer has read.

    Args:
        decoder: whose `layers` are called one after the other, with a new cache.
        later: which tokens, and where; None: all stay.

    Raises:
        OptionError: there is no such layer.
    """
    if later is None:
        yield
        return
    check_layer(decoder, later.layer)
    hooks = []
    for number, layer in enumerate(decoder.layers[later.layer :]):
        cut = _Cut(later.stays, first=number == 0)
        hooks.append(layer.register_forward_pre_hook(cut, with_kwargs=True))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


class _Cut:
    """Stands before a layer: of the prompt, and of what is known of each of its tokens, lets pass what stays."""

    def __init__(self, stays: Bool[Tensor, "tokens"], first: bool) -> None:
        self.stays, self.first, self.read = stays, first, False

    def __call__(self, _layer: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> Any:  # noqa: ANN401
        named = dict(named)
        states = named.pop("hidden_states") if "hidden_states" in named else given[0]
        mask = named.get("attention_mask")
        if mask is not None:
            new = mask.new_ones(mask.shape[-1] - len(self.stays), dtype=torch.bool)
            named["attention_mask"] = mask[..., torch.cat([self.stays.to(mask.device), new])]
        if not self.read:
            self.read = True
            states = self._of_prompt(states, named)
        return (states, *given[1:]), named

    def _of_prompt(self, states: Tensor, named: dict[str, Any]) -> Tensor:
        stays = self.stays.to(states.device)
        if named.get("attention_mask") is not None and named["attention_mask"].ndim == 4:
            named["attention_mask"] = named["attention_mask"][:, :, stays]
        if named.get("position_embeddings") is not None:
            named["position_embeddings"] = tuple(each[..., stays, :] for each in named["position_embeddings"])
        for name in ("position_ids", "cache_position"):
            if named.get(name) is not None:
                named[name] = named[name][..., stays]
        return states[:, stays] if self.first else states


def inside(decoder: Any, layers: int, read: Callable[[], object]) -> Inside:  # noqa: ANN401
    """What a decoder holds when its first `layers` layers have read something; the others do not run.

    Args:
        decoder: whose layers attend as `transformers` lets them choose to.
        layers: from 1 to all but one.
        read: runs the model on it, without a cache.

    Raises:
        OptionError: there are not as many layers.
    """
    check_layer(decoder, layers)
    AttentionInterface.register(_SEEN, _attend)
    AttentionMaskInterface.register(_SEEN, sdpa_mask)
    seen = _Seen(decoder.layers[layers - 1].self_attn)
    hook = decoder.layers[layers].register_forward_pre_hook(seen.stop, with_kwargs=True)
    before = decoder.config._attn_implementation
    decoder.config._attn_implementation = _SEEN
    _watching.append(seen)
    try:
        read()
    except _Stopped as stopped:
        return Inside(stopped.states[0], seen.attention, seen.keys)
    finally:
        _watching.pop()
        decoder.config._attn_implementation = before
        hook.remove()
    raise ModelError(
        f"{type(decoder).__name__} never ran its layer {layers}; take a method that prunes before the LLM."
    )


def check_layer(decoder: Any, layer: int) -> None:  # noqa: ANN401
    """Raises OptionError unless there are layers before and from `layer` on."""
    if not 1 <= layer < len(decoder.layers):
        raise OptionError(
            f"layer is {layer}; expected 1 to {len(decoder.layers) - 1}, so that the LLM's {len(decoder.layers)}"
            " layers are split in two."
        )


class _Stopped(Exception):  # noqa: N818 - no error: it ends a forward pass
    def __init__(self, states: Tensor) -> None:
        self.states = states


class _Seen:
    """The keys of one layer's attention, and what the last token attends to there."""

    def __init__(self, attention: nn.Module) -> None:
        self.module = attention
        self.attention = self.keys = torch.zeros(0)

    def stop(self, _layer: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        raise _Stopped(named["hidden_states"] if "hidden_states" in named else given[0])

    def look(self, query: Tensor, key: Tensor, scaling: float) -> None:
        last = query[0, :, -1].float().unflatten(0, (key.shape[1], -1))
        scores = last @ key[0].float().transpose(-1, -2) * scaling
        self.attention, self.keys = scores.flatten(0, 1).softmax(-1), key[0]


_watching: list[_Seen] = []


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **options: Any,  # noqa: ANN401
) -> Any:  # noqa: ANN401
    for seen in _watching:
        if seen.module is module:
            seen.look(query, key, query.shape[-1] ** -0.5 if scaling is None else scaling)
    return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **options)
