"""SpeechPrune's second phase: the attention of a decoder's first layer, estimated from signs, as pure functions.

"SpeechPrune: Context-aware Token Pruning for Speech Information Retrieval", section 1.5, equations 6 to 8;
`docs/speechprune.md` maps its symbols to the names here and explains every choice that it leaves open.
"""

import math
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from auricle.speech_lm import QK

BLOCK_NUMBERS = 2**18  # attention weights held at a time: 1 MiB of float32, which stays in a core's cache
_NEGLIGIBLE = -80.0  # exp of it, 2e-35, changes no float32 sum that holds a 1


def binarized_attention(
    S: Float[Tensor, "audio dim"], qk: QK, block_numbers: int = BLOCK_NUMBERS
) -> Float[Tensor, "audio"]:
    """Logarithm of the attention that each speech token receives, on average over queries and heads.

    S, W_q and W_k are replaced by their signs (the sign of 0 is 0). Per head, A = softmax(Q K^T / sqrt(head_dim))
    over the keys, each key head serving its group of query heads. There is no normalization before the layer, bias,
    rotation or causal mask, as in the paper. Where a decoder normalizes the heads of its queries and keys (Qwen3),
    those of Q and K are normalized alike, with its gains; the paper's decoders do not.

    The scores are sums of many signs, so softmax is nearly one-hot and most of A is below the smallest float32.
    Logarithms keep all of it: tokens that hardly receive anything are still told apart, not tied at 0.

    Differs from the paper: the mean over the keys of A, as printed, is 1/audio for every token; this is the mean
    over the queries.

    Args:
        S: speech embeddings in the LLM's input space, of any float type.
        qk: the first layer's projections, on the same device.
        block_numbers: most attention weights to hold at a time (at least one query's); no audio x audio matrix
            is made. Time is still quadratic.

    Returns:
        float32 up to 0, on the device of S; their exponentials add up to 1.
    """
    signs, signed = S.sign().float(), replace(qk, w_q=qk.w_q.sign(), w_k=qk.w_k.sign())
    queries = signed.queries(signs).unflatten(1, (qk.kv_heads, -1)) / math.sqrt(qk.head_dim)
    keys = signed.keys(signs).permute(1, 2, 0).contiguous()
    received = torch.full((len(S),), -math.inf, device=S.device)
    for block in torch.split(queries, max(1, block_numbers // (len(S) * qk.heads))):
        attention = (block.permute(1, 0, 2, 3).flatten(1, 2) @ keys).flatten(0, 1)
        attention -= _logsumexp(attention, 1)
        received = torch.logaddexp(received, _logsumexp(attention, 0)[0])
    return received - math.log(len(S) * qk.heads)


def select_attended(received: Float[Tensor, "audio"], budget: int) -> Int[Tensor, "kept"]:
    """Indices of the `budget` tokens that receive most, sorted by time; ties go to the earlier token."""
    kept: Tensor = received.argsort(descending=True, stable=True)[:budget].sort().values
    return kept


def _logsumexp(x: Float[Tensor, "..."], dim: int) -> Float[Tensor, "..."]:
    """As `x.logsumexp(dim, keepdim=True)`, four times faster: torch.exp is slow where it underflows."""
    top = x.amax(dim, keepdim=True)
    return (x - top).clamp_(min=_NEGLIGIBLE).exp_().sum(dim, keepdim=True).log_().add_(top)
