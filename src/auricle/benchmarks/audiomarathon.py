"""AudioMarathon: ten tasks on recordings of 90 to 300 seconds, in the folders and lists as they are published.

Read are the layouts of the scripts at github.com/DabDans/AudioMarathon, and what they leave out or draw is left out
and drawn here in the same way.
"""

import json
import posixpath
import random
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, final

from typing_extensions import override

from auricle.benchmarks.base import Sample
from auricle.benchmarks.jsonl import correct_index
from auricle.benchmarks.tasks import TaskBenchmark
from auricle.benchmarks.tree import Tree
from auricle.errors import DataError
from auricle.evaluation.scorers.base import Scorer
from auricle.evaluation.scorers.choices import F1
from auricle.evaluation.scorers.texts import UtteranceWER
from auricle.questions import letter

SEED = 42  # of every draw of the scripts
ASR_TOKENS = 1100
Row = Mapping[str, Any]

_TRANSCRIBE = (
    "Transcribe this audio accurately. Remove hesitation words like 'um', 'uh'. Your response should be formatted"
    " as follows: Spoken Content: <transcribed text here>"
)
_AUTHENTIC = "Is this recording completely authentic (real), or is some of it artificially synthesized (fake)?"
_GENDER = "Is the speaker of this recording male or female?"
_SPEECH = "librispeech-long/test-clean"
_DEEPFAKE = "HAD/concatenated_audio"
_LEFT_OUT = {("2", "happy"), ("10", "happy")}  # speakers of VESUS


@dataclass(frozen=True)
class _List:
    """A task whose questions stand in one JSON list.

    Attributes:
        file: the list, from the root.
        folders: where its paths may begin.
        read: question, choices and answer of a row.
        keeps: which rows are asked, of those whose recording is there.
        path: the field that holds the recording.
        within: the field of the file that holds the rows; "" if it is a list of them.
    """

    file: str
    folders: tuple[str, ...]
    read: Callable[[Row], tuple[str, tuple[str, ...], object]]
    keeps: Callable[[Row], bool] = lambda _: True
    path: str = "path"
    within: str = ""


def _lettered(row: Row) -> tuple[str, tuple[str, ...], object]:
    return str(row["question"]), _choices(row), row["answer_gt"]


def _choices(row: Row) -> tuple[str, ...]:
    texts = ["" if row.get(f"choice_{name}") is None else str(row[f"choice_{name}"]).strip() for name in "abcde"]
    while texts and not texts[-1]:
        texts.pop()
    return tuple(texts)


def _race(row: Row) -> tuple[str, tuple[str, ...], object]:
    return str(row["question"]), tuple(str(each).strip() for each in row["options"]), row["answer"]


def _desed(row: Row) -> tuple[str, tuple[str, ...], object]:
    choices = row["choices"]
    return str(row["question"]), tuple(str(choices[name]).strip() for name in sorted(choices)), row["answer_gt"]


def _gender(row: Row) -> tuple[str, tuple[str, ...], object]:
    return _GENDER, ("male", "female"), str(row["answer_gt"]).strip().lower()


def _is_complete(row: Row) -> bool:
    return all(row.get(name) is not None for name in ("question", "answer_gt"))


def _is_certain(row: Row) -> bool:
    about = str(row.get("person_id", "")).strip(), str(row.get("emotion_label", "")).lower()
    return _is_complete(row) and about not in _LEFT_OUT


_LISTS: Mapping[str, _List] = {
    "SER": _List("SLUE/merged_audio_data.json", ("SLUE",), _lettered),
    "SCR": _List("race_audio/race_benchmark.json", ("race_audio",), _race, path="audio_path"),
    "SED": _List(
        "DESED/DESED_dataset/concatenated_audio/desed_sound_event_detection_task.json",
        ("DESED/DESED_dataset/concatenated_audio",),
        _desed,
        within="tasks",
    ),
    "MC": _List(
        "GTZAN/concatenated_audio/music_genre_classification_meta.json",
        ("GTZAN/concatenated_audio/wav", "GTZAN/concatenated_audio"),
        _lettered,
        _is_complete,
    ),
    "ASC": _List(
        "TAU/concatenated_resampled/acoustic_scene_task_meta.json", ("TAU/concatenated_resampled",), _lettered
    ),
    "ER": _List("VESUS/audio_emotion_dataset.json", ("VESUS",), _lettered, _is_certain),
    "SAR": _List(
        "VoxCeleb/concatenated_audio/age_classification_task_meta.json",
        ("VoxCeleb/concatenated_audio/wav", "VoxCeleb/concatenated_audio"),
        _lettered,
    ),
    "SGR": _List(
        "VoxCeleb/concatenated_audio/gender_id_task_meta.json",
        ("VoxCeleb/concatenated_audio/wav", "VoxCeleb/concatenated_audio"),
        _gender,
    ),
}


@final
@dataclass(frozen=True)
class AudioMarathon(TaskBenchmark):
    """The ten tasks of "AudioMarathon" (arXiv 2510.07293).

    Questions with choices are asked as the evaluation asks any others: by likelihood, or listed with letters. For
    deepfakes and gender, where the scripts ask in words of their own, the question is this project's.

    Differs from the scripts: they tell each model the task in another wording and listing; folders of real and
    fake recordings are read in the order of names, so that the draw is the same everywhere; what the scripts only
    shuffle stays in the order of its list.

    Attributes:
        data: the folder that holds `SLUE`, `race_audio` and the others, or a data set of the hub.
        tasks: which of the ten; none takes all.
    """

    SCORERS: ClassVar[Mapping[str, Scorer]] = {
        "SER": F1(),
        "SCR": F1(),
        "ASR": UtteranceWER(),
        "SED": F1(),
        "MC": F1(),
        "ASC": F1(),
        "SD": F1("choices"),
        "ER": F1(),
        "SAR": F1("choices"),
        "SGR": F1("choices", "weighted"),
    }
    MEAN: ClassVar[bool] = True

    data: str | Path = "Hezep/AudioMarathon"

    @property
    @override
    def name(self) -> str:
        return "audiomarathon"

    @override
    def samples(self) -> Iterator[Sample]:
        tree = Tree(self.data)
        readers: dict[str, Callable[[Tree], Iterable[Sample]]] = {
            "ASR": _transcripts,
            "SD": _deepfakes,
            "SGR": _genders,
        }
        for task in self.chosen:
            yield from readers[task](tree) if task in readers else _listed(tree, task, _LISTS[task])


def balanced(first: list[Any], second: list[Any]) -> list[Any]:
    """As many of both, drawn and shuffled as the scripts do with seed 42."""
    draw = random.Random(SEED)
    least = min(len(first), len(second))
    first = draw.sample(first, least) if len(first) > least else first
    second = draw.sample(second, least) if len(second) > least else second
    both = first + second
    draw.shuffle(both)
    return both


def _listed(tree: Tree, task: str, about: _List) -> Iterator[Sample]:
    rows = _rows(tree, task, about)
    files = {path for folder in about.folders[-1:] for path in tree.find(folder)}
    found = {id(row): _recording(about, row, files) for row in rows}
    there = [row for row in rows if found[id(row)]]
    _check_there(tree, task, len(there), len(rows))
    places = {id(row): number for number, row in enumerate(rows, 1)}
    for row in there:
        if about.keeps(row):
            name = f"{task}/{places[id(row)]}"
            try:
                question, choices, answer = about.read(row)
            except (KeyError, TypeError, AttributeError) as error:
                raise DataError(f"Sample {name} is not as published ({error!r}); see '{about.file}'.") from error
            yield _sample(tree, task, name, found[id(row)], question, choices, _index(answer, choices, name))


def _genders(tree: Tree) -> list[Sample]:
    """As many men as women."""
    samples = list(_listed(tree, "SGR", _LISTS["SGR"]))
    men, women = ([each for each in samples if each.correct == right] for right in (0, 1))
    if not men or not women:
        raise DataError(f"The rows of SGR in '{tree.root}' are all of one answer_gt; expected Male and Female.")
    return balanced(men, women)


def _rows(tree: Tree, task: str, about: _List) -> list[Row]:
    if not tree.exists(about.file):
        raise DataError(f"'{tree.root}' has no '{about.file}' ({task}); name the tasks that are there by --task.")
    try:
        content = json.loads(tree.text(about.file))
        rows: list[Row] = content[about.within] if about.within else content
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"'{about.file}' is not as published ({error!r}).") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"'{about.file}' is not as published; expected a list of objects.")
    return rows


def _index(answer: object, choices: tuple[str, ...], name: str) -> int:
    """Which choice is meant: a letter, in any case, before a text."""
    letters = [letter(i) for i in range(len(choices))]
    said = str(answer).strip().upper()
    return letters.index(said) if said in letters else correct_index(answer, choices, name)


def _recording(about: _List, row: Row, files: set[str]) -> str:
    path = posixpath.normpath(str(row.get(about.path)).replace("\\", "/"))
    return next((f"{folder}/{path}" for folder in about.folders if f"{folder}/{path}" in files), "")


def _check_there(tree: Tree, task: str, there: int, listed: int, what: str = "") -> None:
    what = f"{what} {listed} recordings of {task}".strip()
    if not there:
        raise DataError(f"'{tree.root}' has none of the {what}; fetch them, or leave it out by --task.")
    if there < listed:
        warnings.warn(
            f"{listed - there} of the {what} are not in '{tree.root}' and are left out, as the benchmark's scripts"
            " do.",
            stacklevel=2,
        )


def _transcripts(tree: Tree) -> Iterator[Sample]:
    """The tree of LibriSpeech: speaker, chapter, recordings; `<recording>.txt`, or a line of `<..>.trans.txt`."""
    depth = len(_parts(_SPEECH)) + 3  # speaker, chapter, file
    paths = [path for path in tree.find(_SPEECH, (".flac",)) if len(_parts(path)) == depth]
    texts = set(tree.find(_SPEECH, (".txt",)))
    found = [(path, _transcript(tree, PurePosixPath(path), texts)) for path in sorted(paths, key=_parts)]
    _check_there(tree, "ASR", sum(bool(text) for _, text in found), len(found), "transcripts of the")
    for path, text in found:
        if text:
            yield Sample(
                id=f"ASR/{PurePosixPath(path).stem}",
                load=partial(tree.load, path),
                question=_TRANSCRIBE,
                recording=path,
                reference=text,
                task="ASR",
                max_new_tokens=ASR_TOKENS,
            )


def _transcript(tree: Tree, path: PurePosixPath, texts: set[str]) -> str:
    alone = str(path.with_suffix(".txt"))
    if alone in texts:
        return tree.text(alone).strip()
    chapter = str(path.parent / f"{path.parent.parent.name}-{path.parent.name}.trans.txt")
    if chapter not in texts:
        return ""
    lines = (line.strip().partition(" ") for line in tree.lines(chapter))
    return next((text.strip() for name, _, text in lines if name == path.stem), "")


def _deepfakes(tree: Tree) -> Iterator[Sample]:
    real, fake = (
        [path for path in tree.find(f"{_DEEPFAKE}/{name}", (".wav",)) if PurePosixPath(path).parent.name == name]
        for name in ("real", "fake")
    )
    if not real or not fake:
        raise DataError(f"'{tree.root}' has no recordings in '{_DEEPFAKE}/real' or none in 'fake' (SD).")
    for path in balanced(real, fake):
        right = 0 if PurePosixPath(path).parent.name == "real" else 1
        yield _sample(
            tree,
            "SD",
            f"SD/{PurePosixPath(path).parent.name}/{PurePosixPath(path).stem}",
            path,
            _AUTHENTIC,
            ("real", "fake"),
            right,
        )


def _sample(
    tree: Tree, task: str, name: str, path: str, question: str, choices: Sequence[str], correct: int
) -> Sample:
    return Sample(name, partial(tree.load, path), question, tuple(choices), correct, recording=path, task=task)


def _parts(path: str) -> tuple[str, ...]:
    return PurePosixPath(path).parts
