"""Evidence recall: how much of what holds the answer a pruner keeps. It needs no LLM."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from auricle.errors import OptionError
from auricle.speech_lm import check_indices


def evidence_recall(
    keep: Int[Tensor, "kept"], times: Float[Tensor, "audio 2"], spans: Sequence[tuple[float, float]]
) -> float:
    """The share of the evidence's speech tokens that is kept, 0 to 1.

    A token belongs to the evidence if its midpoint lies in one of the spans, start included, end excluded; where
    spans overlap, it counts once. A pruner that knows nothing reaches `kept_share` on average.

    Args:
        keep: sorted indices of the tokens that are kept.
        times: start and end of every token of the recording, in seconds.
        spans: start and end of the key sentence, or of its parts, in seconds.

    Raises:
        OptionError: no token lies in the spans, so that there is no share; or `keep` is no sorted selection.
    """
    check_indices(keep, len(times))
    evidence = _inside(times.cpu(), spans)
    total = int(evidence.sum())
    if total == 0:
        raise OptionError(
            f"None of the {len(times)} speech tokens lies in the evidence's spans {list(spans)} (seconds);"
            " give spans within the recording that are longer than a token."
        )
    return int(evidence[keep.cpu()].sum()) / total


def kept_share(keep: Int[Tensor, "kept"], times: Float[Tensor, "audio 2"]) -> float:
    """The share of all speech tokens that is kept, 0 to 1; arguments as for `evidence_recall`."""
    check_indices(keep, len(times))
    return len(keep) / len(times)


def _inside(times: Float[Tensor, "audio 2"], spans: Sequence[tuple[float, float]]) -> Bool[Tensor, "audio"]:
    middles = times.double().mean(1)
    inside = torch.zeros(len(times), dtype=torch.bool)
    for start, end in spans:
        inside |= (middles >= start) & (middles < end)
    return inside
