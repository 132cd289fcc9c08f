"""Figures that others have published, each with its source; numbers only."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import numpy as np


@dataclass(frozen=True)
class Published:
    """A row of somebody's table.

    Attributes:
        name: of the model.
        values: main figures by task, in percent; tasks that are not known are not there.
        mean: of the tasks as it was published; None if it was not.
        source: where the row stands.
    """

    name: str
    values: Mapping[str, float]
    mean: float | None
    source: str


@lru_cache
def published(benchmark: str) -> tuple[Published, ...]:
    """The rows that are known of a benchmark; none of most."""
    text = (files("auricle.benchmarks") / "published.json").read_text(encoding="utf-8")
    stored = json.loads(text).get(benchmark)
    if stored is None:
        return ()
    found = []
    for name, source, values, mean in stored["rows"]:
        by_task = values if isinstance(values, dict) else dict(zip(stored["columns"], values, strict=True))
        found.append(Published(name, by_task, mean, stored["sources"][source]))
    return tuple(found)


def mean_of_tasks(values: Mapping[str, float | None], tasks: tuple[str, ...]) -> float | None:
    """The unweighted mean of the tasks' main figures; None unless there is one of each."""
    there = [values.get(task) for task in tasks]
    return None if not there or None in there else float(np.mean([value for value in there if value is not None]))
