"""eSpeak NG: speech and phonemes, run as a program because its license is the GPL."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from auricle.errors import OptionError
from auricle.synthesis.base import Gender, Speech, Voice
from auricle.synthesis.programs import find_program, read_wav, run_program

ACCENTS = ("en-us", "en-gb", "en-gb-scotland")
LANGUAGES = ("de", "fr-fr", "es", "it", "cmn", "ja", "ko")  # not among `voices()`, which speak English
VARIANTS = ("f1", "f2", "f3", "f4", "f5", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8")
WORDS_PER_MINUTE = 165  # at speed 1


@dataclass(frozen=True)
class EspeakVoice(Voice):
    """An accent and a variant of eSpeak NG at 22.05 kHz; one short process per text.

    Attributes:
        accent: one of `ACCENTS`, or of `LANGUAGES`.
        variant: one of `VARIANTS`; None is the accent's own, male.
    """

    accent: str
    variant: str | None = None

    def __post_init__(self) -> None:
        if self.accent not in (*ACCENTS, *LANGUAGES) or self.variant not in (None, *VARIANTS):
            raise OptionError(
                f"eSpeak's accent '{self.accent}' with variant '{self.variant}' is unknown; choose from "
                f"{', '.join((*ACCENTS, *LANGUAGES))} and {', '.join(VARIANTS)}."
            )

    def _speak_lines(self, lines: Sequence[str], speed: float) -> list[Speech]:
        speaker = self.accent if self.variant is None else f"{self.accent}+{self.variant}"
        words_per_minute = round(WORDS_PER_MINUTE * speed)
        command = [
            find_program("espeak-ng"),
            "-v",
            speaker,
            "-s",
            str(words_per_minute),
            "-b",
            "1",
            "--stdin",
        ]
        spoken = []
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "speech.wav"
            for line in lines:
                run_program([*command, "-w", str(path)], line)
                spoken.append(read_wav(path))
                path.unlink()
        return spoken


def gender(variant: str | None) -> Gender:
    """The gender of a variant."""
    return "female" if variant is not None and variant.startswith("f") else "male"


def phonemes(text: str, accent: str = "en-us") -> str:
    """Transcribes a text without punctuation into IPA with stress marks.

    Raises:
        MissingDependencyError: espeak-ng is not installed.
        SynthesisError: it failed.
    """
    output = run_program([find_program("espeak-ng"), "-v", accent, "-q", "--ipa", "-b", "1", "--stdin"], text)
    return " ".join(output.split())
