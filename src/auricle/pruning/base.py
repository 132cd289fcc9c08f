"""The contract of a pruner."""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from typing import Any, final

from jaxtyping import Int
from torch import Tensor, nn

from auricle.speech_lm import AudioTokens, Positions, Query, SpeechLM


class Pruner(ABC):
    """Chooses which speech tokens the LLM will read. Every implementation is a frozen dataclass.

    Attributes:
        positions: whether the LLM sees the kept tokens at consecutive positions or where they were; a method may
            make it an option.
    """

    positions: Positions = "renumber"

    @abstractmethod
    def keep(self, tokens: AudioTokens, query: Query, lm: SpeechLM) -> Int[Tensor, "kept"]:
        """Indices of the speech tokens to keep, sorted by time, without repetition, on the CPU.

        Args:
            tokens: all speech tokens of the recording.
            query: what is asked of it.
            lm: the model that will read them.
        """

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
