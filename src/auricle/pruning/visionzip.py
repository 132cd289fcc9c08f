"""VisionZip for speech: dominant tokens, and a few contextual ones into which the others are merged."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from auricle.pruning.budget import window_tokens
from auricle.pruning.merging import Merge, Merger
from auricle.pruning.neighbours import directions
from auricle.pruning.received import attention, in_windows, keys
from auricle.speech_lm import AudioTokens, SpeechLM

CONTEXTUAL = 10 / 64  # of what is left; the authors' 54 dominant and 10 contextual tokens


@dataclass(frozen=True)
class VisionZip(Merger):
    """Dominant and contextual tokens.

    "VisionZip: Longer is Better but Not Necessary in Vision Language Models" (Yang et al. 2024, arXiv 2412.04467).
    In every window of 30 s the tokens that receive most attention stay; of the others, evenly spaced ones are
    targets, and every other one is merged into the target whose key, the mean over
    heads, is most like its own.

    Differs from the paper: speech instead of images; attention and keys are those of the LLM's first layer
    (`auricle.pruning.received`), not an encoder's; a target and what is merged into it become their mean, where the
    authors' code adds the mean to the target, which doubles a vector that the LLM has to read; and all stay in
    order of time.
    """

    @override
    def merge(self, tokens: AudioTokens, count: int, lm: SpeechLM) -> Merge:
        qk = lm.first_layer_qk()

        def window(S: Float[Tensor, "audio dim"], most: int) -> Merge:
            mean = keys(S, qk).unflatten(1, (qk.kv_heads, -1)).mean(1)
            into = zipped(attention(S, qk).mean((0, 1)).cpu(), directions(mean).cpu(), most)
            return Merge(into, torch.ones(len(S)))

        return in_windows(tokens.embeds, window_tokens(lm.tokens_per_second), count, window)


def zipped(
    received: Float[Tensor, "audio"], units: Float[Tensor, "audio directions"], count: int
) -> Int[Tensor, "audio"]:
    """The token in whose place each is read; -1 for all where none stays.

    Args:
        received: attention of each.
        units: the direction of each one's key.
        count: how many are left.
    """
    if not count:
        return torch.full((len(received),), -1)
    dominant = count - round(CONTEXTUAL * count)
    into = torch.arange(len(received))
    rest = received.argsort(descending=True, stable=True)[dominant:].sort().values
    contextual = count - dominant
    if not contextual:
        into[rest] = -1
        return into
    targets = rest[torch.arange(contextual) * (len(rest) // contextual)]
    nearest = targets[(units[rest] @ units[targets].T).argmax(1)]
    into[rest] = nearest
    into[targets] = targets
    return into
