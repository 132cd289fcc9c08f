"""Recipes: how each stage of training is run, from files and from options."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from auricle.errors import OptionError
from auricle.summarization.intervals import Boundaries
from auricle.summarization.layout import Placement, Silence
from auricle.summarization.summarizer import INTERVAL
from auricle.training import align, compress, instruct
from auricle.training.loop import Schedule


@dataclass(frozen=True)
class AlignRecipe:
    """How the connector is trained.

    Attributes:
        shards: how many of the recordings' shards are heard; None hears all.
        schedule: how long and how fast.
    """

    shards: int | None = None
    schedule: Schedule = align.SCHEDULE

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            OptionError: one of them is too small.
        """
        _at_least(self, shards=1)


@dataclass(frozen=True)
class InstructRecipe:
    """How the LoRA is trained.

    Attributes:
        shards: how many of the recordings' shards are heard; None hears all.
        read: passes over the written talks to read, as a perfect ear would hear them, among what is heard.
        invented: talks of the grammar to read besides.
        rank: of the LoRA on all linear layers.
        start: folder of a LoRA of this rank to go on from; empty begins anew.
        model: "mini", or what `auricle.load` takes.
        schedule: how long and how fast.
    """

    shards: int | None = None
    read: int = 1
    invented: int = 0
    rank: int = 32
    start: str = ""
    model: str = "mini"
    schedule: Schedule = instruct.SCHEDULE

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            OptionError: one of them is too small.
        """
        _at_least(self, shards=1, read=0, invented=0, rank=1)


@dataclass(frozen=True)
class CompressRecipe:
    """How Speech Summarization Tokens are trained.

    Attributes:
        shards: how many of the recordings' shards are heard; None hears all.
        read: passes over the written talks to read, among what is heard.
        rank: of the SSTs' projections; None copies the LLM's whole.
        curriculum: the ratios of each phase, of which one is drawn for each interval.
        mixed: False draws one for each recording instead.
        interval: speech tokens of an interval, at most.
        boundaries: "fixed" or "dynamic".
        placement: of the SSTs in an interval: "recall", "anchor", "interleave", "end" or "pool".
        silence: "skip" or "read".
        model: "mini", or what `auricle.load` takes.
        schedule: how long, shared by the phases, and how fast.
    """

    shards: int | None = None
    read: int = 1
    rank: int | None = None
    curriculum: tuple[tuple[int, ...], ...] = compress.CURRICULUM
    mixed: bool = True
    interval: int = INTERVAL
    boundaries: Boundaries = "fixed"
    placement: Placement = "recall"
    silence: Silence = "skip"
    model: str = "mini"
    schedule: Schedule = compress.SCHEDULE

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            OptionError: one of them is too small.
        """
        _at_least(self, shards=1, read=0, rank=1, interval=1)
        if not self.curriculum or not all(self.curriculum) or min(map(min, self.curriculum)) < 1:
            raise OptionError(f"The curriculum is {self.curriculum}; expected ratios of at least 1 for each phase.")


Recipe = TypeVar("Recipe", AlignRecipe, InstructRecipe, CompressRecipe)


def recipe(kind: type[Recipe], config: Path | None, given: Mapping[str, Any]) -> Recipe:
    """A recipe from a file, as far as one is given, and from options, which come first.

    Args:
        kind: of recipe.
        config: JSON with any of the recipe's fields and of its schedule's, such as the `align.json` of a run.
        given: the same fields; what is None is not given.

    Raises:
        OptionError: the file cannot be read, or a field is unknown or out of range.
    """
    values: dict[str, Any] = {}
    if config:
        try:
            read = json.loads(config.read_text())
            timing = read.pop("schedule", {})
            values = {**read, **timing}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise OptionError(f"'{config}' is no recipe ({error}); expected a JSON object.") from error
    values |= {name: value for name, value in given.items() if value is not None}
    if "curriculum" in values:
        values["curriculum"] = _curriculum(values["curriculum"])
    default = kind()
    schedule = {name: values.pop(name) for name in _names(Schedule) if name in values}
    if unknown := set(values) - _names(kind):
        known = ", ".join(sorted(_names(kind) | _names(Schedule) - {"schedule"}))
        raise OptionError(f"The recipe has no '{min(unknown)}'; expected some of {known}.")
    hints = get_type_hints(kind)
    for name, value in {**values, **schedule}.items():
        like = getattr(default.schedule if name in schedule else default, name)
        wanted = (int, float) if name in ("epochs", "learning_rate") else int if like is None else type(like)
        fits = isinstance(value, wanted) and isinstance(value, bool) == isinstance(like, bool)
        if not fits and not (value is None and like is None):
            example = 1 if like is None else like
            raise OptionError(f"The recipe's {name} is {value!r}; expected something like {example!r}.")
        if get_origin(hints.get(name)) is Literal and value not in (among := get_args(hints[name])):
            raise OptionError(f"The recipe's {name} is {value!r}; expected one of {', '.join(among)}.")
    return replace(default, **values, schedule=replace(default.schedule, **schedule))


def _curriculum(given: Any) -> tuple[tuple[int, ...], ...]:  # noqa: ANN401 - what a file says
    """The curriculum as it is in Python, from lists or from what it already is."""
    lists = isinstance(given, (list, tuple)) and all(isinstance(phase, (list, tuple)) for phase in given)
    if not lists or not all(type(ratio) is int for phase in given for ratio in phase):
        raise OptionError(
            f"The recipe's curriculum is {given!r}; expected a list of whole ratios for each phase, such as"
            " [[2, 4], [8]]."
        )
    return tuple(map(tuple, given))


def _at_least(given: AlignRecipe | InstructRecipe | CompressRecipe, **least: int) -> None:
    for name, value in least.items():
        found = getattr(given, name)
        if found is not None and found < value:
            raise OptionError(f"{name} is {found}; expected at least {value}.")


def _names(kind: type[Any]) -> set[str]:
    return {each.name for each in fields(kind)}
