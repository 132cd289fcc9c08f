"""Any set of one's own: JSON lines of audio, question, choices and answer."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from string import ascii_uppercase
from typing import Any, final

from typing_extensions import override

from auricle import audio
from auricle.benchmarks.base import Benchmark, Sample
from auricle.benchmarks.spiral import records, set_file
from auricle.errors import DataError
from auricle.questions import letter
from auricle.spiral.schema import bare


@final
@dataclass(frozen=True)
class Jsonl(Benchmark):
    """One JSON object a line: `audio` (a file, relative to the set), `question`, `choices`, `answer`.

    `choices` is a list, with or without letters; `answer` is the right choice's text, its letter, or its index from
    0. Optional: `id` (else the line's number), `evidence` ([[start, end], ...] in seconds), `transcript`, and
    `groups` (an object of strings).

    Attributes:
        data: the file.
    """

    data: str | Path

    @property
    @override
    def name(self) -> str:
        return Path(self.data).stem

    @override
    def samples(self) -> Iterator[Sample]:
        file = set_file(Path(self.data))
        for number, record in enumerate(records(file), 1):
            try:
                yield _sample(record, str(record.get("id", number)), file.parent)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise DataError(
                    f"Sample {record.get('id', number)} of '{self.data}' lacks or misuses a field ({error!r});"
                    " expected audio, question, choices and answer."
                ) from error


def _sample(record: Mapping[str, Any], name: str, folder: Path) -> Sample:
    if not isinstance(record["choices"], list):
        raise TypeError("choices are no list")
    choices = bare([str(choice) for choice in record["choices"]])
    return Sample(
        id=name,
        load=partial(audio.load, folder / record["audio"]),
        question=str(record["question"]),
        choices=choices,
        correct=correct_index(record["answer"], choices, name),
        recording=str(record["audio"]),
        evidence=tuple((float(start), float(end)) for start, end in record.get("evidence", ())),
        transcript=str(record.get("transcript") or ""),
        groups={str(key): str(value) for key, value in record.get("groups", {}).items()},
    )


def correct_index(answer: object, choices: tuple[str, ...], name: str) -> int:
    """Which choice is meant: by index, by text, by letter, or by letter and text.

    Raises:
        DataError: none, or more than one.
    """
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(choices):
        return answer
    given = str(answer).strip()
    found = [i for i, choice in enumerate(choices) if choice == given]
    if not found and given.strip("(). ") in tuple(ascii_uppercase[: len(choices)]):
        found = [ascii_uppercase.index(given.strip("(). "))]
    found = found or [i for i, choice in enumerate(choices) if given in _lettered(letter(i), choice)]
    if len(found) != 1:
        raise DataError(f"The answer of sample {name} is {answer!r}; it is not one of the choices {list(choices)}.")
    return found[0]


def _lettered(name: str, choice: str) -> tuple[str, ...]:
    return f"{name}. {choice}", f"({name}) {choice}", f"{name}) {choice}", f"{name}: {choice}"
