"""Packages a voiced set: the published SPIRAL layout with times, an audio folder of `datasets`, and a data card."""

import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from auricle.errors import DataError
from auricle.questions import letter
from auricle.spiral.evidence import locate
from auricle.spiral.schema import SpiralSample, to_json
from auricle.spiral.synthesize import Voiced, paths

PACKAGE = "package"


def package(samples: Sequence[SpiralSample], folder: Path, title: str = "A set in the layout of SPIRAL") -> Path:
    """Writes `package/` beside `speech/`: `data.jsonl`, `metadata.jsonl`, `wavs/` and `README.md`.

    `data.jsonl` has the fields of the published set, and in `audio_data` also `evidence` (when the key sentence is
    said), `sentence_times`, `seconds` and `loudness`. `metadata.jsonl` makes the folder one that
    `datasets.load_dataset` opens, with the recording in the column `audio`. The package appears whole or not at
    all; one that is there is replaced.

    Args:
        samples: all of them voiced.
        folder: of the set.
        title: of the data card.

    Returns:
        The package's folder.

    Raises:
        DataError: a sample is not voiced, or there are none.
    """
    if not samples:
        raise DataError("There are no samples to package; write dialogues first.")
    missing = [sample.id for sample in samples if not all(path.is_file() for path in paths(folder, sample.id))]
    if missing:
        raise DataError(f"Sample '{missing[0]}' and {len(missing) - 1} more are not voiced; synthesize them first.")
    voiced = [Voiced.load(paths(folder, sample.id)[1]) for sample in samples]
    with tempfile.TemporaryDirectory(dir=folder, prefix=".package-") as scratch:
        part = Path(scratch) / PACKAGE
        (part / "wavs").mkdir(parents=True)
        for sample in samples:
            _link(paths(folder, sample.id)[0], part / "wavs" / f"{sample.id}.wav")
        pairs = list(zip(samples, voiced, strict=True))
        _write_lines(part / "data.jsonl", [record(sample, about) for sample, about in pairs])
        _write_lines(part / "metadata.jsonl", [row(sample, about) for sample, about in pairs])
        (part / "README.md").write_text(card(samples, voiced, title), encoding="utf-8")
        if (folder / PACKAGE).exists():
            (folder / PACKAGE).rename(Path(scratch) / "old")
        part.rename(folder / PACKAGE)
    return folder / PACKAGE


def record(sample: SpiralSample, voiced: Voiced) -> dict[str, Any]:
    """A line of `data.jsonl`."""
    sentences = [sentence.text for sentence in voiced.sentences]
    place = locate(sentences, sample.key_sentence)
    return to_json(sample) | {
        "audio_data": {
            "key_sentences": {
                "speaker": voiced.sentences[place.start].speaker,
                "text": sample.key_sentence,
                "indices": [place.start, place.stop],
            },
            "combined": {
                "audio_files": [f"{sample.id}.wav"],
                "audio_folder": "wavs",
                "prompts_used": dict(voiced.voices),
                "sentences": sentences,
            },
            "sentence_times": [[sentence.start, sentence.end] for sentence in voiced.sentences],
            "evidence": [list(span) for span in voiced.evidence],
            "seconds": voiced.seconds,
            "loudness": voiced.loudness,
        }
    }


def row(sample: SpiralSample, voiced: Voiced) -> dict[str, Any]:
    """A line of `metadata.jsonl`: flat, the recording named by `file_name`."""
    return {
        "file_name": f"wavs/{sample.id}.wav",
        "id": sample.id,
        "transcript_type": sample.topic.transcript_type,
        "main_topic": sample.topic.main_topic,
        "subtopic": sample.topic.subtopic,
        "question": sample.test.question,
        "choices": list(sample.test.choices),
        "answer": letter(sample.test.correct),
        "transcript": sample.text,
        "key_sentence": sample.key_sentence,
        "evidence_start": voiced.evidence[0][0],
        "evidence_end": voiced.evidence[-1][1],
        "seconds": voiced.seconds,
    }


def card(samples: Sequence[SpiralSample], voiced: Sequence[Voiced], title: str) -> str:
    """The data card, with the head that the Hugging Face hub reads."""
    types = Counter[str](sample.topic.transcript_type for sample in samples)
    letters = Counter(letter(sample.test.correct) for sample in samples)
    topics = {sample.topic.main_topic for sample in samples}
    seconds = np.array([each.seconds for each in voiced])
    starts = np.array([each.evidence[0][0] / each.seconds for each in voiced])
    voices = Counter(name for each in voiced for name in each.voices.values())
    facts = {
        "samples": f"{len(samples)} ({_counted(types)})",
        "main topics": str(len(topics)),
        "duration": f"{seconds.mean():.1f} s on average, {seconds.min():.1f} to {seconds.max():.1f} s",
        "words": f"{np.mean([sample.words for sample in samples]):.0f} on average",
        "right letters": _counted(dict(sorted(letters.items()))),
        "evidence begins": f"at {100 * starts.mean():.0f} % of the recording on average",
        "voices": _counted(dict(voices.most_common())),
    }
    lines = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
    return _CARD.format(
        title=title,
        name=json.dumps(title, ensure_ascii=False),
        facts=lines,
        most=letters.most_common(1)[0][1] / len(samples),
    )


_CARD = """---
pretty_name: {name}
language: [en]
task_categories: [question-answering, audio-classification]
configs:
- config_name: default
  data_files:
  - split: test
    path: ["metadata.jsonl", "wavs/*.wav"]
---
# {title}

Multiple-choice questions about one detail of a long recording (Speech Information Retrieval).
Made with `auricle spiral`.

| | |
|---|---|
{facts}

Always answering with the commonest letter is right in {most:.3f} of the samples: permute the choices when
evaluating, as `auricle eval --permute` does.

## Files

- `data.jsonl`: a sample a line, in the layout in which SPIRAL was published, with the times of every sentence and
  of the evidence (seconds) in `audio_data`.
- `wavs/`: 24 kHz, 16 bit, mono, -23 LUFS; synthesized speech, no recording of a person.
- `metadata.jsonl`: the same for `datasets.load_dataset`.

## Limits

The speech is synthetic, one voice a speaker, without overlap, noise or room. The transcripts were written for the
purpose; what they claim is invented.
"""


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _write_lines(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    lines = [json.dumps(each, ensure_ascii=False, allow_nan=False) for each in records]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _link(source: Path, target: Path) -> None:
    """The same file under two names, where the file system can; a copy where it cannot."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
