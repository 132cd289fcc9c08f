"""What benchmarks of several tasks share: the choice of tasks, and what is said of a set that stands in for one."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from typing_extensions import override

from auricle.benchmarks.base import Benchmark
from auricle.benchmarks.tree import Tree
from auricle.errors import DataError
from auricle.evaluation.scorers.base import Scorer
from auricle.registry import unknown_name

FIXTURE = "fixture.json"  # in the root of a set that `auricle benchmarks fixture` built


def chosen(tasks: tuple[str, ...], scorers: Mapping[str, Scorer]) -> tuple[str, ...]:
    """The tasks by name, in the order of the benchmark; all if none is named.

    Raises:
        UnknownNameError: there is no such task.
    """
    for task in tasks:
        if task not in scorers:
            raise unknown_name(task, list(scorers), "task")
    return tuple(task for task in scorers if not tasks or task in tasks)


@dataclass(frozen=True)
class TaskBenchmark(Benchmark):
    """A benchmark of several tasks, whose files lie in one tree.

    Attributes:
        data: the root of its files.
        tasks: which are asked; none takes all.
    """

    data: str | Path
    tasks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Checks the tasks.

        Raises:
            UnknownNameError: there is no such task.
        """
        chosen(self.tasks, self.SCORERS)

    @property
    def chosen(self) -> tuple[str, ...]:
        """The tasks that are asked, in the order of the benchmark."""
        return chosen(self.tasks, self.SCORERS)

    @property
    @override
    def note(self) -> str:
        return note_of(Tree(self.data))


def note_of(tree: Tree) -> str:
    """What a set says of itself; nothing if it is the benchmark.

    Raises:
        DataError: its file is damaged.
    """
    if not tree.exists(FIXTURE):
        return ""
    try:
        return str(json.loads(tree.text(FIXTURE))["note"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"'{FIXTURE}' of '{tree.root}' is damaged ({error!r}); build the set again.") from error
