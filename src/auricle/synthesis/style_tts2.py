"""StyleTTS 2, with which the SPIRAL paper speaks: the voice of a reference recording, by the package `styletts2`.

The package is not one of auricle's extras because its pins are older than auricle's `transformers`; it runs all the
same. Its weights come from the network when it first speaks. Written and tested up to the loading of the weights.
"""

import pickle
import random
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from auricle.audio import Waveform
from auricle.errors import MissingDependencyError, OptionError, SynthesisError, WeightsError
from auricle.synthesis.base import Gender, Speech, Voice

SAMPLING_RATE = 24_000
ALPHA = 0.3  # how far the timbre may depart from the reference (SPIRAL, appendix B.1)
BETA = 0.7  # how far the prosody may
DIFFUSION_STEPS = 10  # B.2
EMBEDDING_SCALE = 1.0
# Of the recordings of LibriTTS that SPIRAL speaks with, such as "8975_F.wav"; or said behind the path.
_NAME = re.compile(r"(?P<path>.+?(?:_(?P<letter>[FM])(?:\.\w+)?)?)(?:@(?P<said>female|male))?")
_INSTALL = (
    "run 'pip install --no-deps styletts2' and "
    "'pip install \"langchain<0.1\" librosa munch pydub nltk cached-path einops einops-exts gruut'"
)


@dataclass(frozen=True)
class StyleTTS2Voice(Voice):
    """The voice of a recording at 24 kHz, with the paper's parameters (SPIRAL, appendix B).

    The package itself drops the last 50 samples of what it speaks (B.3). It speaks more than 420 characters in
    pieces. An utterance depends on the text and the voice's name only.

    Attributes:
        reference: some seconds of the voice.
    """

    reference: Path

    def _speak_lines(self, lines: Sequence[str], speed: float) -> list[Speech]:
        if speed != 1.0:
            raise OptionError(f"speed is {speed}; StyleTTS 2 speaks at its own speed only, leave it at 1.")
        if not self.reference.is_file():
            raise SynthesisError(f"There is no reference recording '{self.reference}'; check the voice's name.")
        return [Speech(self._speak_line(line), SAMPLING_RATE) for line in lines]

    def _speak_line(self, line: str) -> Waveform:
        model, style = _model(), _style(self.reference)
        with _randomness(zlib.crc32(f"{self.name}\n{line}".encode())):
            try:
                waveform = model.inference(
                    line,
                    ref_s=style,
                    alpha=ALPHA,
                    beta=BETA,
                    diffusion_steps=DIFFUSION_STEPS,
                    embedding_scale=EMBEDDING_SCALE,
                )
            except (LookupError, RuntimeError, ValueError) as error:  # LookupError: nltk has no tokenizer
                raise SynthesisError(f"StyleTTS 2 cannot speak {line!r}: {error}") from error
        return np.clip(np.asarray(waveform, dtype=np.float32).ravel(), -1.0, 1.0)


def parse(speaker: str) -> tuple[Path, Gender]:
    """Path and gender of a speaker's name: `voices/8975_F.wav`, or `ann.wav@female` where the file's name has none.

    Raises:
        OptionError: the name does not tell the gender.
    """
    match = _NAME.fullmatch(speaker)
    if match is None or not (match["letter"] or match["said"]):
        raise OptionError(
            f"The name '{speaker}' does not tell the voice's gender; end the file's name in _F or _M, or append "
            "@female or @male."
        )
    female = (match["said"] or match["letter"]) in ("female", "F")
    return Path(match["path"]), "female" if female else "male"


@lru_cache(maxsize=1)
def _model() -> Any:  # noqa: ANN401 - the package has no types
    """The model, loaded once a process."""
    with _randomness(0):  # the package seeds all generators when it is imported
        try:
            from styletts2 import tts
        except ImportError as error:
            raise MissingDependencyError(f"StyleTTS 2 cannot be imported ({error}); {_INSTALL}.") from error
        try:
            return tts.StyleTTS2()
        except pickle.UnpicklingError as error:
            raise WeightsError(
                "The checkpoints of StyleTTS 2 hold more than weights, which torch refuses to load; if you trust "
                "their authors, set TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1."
            ) from error
        except (OSError, RuntimeError, ValueError) as error:
            raise WeightsError(
                f"The weights of StyleTTS 2 cannot be loaded ({error}); check the network and try again."
            ) from error


@lru_cache(maxsize=512)
def _style(reference: Path) -> Any:  # noqa: ANN401 - a tensor of the package's
    return _model().compute_style(str(reference))


@contextmanager
def _randomness(seed: int) -> Iterator[None]:
    """Seeds the global generators of Python, NumPy and torch, and puts them back as they were."""
    import torch

    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            random.seed(seed)
            np.random.seed(seed)
            torch.manual_seed(seed)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
