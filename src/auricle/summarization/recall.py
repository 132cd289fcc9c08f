"""Which pairs of an interval are kept, head by head: those that a second reading of the interval looks back at.

Whoever says something again has to find it: an LLM that reads an interval twice attends, in the second reading,
to the pairs of the first that tell it what comes next. Pairs that no query of the second reading attends to can go.
The idea is KVzip's (Kim et al. 2025); here it is applied interval by interval, with nothing said in between.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from auricle.key_values import Pairs, rotate
from auricle.summarization.sst import Reader


@torch.no_grad()
def recalled(
    reader: Reader, embeds: Float[Tensor, "tokens dim"], past: Pairs, read: Pairs
) -> Float[Tensor, "layers kv_heads tokens"]:
    """The most attention, 0 to 1, that any query of a second reading gives to each pair of the first.

    Args:
        reader: the decoder with the SSTs.
        embeds: what was read.
        past: pairs before it.
        read: its own pairs.
    """
    marked = torch.ones(len(embeds), dtype=torch.bool, device=embeds.device)
    again = reader.read(embeds, past + read, marked)[1]
    keys, start = (past + read + again).keys, len(past) + len(read)
    at = torch.arange(keys.shape[2], device=keys.device)
    cos, sin = (each[0] for each in reader.decoder.rotary_emb(keys, at[None]))
    seen = at <= at[start:, None]
    found = [
        _attention(rotate(queries, cos[start:], sin[start:]), rotate(each, cos, sin), seen)
        for queries, each in zip(reader.queries, keys, strict=True)
    ]
    return torch.stack(found)[..., len(past) : start]


def most_recalled(
    reader: Reader, embeds: Float[Tensor, "tokens dim"], past: Pairs, read: Pairs, count: int
) -> Pairs:
    """The `count` pairs of each head that are recalled most, in order of time; see `recalled`."""
    if count == len(read):
        return read
    # Stable, so that among equals training (`parallel.recalled`) chooses the same.
    order = recalled(reader, embeds, past, read).argsort(dim=-1, descending=True, stable=True)
    best = order[..., :count].sort(-1).values
    at = best[..., None].expand(-1, -1, -1, read.keys.shape[-1])
    return Pairs(read.keys.gather(2, at), read.values.gather(2, at))


def _attention(
    queries: Float[Tensor, "heads queries head_dim"], keys: Float[Tensor, "kv_heads keys head_dim"], seen: Tensor
) -> Float[Tensor, "kv_heads keys"]:
    """The most attention that any query of the heads that share a key head gives to each of its keys."""
    groups = queries.unflatten(0, (len(keys), -1)).float()
    scores = groups @ keys[:, None].float().transpose(-1, -2) / keys.shape[-1] ** 0.5
    most: Tensor = scores.masked_fill(~seen, -torch.inf).softmax(-1).amax((1, 2))
    return most
