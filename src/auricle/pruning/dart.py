"""DART: keeps, inside the LLM, the speech tokens that are least like a few pivots."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name
from typing_extensions import override

from auricle.pruning.base import Rated, check_finite
from auricle.speech_lm import AudioTokens, Query, SpeechLM

PIVOTS = 4  # of speech, and of the text behind it


@dataclass(frozen=True)
class DART(Rated):
    """Drops, inside the LLM, what repeats a few speech and text tokens.

    "Stop Looking for Important Tokens in Multimodal Language Models: Duplication Matters More" (Wen et al. 2025,
    arXiv 2502.11494). All speech is read by the first `layer` layers. Pivots are the four speech tokens, and the
    four tokens behind the speech, whose keys in the last of these layers have the largest L1 norms. The speech
    pivots stay; then each pivot in turn takes an equal share of the budget of the speech tokens that are least like
    it, by the cosine of states, and they go on at their positions.

    Differs from the authors' code: what rounding down loses is handed on to the first pivots, so that the count is
    exact; pivots take turns by falling norm, not by chance; and states are compared as they are, not through the
    LLM's last normalization, which no contract offers.

    Attributes:
        pruning_rate: fraction to remove of the tokens of 30 s, 0 to 1; as many stay as with `SpeechPrune`.
        layer: the decoder layer before which tokens are dropped, from 1 on.
    """

    layer: int = 2

    @override
    def choose(self, tokens: AudioTokens, count: int, query: Query, lm: SpeechLM) -> Int[Tensor, "kept"]:
        check_finite(tokens, lm)
        prompt = lm.prompt(tokens, query)
        seen = lm.inside(prompt, self.layer)
        norms = seen.keys.float().abs().sum((0, 2))
        behind = int(prompt.audio[-1]) + 1
        units = F.normalize(seen.states.float(), dim=1)
        speech = _highest(norms[prompt.audio], min(PIVOTS, count))
        text = _highest(norms[behind:], PIVOTS) + behind
        pivots = torch.cat([units[prompt.audio][speech], units[text]])
        return unlike(units[prompt.audio] @ pivots.T, speech, count).cpu()


def unlike(cosines: Float[Tensor, "audio pivots"], first: Int[Tensor, "_"], count: int) -> Int[Tensor, "kept"]:
    """The tokens `first`, and those least like each pivot in turn, `count` in all, sorted by time.

    Args:
        cosines: of every token with every pivot.
        first: what stays in any case, at most `count`.
        count: how many stay.
    """
    taken = torch.zeros(len(cosines), dtype=torch.bool, device=cosines.device)
    taken[first] = True
    share, more = divmod(count - len(first), cosines.shape[1])
    for number, column in enumerate(cosines.T):
        free = column.masked_fill(taken, torch.inf).argsort(stable=True)
        taken[free[: share + (number < more)]] = True
    return taken.nonzero()[:, 0]


def _highest(values: Float[Tensor, "tokens"], count: int) -> Int[Tensor, "_"]:
    """Indices of the highest values, the highest first; ties go to the earlier."""
    found: Tensor = values.argsort(descending=True, stable=True)[:count]
    return found
