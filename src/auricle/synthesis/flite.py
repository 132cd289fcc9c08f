"""Flite: a small, fast, robotic synthesizer, run as a program."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from auricle.errors import OptionError
from auricle.synthesis.base import Gender, Speech, Voice
from auricle.synthesis.programs import find_program, read_wav, run_program

# kal (8 kHz) and awb_time (a talking clock) are left out.
GENDERS: dict[str, Gender] = {"slt": "female", "rms": "male", "awb": "male", "kal16": "male"}
FIXED_PITCH = frozenset({"rms"})  # ignores the pitch that it is asked for
LOWEST_HZ, HIGHEST_HZ = 60, 300


@dataclass(frozen=True)
class FliteVoice(Voice):
    """A voice of Flite at 16 kHz; one short process per text.

    Attributes:
        speaker: one of `GENDERS`; the program itself speaks an unknown one with another voice.
        pitch: mean fundamental frequency in Hz, 60 to 300; None is the speaker's own.
    """

    speaker: str
    pitch: int | None = None

    def __post_init__(self) -> None:
        if self.speaker not in GENDERS:
            raise OptionError(f"Flite has no speaker '{self.speaker}'; choose one of {', '.join(GENDERS)}.")
        if self.pitch is None:
            return
        if self.speaker in FIXED_PITCH:
            raise OptionError(f"Flite's speaker '{self.speaker}' has one pitch only; leave the pitch out.")
        if not LOWEST_HZ <= self.pitch <= HIGHEST_HZ:
            raise OptionError(f"The pitch is {self.pitch} Hz; it has to be in {LOWEST_HZ} to {HIGHEST_HZ}.")

    def _speak_lines(self, lines: Sequence[str], speed: float) -> list[Speech]:
        settings = ["--setf", f"duration_stretch={1 / speed:.4f}"]
        if self.pitch is not None:
            settings += ["--setf", f"int_f0_target_mean={self.pitch}"]
        command = [find_program("flite"), "-voice", self.speaker, *settings]
        spoken = []
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "speech.wav"
            for line in lines:
                run_program([*command, "-t", line, "-o", str(path)])
                spoken.append(read_wav(path))
                path.unlink()
        return spoken
