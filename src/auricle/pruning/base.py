"""The contract of a pruner."""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from typing_extensions import override

from auricle.errors import ModelError, OptionError
from auricle.pruning.budget import check_rate, kept
from auricle.speech_lm import AudioTokens, Positions, Query, SpeechLM, SpeechPrompt


def check_before(layer: int) -> None:
    """Whether a method drops speech before the LLM, so that something can be done with what it leaves.

    Args:
        layer: see `Pruner`.

    Raises:
        OptionError: it drops it inside the LLM, which reads all of it at first.
    """
    if layer:
        raise OptionError(
            f"This method drops speech inside the LLM, before its layer {layer}, so that nothing can be done with"
            " what it leaves; take a method that prunes before the LLM, such as 'speechprune'."
        )


@dataclass(frozen=True)
class Reduced:
    """What a pruner leaves of a recording.

    Attributes:
        keep: indices of the speech tokens that stay, sorted by time, on the CPU.
        embeds: what is read in their places, where others were merged into them; None: they themselves.
        positions: see `Pruner`.
        layer: see `Pruner`.
    """

    keep: Int[Tensor, "kept"]
    embeds: Float[Tensor, "kept dim"] | None = None
    positions: Positions = "renumber"
    layer: int = 0

    def prompt(self, whole: SpeechPrompt) -> SpeechPrompt:
        """The prompt of which `whole` has all speech tokens."""
        if self.layer:
            return whole.keep_from(self.layer, self.keep)
        return whole.keep(self.keep, self.positions, self.embeds)

    def tokens(self, whole: AudioTokens) -> AudioTokens:
        """What is left of all speech tokens.

        Raises:
            OptionError: they are dropped inside the LLM, which reads all of them at first.
        """
        check_before(self.layer)
        left = whole.select(self.keep)
        return left if self.embeds is None else replace(left, embeds=self.embeds)


class Pruner(ABC):
    """Chooses which speech tokens the LLM will read. Every implementation is a frozen dataclass.

    Attributes:
        positions: whether the LLM sees the kept tokens at consecutive positions or where they were; a method may
            make it an option.
        layer: the decoder layer before which the others are dropped; with 0 the LLM never reads them.
    """

    positions: Positions = "renumber"
    layer: int = 0

    @abstractmethod
    def keep(self, tokens: AudioTokens, query: Query, lm: SpeechLM) -> Int[Tensor, "kept"]:
        """Indices of the speech tokens to keep, sorted by time, without repetition, on the CPU.

        Args:
            tokens: all speech tokens of the recording.
            query: what is asked of it.
            lm: the model that will read them.
        """

    def reduce(self, tokens: AudioTokens, query: Query, lm: SpeechLM) -> Reduced:
        """What the LLM reads in the place of all speech tokens; only `Merger` says otherwise than here."""
        return Reduced(self.keep(tokens, query, lm), None, self.positions, self.layer)

    @final
    def __call__(
        self,
        model: nn.Module,
        processor: Any,  # noqa: ANN401
        question: str | None = None,
    ) -> AbstractContextManager[Any]:
        """A context in which a Hugging Face model's `generate` and `forward` are pruned (`auricle.integration`).

        Args:
            model: a loaded model, which is left exactly as it was.
            processor: the processor that makes its inputs.
            question: what speech is compared to; by default all text between the speech and the end of the turn.
        """
        from auricle.integration import Pruned

        return Pruned(self, model, processor, question)


@dataclass(frozen=True)
class Rated(Pruner):
    """A method that leaves as many tokens as a rate says. Every implementation is a frozen dataclass.

    Attributes:
        pruning_rate: fraction to remove of the tokens of 30 s, 0 to 1; how many stay `auricle.pruning.budget` says.
    """

    pruning_rate: float = 0.6

    def __post_init__(self) -> None:
        """Checks the rate; methods with more options check these besides.

        Raises:
            OptionError: it is outside 0..1.
        """
        check_rate(self.pruning_rate)

    @abstractmethod
    def choose(self, tokens: AudioTokens, count: int, query: Query, lm: SpeechLM) -> Int[Tensor, "kept"]:
        """As `keep`; exactly `count` of them, at least one and fewer than there are."""

    @final
    @override
    @torch.no_grad()
    def keep(self, tokens: AudioTokens, query: Query, lm: SpeechLM) -> Int[Tensor, "kept"]:
        count = kept(len(tokens), lm.tokens_per_second, self.pruning_rate)
        if count in (0, len(tokens)):
            return torch.arange(count)
        return self.choose(tokens, count, query, lm)


def check_finite(tokens: AudioTokens, lm: SpeechLM) -> None:
    """Raises ModelError if the speech tokens hold NaN or infinite values."""
    if not tokens.embeds.sum(1, dtype=torch.float32).isfinite().all():
        raise ModelError(
            f"The speech tokens of {lm.name} hold NaN or infinite values; load it in bfloat16 or float32."
        )
