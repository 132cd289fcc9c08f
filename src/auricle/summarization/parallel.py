"""All intervals of several recordings at once, layer by layer instead of interval by interval: for training.

In every layer an interval sees pairs that earlier intervals have in the same layer, never in a later one. So a
layer can be applied to all intervals together: every token is a key twice, where it stands in its interval and, if
it is kept, where it stands in the memory. What comes out is what reading one interval after the other gives, by far
fewer operations, each on more tokens. Memory grows with the square of what is read of a recording.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name
from torch.nn.utils.rnn import pad_sequence

from auricle.key_values import rotate
from auricle.summarization import layout
from auricle.summarization.sst import PROJECTIONS, SST, LowRank
from auricle.summarization.summarizer import Summarization

Projected = tuple[Tensor, Tensor, Tensor]  # queries, keys and values, before RoPE or behind it
Put = tuple[Tensor, Tensor, Tensor]  # keys rotated to their places in the memory, values, and which are kept


@dataclass(frozen=True)
class Laid:
    """What is read of several recordings: the prompt before the speech, then every interval, padded side by side.

    Attributes:
        embeds: of every token, intervals one after the other.
        valid: which tokens are not padding.
        marked: which have the SSTs' projections.
        kept: which keep their pairs; with the placement "recall" only the prompt's, until `recalled` has chosen.
        counts: pairs that each interval keeps.
        places: of a token in its interval.
    """

    embeds: Float[Tensor, "batch tokens dim"]
    valid: Bool[Tensor, "batch tokens"]
    marked: Bool[Tensor, "batch tokens"]
    kept: Bool[Tensor, "batch tokens"]
    counts: Int[Tensor, "batch intervals"]
    places: Int[Tensor, "tokens"]

    @property
    def length(self) -> int:
        """Tokens of an interval, with padding."""
        return self.valid.shape[1] // self.counts.shape[1]

    @cached_property
    def intervals(self) -> Int[Tensor, "tokens"]:
        """The interval that each token belongs to."""
        return torch.arange(self.valid.shape[1], device=self.valid.device) // self.length

    @cached_property
    def before(self) -> Int[Tensor, "batch tokens"]:
        """How many pairs each token has before its interval; it is read behind them."""
        return F.pad(self.counts.cumsum(1), (1, 0))[:, self.intervals]

    @property
    def positions(self) -> Int[Tensor, "batch tokens"]:
        """Where each token stands when it is read."""
        return self.before + self.places

    @cached_property
    def own(self) -> Bool[Tensor, "batch tokens tokens"]:
        """Whether a token (row) sees another (column) of its interval; padding sees itself."""
        same = self.intervals[:, None] == self.intervals
        causal = same & (self.places[:, None] >= self.places)
        return causal & self.valid[:, None] | torch.eye(len(same), dtype=torch.bool, device=same.device)


def lay(
    sst: SST,
    prefix: Float[Tensor, "prefix dim"],
    recordings: Sequence[Sequence[Float[Tensor, "_ dim"]]],
    ratios: Sequence[Sequence[int]],
    options: Summarization,
) -> Laid:
    """Lays recordings out.

    Args:
        sst: whose embedding is put among the speech.
        prefix: the prompt before the speech.
        recordings: the speech of each interval of each recording.
        ratios: of each interval.
        options: placement and what is read; the ratio is not taken.
    """
    whole = torch.ones(len(prefix), dtype=torch.bool, device=prefix.device)
    rows = []
    for speeches, each in zip(recordings, ratios, strict=True):
        row = [(prefix, ~whole, whole, len(prefix))]
        for speech, ratio in zip(speeches, each, strict=False):
            spoken, ends = replace(options, compression_ratio=ratio).plan(speech)
            embeds, marked = layout.read(speech[spoken], sst.embedding, ends, options.placement)
            recall = options.placement == "recall"
            row.append((embeds, marked, marked & (not recall), len(ends) if recall else int(marked.sum())))
        rows.append(row)
    most, length = max(map(len, rows)), max(len(each[0]) for row in rows for each in row)
    nothing = (prefix[:0], whole[:0], whole[:0], 0)
    every = [each for row in rows for each in row + [nothing] * (most - len(row))]
    lengths = torch.tensor([len(each[0]) for each in every], device=prefix.device)
    places = torch.arange(length, device=prefix.device)

    def padded(parts: list[Tensor]) -> Tensor:
        filled: Tensor = pad_sequence(parts, batch_first=True)
        return filled.reshape(len(rows), most * length, *filled.shape[2:])

    return Laid(
        embeds=padded([each[0] for each in every]),
        valid=(places < lengths[:, None]).reshape(len(rows), -1),
        marked=padded([each[1] for each in every]),
        kept=padded([each[2] for each in every]),
        counts=torch.tensor([each[3] for each in every], device=prefix.device).reshape(len(rows), most),
        places=places.repeat(most),
    )


def behind(
    decoder: Any,  # noqa: ANN401
    sst: SST,
    laid: Laid,
    kept: Sequence[Bool[Tensor, "batch any_heads tokens"]],
    embeds: Float[Tensor, "batch asked dim"],
    positions: Int[Tensor, "batch asked"],
    visible: Bool[Tensor, "batch asked asked"],
) -> Float[Tensor, "batch asked dim"]:
    """The last layer's states of what is read behind the memories of several recordings.

    Args:
        decoder: of the standard kind.
        sst: what its marked tokens have.
        laid: the recordings.
        kept: of every layer, which tokens keep their pairs, for each key head or for all.
        embeds: what is read.
        positions: of it, the first behind a memory being 0.
        visible: whether one token of it (row) sees another (column).
    """
    tokens, asked, whole = laid.valid.shape[1], embeds.shape[1], laid.counts.sum(1, keepdim=True)
    at = torch.cat([laid.positions, whole + positions], 1)
    marked = F.pad(laid.marked, (0, asked))
    memory = torch.arange(int(whole.max()), device=embeds.device)
    remembered = memory < torch.cat([laid.before, whole.expand(-1, asked)], 1)[..., None]
    speech, answers = F.pad(laid.own, (0, 0, 0, asked)), F.pad(visible, (0, 0, tokens, 0))
    seen = torch.cat([speech, remembered, answers], 2)[:, None]
    states = torch.cat([laid.embeds, embeds.to(laid.embeds)], 1)
    cos, sin = rotation(decoder, states, at)
    put_cos, put_sin = rotation(decoder, states, memory[None])
    for number, layer in enumerate(decoder.layers):
        queries, keys, values = project(layer, sst.layers[number], states, marked)
        put_keys, put_values = (gathered(each[:, :, :tokens], kept[number], len(memory)) for each in (keys, values))
        standing = rotate(keys, cos, sin)
        put = rotate(put_keys, put_cos, put_sin)
        every = torch.cat([standing[:, :, :tokens], put, standing[:, :, tokens:]], 2)
        every_value = torch.cat([values[:, :, :tokens], put_values, values[:, :, tokens:]], 2)
        states = onward(layer, states, attend(rotate(queries, cos, sin), every, every_value, seen))
    final: Tensor = decoder.norm(states[:, tokens:])
    return final


def gathered(
    found: Float[Tensor, "batch kv_heads tokens head_dim"],
    kept: Bool[Tensor, "batch any_heads tokens"],
    count: int,
) -> Float[Tensor, "batch kv_heads count head_dim"]:
    """What is kept, in order; heads keep equally many of a recording, and behind them what is of no meaning."""
    order = kept.int().argsort(dim=-1, descending=True, stable=True)[..., :count, None]
    return found.gather(2, order.expand(-1, found.shape[1], -1, found.shape[3]))


@torch.no_grad()
def recalled(decoder: Any, sst: SST, laid: Laid) -> list[Bool[Tensor, "batch kv_heads tokens"]]:  # noqa: ANN401
    """Which tokens keep their pairs in every layer and key head: see `auricle.summarization.recall`.

    Every interval is read a second time, behind the first; only in choosing do intervals wait for each other.
    """
    again = laid.positions + (laid.valid.reshape(*laid.counts.shape, -1).sum(2))[:, laid.intervals]
    first = second = laid.embeds
    chosen = []
    for number, layer in enumerate(decoder.layers):
        one = project(layer, sst.layers[number], first, laid.marked)
        two = project(layer, sst.layers[number], second, laid.marked)
        cos, sin = rotation(decoder, first, laid.positions)
        later_cos, later_sin = rotation(decoder, first, again)
        standing = (rotate(one[0], cos, sin), rotate(one[1], cos, sin), one[2])
        later = (rotate(two[0], later_cos, later_sin), rotate(two[1], later_cos, later_sin), two[2])
        kept = laid.kept[:, None].repeat(1, one[1].shape[1], 1)
        read, reread = list[Tensor](), list[Tensor]()
        for interval in range(laid.counts.shape[1]):
            memory = _put(decoder, one[1], one[2], kept[:, :, : interval * laid.length])
            found, found_again, looked = _read_twice(laid, interval, standing, later, memory)
            read.append(found)
            reread.append(found_again)
            span = slice(interval * laid.length, (interval + 1) * laid.length)
            kept[:, :, span] |= _most(looked, laid.counts[:, None, interval, None]) & laid.marked[:, None, span]
        chosen.append(kept)
        first = onward(layer, first, torch.cat(read, 2))
        second = onward(layer, second, torch.cat(reread, 2))
    return chosen


def _put(
    decoder: Any,  # noqa: ANN401
    keys: Float[Tensor, "batch kv_heads tokens head_dim"],
    values: Float[Tensor, "batch kv_heads tokens head_dim"],
    kept: Bool[Tensor, "batch kv_heads before"],
) -> Put:
    """The memory of the first tokens, each where it was."""
    places, end = (kept.cumsum(2) - 1).clamp(min=0), kept.shape[2]  # of no meaning for those that are not kept
    cos, sin = rotation(decoder, keys, places)
    return rotate(keys[:, :, :end], cos, sin), values[:, :, :end], kept


def _read_twice(
    laid: Laid, interval: int, standing: Projected, later: Projected, memory: Put
) -> tuple[Tensor, Tensor, Float[Tensor, "batch kv_heads length"]]:
    """What attention gives in the first and the second reading, and how much the second looks at the first."""
    span = slice(interval * laid.length, (interval + 1) * laid.length)
    queries, keys, values = (each[:, :, span] for each in standing)
    queries_again, keys_again, values_again = (each[:, :, span] for each in later)
    own, valid = laid.own[:, None, span, span], laid.valid[:, None, None, span]
    remembered = memory[2][:, :, None].expand(-1, -1, laid.length, -1)
    heads = remembered.shape[1]
    seen = torch.cat([remembered, own.expand(-1, heads, -1, -1)], 3)
    read = attend(queries, torch.cat([memory[0], keys], 2), torch.cat([memory[1], values], 2), seen)
    before = valid.expand(-1, heads, laid.length, -1)
    seen = torch.cat([remembered, before, own.expand(-1, heads, -1, -1)], 3)
    every = torch.cat([memory[0], keys, keys_again], 2)
    grouped = queries_again.unflatten(1, (heads, -1))
    with torch.autocast(keys.device.type, enabled=False):  # as `auricle.summarization.recall` compares them
        scores = grouped.float() @ every[:, :, None].float().transpose(-1, -2) / every.shape[-1] ** 0.5
        share = scores.masked_fill(~seen[:, :, None], -torch.inf).softmax(-1)
    values_seen = torch.cat([memory[1], values, values_again], 2)
    reread = (share.to(values) @ values_seen[:, :, None]).flatten(1, 2)
    at = memory[0].shape[2]
    looked = share[..., at : at + laid.length].masked_fill(~laid.valid[:, None, None, span, None], 0).amax((2, 3))
    return read, reread, looked.masked_fill(~laid.valid[:, None, span], -1)


def _most(
    scores: Float[Tensor, "batch heads tokens"], count: Int[Tensor, "batch 1 1"]
) -> Bool[Tensor, "batch heads tokens"]:
    """The `count` highest of each row, as `recall.most_recalled` chooses them."""
    order = scores.argsort(dim=-1, descending=True, stable=True)
    ranks = torch.arange(scores.shape[-1], device=scores.device).expand_as(order)
    return torch.empty_like(order).scatter_(-1, order, ranks) < count


def rotation(
    decoder: Any,  # noqa: ANN401
    like: Tensor,
    positions: Int[Tensor, "*batch tokens"],
) -> tuple[Tensor, Tensor]:
    """Cosines and sines of positions of every recording, with a dimension of heads."""
    cos, sin = decoder.rotary_emb(like, positions.flatten()[None])
    shape = positions.shape if positions.dim() == 3 else (positions.shape[0], 1, positions.shape[1])
    return cos[0].reshape(*shape, cos.shape[-1]), sin[0].reshape(*shape, sin.shape[-1])


def project(
    layer: Any,  # noqa: ANN401
    sst: Any,  # noqa: ANN401
    states: Float[Tensor, "batch tokens dim"],
    marked: Bool[Tensor, "batch tokens"],
) -> Projected:
    """Queries, keys and values of all heads, before RoPE; those of marked tokens by the SSTs' projections."""
    normed, found = layer.input_layernorm(states), list[Tensor]()
    for name in PROJECTIONS:
        model = getattr(layer.self_attn, name)
        plain: Tensor = model(normed)
        own = sst[name](normed.to(next(sst[name].parameters()).dtype)).to(plain)
        if isinstance(sst[name], LowRank):
            own = own + plain
        mixed = torch.where(marked[..., None], own, plain)
        found.append(mixed.unflatten(-1, (-1, layer.self_attn.head_dim)).transpose(1, 2))
    return found[0], found[1], found[2]


def attend(
    queries: Float[Tensor, "batch heads queries head_dim"],
    keys: Float[Tensor, "batch kv_heads keys head_dim"],
    values: Float[Tensor, "batch kv_heads keys head_dim"],
    seen: Bool[Tensor, "batch any_heads queries keys"],
) -> Float[Tensor, "batch heads queries head_dim"]:
    """Attention of query heads that share key heads, in groups."""
    groups = queries.shape[1] // keys.shape[1]
    mask = seen if seen.shape[1] == 1 else seen.repeat_interleave(groups, 1)
    keys, values = (each.repeat_interleave(groups, 1) for each in (keys, values))
    found: Tensor = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
    return found


def onward(
    layer: Any,  # noqa: ANN401
    states: Float[Tensor, "batch tokens dim"],
    found: Float[Tensor, "batch heads tokens head_dim"],
) -> Float[Tensor, "batch tokens dim"]:
    """The states behind a layer, from what its attention found."""
    states = states + layer.self_attn.o_proj(found.transpose(1, 2).flatten(2))
    out: Tensor = states + layer.mlp(layer.post_attention_layernorm(states))
    return out
