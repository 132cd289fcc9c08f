"""Training recordings: talks with questions and single sentences, spoken by many voices, as FLAC with their text.

A shard is a folder, written whole or not at all, so that a killed run goes on where it was:
`shard-0007/recordings.jsonl` and `shard-0007/00.flac` ...
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from itertools import islice, pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from jaxtyping import Float

from auricle.audio import SAMPLE_RATE
from auricle.errors import TrainingError
from auricle.synthesis.augment import vary
from auricle.synthesis.dialogue import SpokenSentence
from auricle.training.talks import Question, Talk, endless
from auricle.training.voicing import VOICES, Window, pack, speak, speak_talk

TALKS_PER_SHARD = 16  # about 20 minutes
UTTERANCES_PER_SHARD = 80  # about 9 minutes
ABOUT = "recordings.jsonl"

Spoken = tuple[Float[np.ndarray, "_"], Sequence[SpokenSentence], Sequence[Question]]


@dataclass(frozen=True)
class Recording:
    """A recording with what is said in it and what is asked about it.

    Attributes:
        audio: its file.
        sentences: in the order in which they are said.
        questions: about it; none where single sentences were joined.
    """

    audio: Path
    sentences: tuple[SpokenSentence, ...]
    questions: tuple[Question, ...] = ()

    @property
    def text(self) -> str:
        """All that is said."""
        return " ".join(sentence.text for sentence in self.sentences)


@dataclass(frozen=True)
class SpeechRecipe:
    """How training recordings are made.

    Attributes:
        voices_files: folder of the voices' files.
        words: extra vocabulary for the sentences.
        seed: of every choice; a shard depends on it and on its number alone.
        voices: name to share of the sentences.
    """

    voices_files: Path
    words: tuple[str, ...] = ()
    seed: int = 0
    voices: Mapping[str, float] = field(default_factory=lambda: VOICES)


def build(recipe: SpeechRecipe, folder: Path, shards: int, processes: int) -> Iterator[int]:
    """Makes the shards `0..shards - 1` that are not there yet; yields the number of each as it is done."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [index for index in range(shards) if not shard_path(folder, index).exists()]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(make_shard, recipe, folder, index): index for index in missing}
        try:
            for done in as_completed(futures):
                done.result()
                yield futures[done]
        finally:
            pool.shutdown(cancel_futures=True)  # after an error, the shards not yet begun are not made


def shard_path(folder: Path, index: int) -> Path:
    """Where shard `index` lies."""
    return folder / f"shard-{index:04d}"


def shards(folder: Path) -> list[Path]:
    """The shards of a folder.

    Raises:
        TrainingError: there are none.
    """
    found = sorted(path for path in folder.glob("shard-*") if (path / ABOUT).is_file())
    if not found:
        raise TrainingError(f"There are no training recordings in '{folder}'; run 'auricle train data' first.")
    return found


def make_shard(recipe: SpeechRecipe, folder: Path, index: int) -> None:
    """Speaks one shard: talks with their questions, then windows of single sentences."""
    torch.set_num_threads(1)  # one process a core
    rng = np.random.default_rng((recipe.seed, index))
    first = index * TALKS_PER_SHARD
    drawn: list[Talk] = list(islice(endless(recipe.seed), first, first + TALKS_PER_SHARD))
    about = list[Spoken]()
    for talk in drawn:
        spoken = speak_talk(talk.turns, recipe.voices, recipe.voices_files, rng)
        about.append((spoken.waveform, spoken.sentences, talk.questions))
    utterances = speak(recipe.voices, recipe.voices_files, recipe.words, UTTERANCES_PER_SHARD, rng)
    about += [(window.waveform, _sentences(window), ()) for window in pack(utterances, rng)]
    save_shard(
        shard_path(folder, index), [(vary(one, SAMPLE_RATE, rng), said, asked) for one, said, asked in about]
    )


def save_shard(path: Path, spoken: Sequence[Spoken]) -> None:
    """Writes recordings at 16 kHz with their sentences and questions; all or nothing."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    lines = []
    for number, (waveform, sentences, questions) in enumerate(spoken):
        soundfile.write(partial / f"{number:02d}.flac", np.clip(waveform, -1, 1), SAMPLE_RATE)
        said, asked = [asdict(each) for each in sentences], [asdict(each) for each in questions]
        lines.append(json.dumps({"audio": f"{number:02d}.flac", "sentences": said, "questions": asked}))
    (partial / ABOUT).write_text("\n".join(lines) + "\n")
    partial.rename(path)


def load_shard(path: Path) -> list[Recording]:
    """The recordings of a shard, without their audio.

    Raises:
        TrainingError: its list is damaged.
    """
    try:
        return [_recording(path, json.loads(line)) for line in (path / ABOUT).read_text().splitlines()]
    except (ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"'{path / ABOUT}' is damaged ({error}); remove '{path}' and make it again.") from error


def _recording(path: Path, record: dict[str, Any]) -> Recording:
    sentences = tuple(SpokenSentence(**each) for each in record["sentences"])
    questions = tuple(
        Question(each["question"], each["answer"], tuple(each["wrong"])) for each in record["questions"]
    )
    return Recording(path / record["audio"], sentences, questions)


def _sentences(window: Window) -> tuple[SpokenSentence, ...]:
    """Each begins where the one before ends, in the middle of the pause."""
    ends = [0.0, *(said.end for said in window.said)]
    return tuple(
        SpokenSentence("spk_1", said.text, start, end)
        for said, (start, end) in zip(window.said, pairwise(ends), strict=True)
    )
