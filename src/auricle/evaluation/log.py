"""The log of a run: what is asked of whom (`run.json`), and a record an answer (`log-*.jsonl`), flushed as it goes.

A kill loses at most the sample that was being answered. Several processes write a file each.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TextIO

from auricle.errors import DataError, OptionError
from auricle.files import write_json

VERSION = 1
Protocol = Literal["loglikelihood", "generate"]
Key = tuple[str, str, tuple[int, ...]]  # sample, method, order


@dataclass(frozen=True)
class Run:
    """What all records of a log have in common.

    Attributes:
        model: the Speech LLM's name.
        benchmark: its name.
        data: where its data came from.
        protocol: how an answer is had.
        permute: in how many orders the choices of a sample are listed; 0 is the published order.
        seed: of the orders, and of methods that draw at random.
        options: further options of the benchmark.
        weights: which of the model's weights answered, and in which number format; "" where it does not say.
        note: what every report has to say about the data.
        version: of this format.
    """

    model: str
    benchmark: str
    data: str
    protocol: Protocol
    permute: int = 0
    seed: int = 0
    options: Mapping[str, str] = field(default_factory=dict)
    weights: str = ""
    note: str = ""
    version: int = VERSION


@dataclass(frozen=True)
class Record:
    """One answer, with all that scoring it needs.

    Attributes:
        sample: its id.
        recording: the cluster it belongs to.
        method: what was read (`Method.name`).
        choices: in the published order; none for an open question.
        correct: index of the right one; -1 for an open question.
        order: in which the choices were listed: `order[0]` is the index of the choice called A.
        answer: what was generated; "" by log-likelihood.
        task: of a benchmark that has several.
        question: what was asked, if it was open.
        reference: what an open answer is scored against.
        verdict: of a judge (`auricle.evaluation.judge`), which keeps its verdicts beside the log.
        loglikelihoods: of every choice, in the published order, in nats.
        prior: the same without speech.
        pruning_rate: of the method, where it has one.
        audio_tokens: speech tokens of the whole recording.
        kept_tokens: those that the LLM read.
        recall: share of the evidence's tokens that was kept; None where the evidence is not known.
        position: of the evidence's middle in the recording, 0 to 1; None where it is not known.
        seconds: wall time of "encode" (once per recording), "prune" and "answer".
        groups: what results are broken down by.
        error: why there is no answer; "" if there is one.
    """

    sample: str
    recording: str
    method: str
    choices: tuple[str, ...]
    correct: int
    order: tuple[int, ...]
    answer: str = ""
    loglikelihoods: tuple[float, ...] = ()
    prior: tuple[float, ...] = ()
    pruning_rate: float | None = None
    audio_tokens: int = 0
    kept_tokens: int = 0
    recall: float | None = None
    position: float | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)
    error: str = ""
    task: str = ""
    question: str = ""
    reference: str = ""
    verdict: str = ""

    @property
    def key(self) -> Key:
        """What tells it from all others of a log."""
        return self.sample, self.method, self.order


class Log:
    """Appends records to a file of a run's folder; use it in a `with` block."""

    def __init__(self, folder: Path, run: Run, part: int = 0) -> None:
        """Opens the log for writing.

        Args:
            folder: of the run; made if it is not there.
            run: what is asked; has to be what the folder was begun with.
            part: number of the process that writes.

        Raises:
            OptionError: the folder holds the log of another run, or another process writes this file.
            DataError: the folder's log is damaged.
        """
        begin(folder, run)
        path = folder / f"log-{part}.jsonl"
        self._file = path.open("a", encoding="utf-8")
        _lock(self._file, path)
        cut_torn_line(path)
        self.done = answered(folder)

    def write(self, *records: Record) -> None:
        """Appends records and has them on the disk when it returns."""
        for record in records:
            self._file.write(json.dumps(asdict(record), ensure_ascii=False, allow_nan=False) + "\n")
            self.done.add(record.key)
        self._file.flush()
        os.fsync(self._file.fileno())

    def __enter__(self) -> "Log":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def begin(folder: Path, run: Run) -> None:
    """Writes `run.json`, or checks that it is the same.

    Raises:
        OptionError: the folder holds the log of another run; what differs is named.
    """
    if not (folder / "run.json").exists():
        write_json(folder / "run.json", asdict(run))
        return
    there = read_run(folder)
    different = [name for name, value in asdict(run).items() if asdict(there)[name] != value]
    if different:
        was = ", ".join(f"{name} {asdict(there)[name]!r}" for name in different)
        raise OptionError(
            f"The folder '{folder}' holds a run with {was}; go on with the same or name another folder."
        )


def read_run(folder: Path) -> Run:
    """What the folder's run is.

    Raises:
        DataError: there is none, or one of another version.
    """
    path = folder / "run.json"
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        run = Run(**stored)
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"'{folder}' holds no run of 'auricle eval' ({error}).") from error
    if run.version != VERSION:
        raise DataError(f"'{path}' has version {run.version} of the log's format; this auricle reads {VERSION}.")
    return run


def read(folder: Path) -> Iterator[Record]:
    """All records of a folder, one of each key: an answer rather than an error, else the last one.

    The last line of a file may be torn by a kill and is left out then.

    Raises:
        DataError: any other line is damaged.
    """
    found: dict[Key, Record] = {}
    for path in sorted(folder.glob("log-*.jsonl")):
        lines = path.read_bytes().split(b"\n")
        for number, line in enumerate(lines[:-1], 1):  # what stands behind the last line break is torn
            record = _record(line, path, number)
            if not record.error or found.get(record.key, record).error:
                found[record.key] = record
    yield from found.values()


def answered(folder: Path) -> set[Key]:
    """What need not be asked again; what could not be answered is: the recording may be there now.

    Raises:
        DataError: as for `read`.
    """
    return {record.key for record in read(folder) if not record.error}


def _record(line: bytes, path: Path, number: int) -> Record:
    try:
        stored: dict[str, Any] = json.loads(line)
        lists = {name: tuple(value) for name, value in stored.items() if isinstance(value, list)}
        return Record(**(stored | lists))
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(f"Line {number} of '{path}' is damaged ({error}); remove that line.") from error


def _lock(file: TextIO, path: Path) -> None:
    """Keeps other processes from writing the file until it is closed, where the system has such locks."""
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise OptionError(f"Another process writes '{path}'; wait for it, or name another folder.") from error


def cut_torn_line(path: Path) -> None:
    """Removes what stands behind the last line break of a file, if there is one."""
    if path.exists():
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with path.open("rb+") as file:
                file.truncate(whole)
