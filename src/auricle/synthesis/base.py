"""The contract of every speech synthesis engine: texts in, waveforms out."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

from auricle.audio import Waveform
from auricle.errors import OptionError, SynthesisError

Gender = Literal["female", "male"]
SLOWEST, FASTEST = 0.5, 2.0


@dataclass(frozen=True)
class Speech:
    """A spoken text.

    Attributes:
        waveform: float32 mono in -1..1.
        sampling_rate: Hz.
    """

    waveform: Waveform
    sampling_rate: int

    @property
    def seconds(self) -> float:
        """Duration."""
        return self.waveform.size / self.sampling_rate


@dataclass(frozen=True)
class Voice(ABC):
    """One speaker of one engine.

    Attributes:
        name: as `auricle.synthesis.voice` takes it, such as `flite/slt`.
        gender: what listeners take the voice for.
    """

    name: str
    gender: Gender

    @final
    def speak(self, text: str, speed: float = 1.0) -> Speech:
        """Speaks one text; many texts are faster in one call of `speak_all`.

        Raises:
            SynthesisError, MissingDependencyError, OptionError: as for `speak_all`.
        """
        return self.speak_all([text], speed)[0]

    @final
    def speak_all(self, texts: Sequence[str], speed: float = 1.0) -> list[Speech]:
        """Speaks every text on its own, in order.

        Args:
            texts: none of them blank; line breaks and repeated spaces count as one space.
            speed: 0.5 to 2; above 1 is faster than the voice usually speaks.

        Raises:
            OptionError: speed out of range.
            SynthesisError: a text is blank, has nothing that can be spoken, or the engine failed.
            MissingDependencyError: the engine or its files are not installed.
        """
        if not (math.isfinite(speed) and SLOWEST <= speed <= FASTEST):
            raise OptionError(f"speed is {speed}; it has to be between {SLOWEST} and {FASTEST}.")
        lines = [" ".join(text.split()) for text in texts]
        for number, line in enumerate(lines):
            if not any(character.isalnum() for character in line):
                raise SynthesisError(
                    f"Text {number} for voice '{self.name}' is {texts[number]!r}; "
                    "it has nothing to speak, leave it out."
                )
        spoken = self._speak_lines(lines, speed) if lines else []
        if len(spoken) != len(lines):
            raise SynthesisError(f"Voice '{self.name}' was given {len(lines)} texts and spoke {len(spoken)}.")
        for line, speech in zip(lines, spoken, strict=True):
            if not speech.waveform.any():
                raise SynthesisError(f"Voice '{self.name}' spoke {line!r} as silence; reword the text.")
        return spoken

    @abstractmethod
    def _speak_lines(self, lines: Sequence[str], speed: float) -> list[Speech]:
        """Speaks lines that are stripped, without line breaks and not blank; one `Speech` per line."""
