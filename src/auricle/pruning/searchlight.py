"""Searchlight: keeps the stretches of speech in which most of the question's rare words are near each other."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name
from typing_extensions import override

from auricle.errors import OptionError, QueryError
from auricle.pruning.base import Rated, check_finite
from auricle.speech_lm import AudioTokens, Positions, Query, SpeechLM

Silence = Literal["skip", "keep"]
RAREST = 1e-3  # share of a recording's windows; what is rarer weighs no more
_ROWS = 4096  # speech tokens that are turned into float32 at a time


@dataclass(frozen=True)
class Searchlight(Rated):
    """Training-free pruning by late interaction in windows; this project's own method.

    Each token of the question, and of its choices, is looked for in a window around each moment of the recording:
    its best cosine there counts (ColBERT's MaxSim), weighted by how rare such a match is in this very recording.
    The sums, averaged over the window, are highest where an answer would be said. Kept are the tokens there, those
    that say something first; as many as with `SpeechPrune`. `docs/searchlight.md` has formulas, figures and limits.

    Attributes:
        pruning_rate: fraction to remove of the tokens of 30 s, 0 to 1; as many stay as with `SpeechPrune`.
        window: seconds of speech within which words belong to each other.
        threshold: cosines up to here are no match, -1 up to but not 1.
        choices: whether the choices, where there are any, are looked for as well.
        silence: "skip" keeps tokens that say something before those that do not: zero vectors, as auricle-mini's
            silence is, and repetitions of the token before; "keep" makes no difference, so that spans are whole.
        positions: whether the LLM sees the kept tokens at consecutive positions ("renumber") or where they were.
    """

    window: float = 6.0
    threshold: float = 0.6
    choices: bool = True
    silence: Silence = "skip"
    positions: Positions = "renumber"

    @override
    def __post_init__(self) -> None:
        """Checks every option.

        Raises:
            OptionError: an option has a value outside its range.
        """
        super().__post_init__()
        if not self.window > 0:
            raise OptionError(f"window is {self.window}; expected seconds above 0.")
        if not -1 <= self.threshold < 1:
            raise OptionError(f"threshold is {self.threshold}; expected a cosine from -1 up to but not 1.")
        for name, value, values in (
            ("silence", self.silence, get_args(Silence)),
            ("positions", self.positions, get_args(Positions)),
        ):
            if value not in values:
                raise OptionError(f"The option {name} is '{value}'; expected one of: {', '.join(values)}.")

    @override
    def choose(self, tokens: AudioTokens, count: int, query: Query, lm: SpeechLM) -> Int[Tensor, "kept"]:
        check_finite(tokens, lm)
        texts = [query.embeds]
        if self.choices and query.choices:
            texts.append(lm.query("\n".join(query.choices)).embeds)  # at once: on a GPU each call costs as much
        half = max(1, round(self.window * lm.tokens_per_second / 2))
        light = score(tokens.embeds, torch.cat(texts).to(tokens.embeds.device), half, self.threshold).cpu()
        first = says_something(tokens.embeds).cpu() if self.silence == "skip" else torch.ones(len(light)).bool()
        order = light.argsort(descending=True, stable=True)
        order = order[first[order].logical_not().long().argsort(stable=True)]
        chosen: Tensor = order[:count].sort().values
        return chosen


def score(
    S: Float[Tensor, "audio dim"], T: Float[Tensor, "text dim"], half: int, threshold: float
) -> Float[Tensor, "audio"]:
    """How much of the text, weighted by its rarity, is near each speech token.

    Args:
        S: speech embeddings in the LLM's input space, of any float type.
        T: the text's input embeddings, on the same device.
        half: speech tokens on each side that are near.
        threshold: see `Searchlight`.

    Returns:
        float32, not negative, on the device of S; identical surroundings have identical scores.

    Raises:
        QueryError: there is no text token.
    """
    if len(T) == 0:
        raise QueryError("The question has no token; ask something, for example 'What is decided?'.")
    text = F.normalize(T.float(), dim=1)
    cosine = torch.cat([F.normalize(rows.float(), dim=1) @ text.T for rows in torch.split(S, _ROWS)])
    match = (cosine - threshold).clamp(min=0) / (1 - threshold)
    near = sliding_max(match.T, half)
    rarity = -near.mean(1).clamp(RAREST, 1).log()
    return sliding_mean(rarity @ near, half)


def sliding_max(values: Float[Tensor, "rows audio"], half: int) -> Float[Tensor, "rows audio"]:
    """The highest value from `half` before to `half` behind each place; linear in the length, whatever `half` is.

    Blocks as long as the window are scanned from both ends (van Herk 1992): a window is the end of one block and
    the beginning of the next.
    """
    size, length = 2 * half + 1, values.shape[1]
    blocks = -(-(length + 2 * half) // size) * size
    padded = F.pad(values, (half, blocks - length - half), value=float("-inf")).unflatten(1, (-1, size))
    forward = padded.cummax(2).values.flatten(1)
    backward = padded.flip(2).cummax(2).values.flip(2).flatten(1)
    return torch.maximum(backward[:, :length], forward[:, size - 1 : size - 1 + length])


def sliding_mean(values: Float[Tensor, "audio"], half: int) -> Float[Tensor, "audio"]:
    """The mean from `half` before to `half` behind each place, of what there is at the ends."""
    sums = F.pad(values.double().cumsum(0), (1, 0))
    places = torch.arange(len(values), device=values.device)
    first, last = (places - half).clamp(min=0), (places + half + 1).clamp(max=len(values))
    return ((sums[last] - sums[first]) / (last - first)).float()


def says_something(S: Float[Tensor, "audio dim"]) -> Bool[Tensor, "audio"]:
    """Whether a token is neither a zero vector nor the same as the one before it."""
    new = torch.ones(len(S), dtype=torch.bool, device=S.device)
    new[1:] = (S[1:] != S[:-1]).any(1)
    return new & (S != 0).any(1)
