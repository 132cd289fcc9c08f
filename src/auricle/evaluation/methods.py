"""What is compared: pruners at their rates, and the baselines that every result stands beside."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from auricle import registry
from auricle.pruning.base import Pruner, check_before
from auricle.summarization.asking import NAME
from auricle.summarization.intervals import Boundaries

Reads = Literal["speech", "transcript", "nothing"]


@dataclass(frozen=True)
class Method:
    """A row of a results table.

    Attributes:
        name: unique in a run, such as "speechprune 0.4".
        reads: "speech" that `pruner` pruned; the true "transcript" as text, in the place of the speech (the ceiling
            of hearing); or "nothing" but the question.
        pruner: for speech.
        compression_ratio: of a summarization of the speech that the pruner leaves, or of all if there is none; the
            LLM reads its memory.
        boundaries: of the summarization's intervals; None: as its SSTs were trained.
    """

    name: str
    reads: Reads = "speech"
    pruner: Pruner | None = None
    compression_ratio: int | None = None
    boundaries: Boundaries | None = None

    @property
    def pruning_rate(self) -> float | None:
        """Fraction removed; None for methods without a rate."""
        return getattr(self.pruner, "pruning_rate", None)


def baselines() -> tuple[Method, ...]:
    """Question alone, true transcript, the first 30 s, and the whole recording."""
    return (
        Method("text-free", "nothing"),
        Method("transcript", "transcript"),
        Method("first30", pruner=registry.pruner("first30")),
        Method("full", pruner=registry.pruner("full")),
    )


def methods(pruners: Sequence[str], rates: Sequence[float], seed: int = 0) -> tuple[Method, ...]:
    """Every pruner at every rate; those without a rate once.

    Raises:
        UnknownNameError: there is no such pruner.
        OptionError: a rate is outside 0..1.
    """
    found: dict[str, Method] = {}
    for name in pruners:
        for rate in rates:
            pruner = registry.pruner(name, pruning_rate=rate, seed=seed)
            has_rate = hasattr(pruner, "pruning_rate")
            full_name = f"{name} {rate:g}" if has_rate else name
            found.setdefault(full_name, Method(full_name, pruner=pruner))
    return tuple(found.values())


def summarizations(
    ratios: Sequence[int], pruned: Sequence[Method] = (), boundaries: Sequence[Boundaries] = ()
) -> tuple[Method, ...]:
    """Speech-XL at every ratio, of all speech and of what each of the pruned methods leaves.

    Args:
        ratios: speech tokens per SST.
        pruned: methods whose speech is summarized, too.
        boundaries: ways to cut intervals, which are all tried and named; none: as the SSTs were trained.

    Raises:
        OptionError: a method drops speech inside the LLM, which leaves nothing to summarize.
    """
    for method in pruned if ratios else ():
        if method.pruner is not None:
            check_before(method.pruner.layer)
    found = []
    for before in (None, *pruned):
        for ratio in ratios:
            for cut in boundaries or (None,):
                name = f"{NAME} {ratio}{f' {cut}' if cut else ''}"
                whole = f"{before.name} + {name}" if before else name
                found.append(
                    Method(whole, pruner=before.pruner if before else None, compression_ratio=ratio, boundaries=cut)
                )
    return tuple(found)
