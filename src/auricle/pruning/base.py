"""The contract of a pruner."""

from abc import ABC, abstractmethod

from jaxtyping import Int
from torch import Tensor

from auricle.speech_lm import AudioTokens, Query, SpeechLM


class Pruner(ABC):
    """Chooses which speech tokens the LLM will read. Every implementation is a frozen dataclass."""

    @abstractmethod
    def keep(self, tokens: AudioTokens, query: Query, lm: SpeechLM) -> Int[Tensor, "kept"]:
        """Indices of the speech tokens to keep, sorted by time, without repetition, on the CPU.

        Args:
            tokens: all speech tokens of the recording.
            query: what is asked of it.
            lm: the model that will read them.
        """
