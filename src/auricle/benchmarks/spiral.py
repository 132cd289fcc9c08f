"""SPIRAL with its audio: as published, or as `auricle spiral package` writes it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, final

from typing_extensions import override

from auricle import audio
from auricle.benchmarks.base import Benchmark, Sample, Spans
from auricle.errors import DataError
from auricle.spiral.schema import SpiralSample, from_json

# Where the published archive and its copies hold the recordings, below the folder of `data.jsonl`.
_WAVS = ("wavs", "wavs/wavs", "spiral/wavs", "spiral/wavs/wavs", ".")


@final
@dataclass(frozen=True)
class Spiral(Benchmark):
    """SPIRAL (the SpeechPrune paper, section 1.2), or any set in its layout.

    The published set says no times; sets that `auricle spiral package` wrote do, so that evidence recall and the
    position of the evidence are known for them.

    Attributes:
        data: a folder with `data.jsonl` and `wavs/`, or a `.jsonl` file beside `wavs/`.
    """

    data: str | Path

    @property
    @override
    def name(self) -> str:
        return "spiral"

    @override
    def samples(self) -> Iterator[Sample]:
        for record in records(Path(self.data)):
            yield _sample(from_json(record), record.get("audio_data") or {}, set_file(Path(self.data)).parent)


def read_samples(path: Path) -> tuple[SpiralSample, ...]:
    """All samples of a set without their recordings; either layout of `auricle.spiral.schema`.

    Raises:
        DataError: no such file, a line is no sample, or two have one id.
    """
    samples = tuple(from_json(record) for record in records(path))
    twice = {sample.id for sample in samples if sum(other.id == sample.id for other in samples) > 1}
    if twice:
        raise DataError(f"'{path}' has more than one sample '{min(twice)}'; ids have to be unique.")
    return samples


def records(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a JSON lines file, or of `data.jsonl` in a folder.

    Raises:
        DataError: there is no such file, or a line is no JSON object; the line is named.
    """
    file = set_file(path)
    try:
        with file.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _record(line, file, number)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"'{file}' cannot be read ({error}); expected a set as JSON lines.") from error


def _record(line: str, file: Path, number: int) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"Line {number} of '{file}' is no JSON ({error}).") from error
    if not isinstance(record, dict):
        raise DataError(f"Line {number} of '{file}' is no JSON object.")
    return record


def set_file(path: Path) -> Path:
    """The file of a set: `data.jsonl` where its folder is given."""
    return path / "data.jsonl" if path.is_dir() else path


def _sample(sample: SpiralSample, about: Mapping[str, Any], folder: Path) -> Sample:
    try:
        name = str((about.get("combined", {}).get("audio_files") or [f"{sample.id}.wav"])[0])
    except (AttributeError, TypeError, KeyError) as error:
        raise DataError(f"The audio_data of sample '{sample.id}' is not as published ({error}).") from error
    wav = next((folder / each / name for each in _WAVS if (folder / each / name).is_file()), None)
    if wav is None:
        raise DataError(
            f"The recording '{name}' of sample '{sample.id}' is not in '{folder / 'wavs'}'; fetch the set's"
            " audio, or voice its transcripts with 'auricle spiral voice'."
        )
    return Sample(
        id=sample.id,
        load=partial(audio.load, wav),
        question=sample.test.question,
        choices=sample.test.choices,
        correct=sample.test.correct,
        recording=sample.id,
        evidence=_spans(about.get("evidence", ())),
        transcript=sample.text,
        groups={"transcript_type": sample.topic.transcript_type, "main_topic": sample.topic.main_topic},
    )


def _spans(pairs: object) -> Spans:
    try:
        return tuple((float(start), float(end)) for start, end in pairs)  # type: ignore[attr-defined]
    except (TypeError, ValueError) as error:
        raise DataError(f"The evidence is {pairs!r}; expected pairs of start and end in seconds.") from error
