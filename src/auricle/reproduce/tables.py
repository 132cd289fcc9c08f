"""Tables 1 and 2."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from auricle.evaluation import metrics
from auricle.evaluation.log import Record
from auricle.evaluation.methods import Method, methods
from auricle.evaluation.report import Result, result
from auricle.evaluation.table import Table
from auricle.profiling import Row
from auricle.reproduce.paper import NAMES, RATES, TABLE1_ACCURACY, TABLE1_COST, TABLE2, TABLE2_RATE

COMPARED = ("random-pieces", "random-crop", "speechprune")


def table1_methods(seed: int = 0) -> tuple[Method, ...]:
    """Original, everything, and three methods at the paper's four rates."""
    return methods(["first30", "full", *COMPARED], RATES, seed)


def table1(scored: Result, costs: Sequence[Row]) -> Table:
    """Table 1: accuracy on the set and on its hard part, and cost, beside the paper's.

    Args:
        scored: a run with `table1_methods`.
        costs: of prompts with all speech, with 30 s, and at each rate, from `auricle.profiling`.
    """
    mine = metrics.of(scored.records, [each.name for each in table1_methods()])  # Figure 3 may share the log
    hard = metrics.by_method(metrics.hard(mine))
    everything = metrics.by_method(mine)
    cost = {_rate_of(row): row for row in costs}
    lines: list[tuple[str, ...]] = []
    for name, records in everything.items():
        base, rate = _split(name, records)
        row = cost.get(None if base == "full" else rate)
        accuracy = metrics.row(name, records)
        lines.append(
            (
                NAMES.get(base, base),
                "" if base in ("full", "first30") else f"{rate:g}",
                *_costs(row),
                _percent(accuracy.accuracy),
                _percent(metrics.row(name, hard[name]).accuracy) if name in hard else "",
                "" if accuracy.recall is None else f"{100 * accuracy.recall.value:.1f}",
                *_paper(base, rate),
            )
        )
    header: tuple[str, ...] = (
        "method",
        "PR",
        "TFLOPs",
        "prefill ms",
        "memory GB",
        "activations GB",
        "accuracy %",
        "hard part %",
    )
    header += ("evidence kept %", "paper: accuracy %", "paper: hard part %", "paper: TFLOPs", "paper: prefill ms")
    count = len({record.sample for records in hard.values() for record in records})
    chance = 100 * sum(1 / len(each.choices) for each in scored.samples) / len(scored.samples)
    note = (
        f"{len(scored.samples)} samples; the hard part are the {count} that Original gets wrong; chance is"
        f" {chance:.1f} %. Costs are those of the first recording. The paper's columns are Qwen2-Audio's (on a"
        " Quadro RTX6000); its 'Original' is the first 30 s, and it has no row for all windows."
    )
    return Table(f"Table 1, {scored.run.model} on {scored.run.benchmark}", header, tuple(lines), note)


def table2_methods(rate: float) -> tuple[Method, ...]:
    """Original and SpeechPrune at one rate."""
    return methods(["first30", "full", "speechprune"], [rate])


def table2(folders: Sequence[Path]) -> Table:
    """Table 2: benchmarks by models, Original and SpeechPrune, beside the paper's.

    Args:
        folders: of runs with `table2_methods`, one for each model and benchmark.
    """
    lines = []
    for folder in folders:
        scored = result(folder)
        by_method = metrics.by_method(scored.records)
        for name, records in by_method.items():
            base, _ = _split(name, records)
            against = "" if base == "first30" else _gain(records, by_method.get("first30"))
            lines.append(
                (
                    scored.run.model,
                    scored.run.benchmark,
                    NAMES.get(base, base) + ("" if base != "speechprune" else f" {records[0].pruning_rate:g}"),
                    _percent(metrics.row(name, records).accuracy),
                    against,
                    *(_paper2(model, scored.run.benchmark, base, records) for model in TABLE2),
                )
            )
    header = (
        "model",
        "benchmark",
        "method",
        "accuracy %",
        "gain over Original, points",
        *map("paper: {} %".format, TABLE2),
    )
    return Table("Table 2", header, tuple(lines))


def _gain(records: Sequence[Record], original: Sequence[Record] | None) -> str:
    found = metrics.difference(records, original) if original else None
    if found is None:
        return ""
    each = found.difference
    return f"{100 * each.value:+.1f} ({100 * each.low:+.1f} to {100 * each.high:+.1f}), p = {found.p:.3f}"


def _paper2(model: str, benchmark: str, base: str, records: Sequence[Record]) -> str:
    """The paper's figure, where it has one for this rate."""
    known: Mapping[str, tuple[float, float]] = TABLE2[model]
    if benchmark not in known or base == "full" or records[0].pruning_rate not in (None, TABLE2_RATE[model]):
        return ""
    return f"{known[benchmark][0 if base == 'first30' else 1]:.2f}"


def _split(name: str, records: Sequence[Record]) -> tuple[str, float]:
    """A method's registered name and its rate, which is 0 where it has none."""
    rate = records[0].pruning_rate
    return (name, 0.0) if rate is None else (name.rsplit(" ", 1)[0], rate)


def _rate_of(row: Row) -> float | None:
    """The rate whose token count a profiled row has; None for the whole recording."""
    if row.method == "full":
        return None
    return row.pruning_rate or 0.0


def _costs(row: Row | None) -> tuple[str, str, str, str]:
    if row is None:
        return "", "", "", ""
    return (
        f"{row.tflops_formula:.3g}",
        f"{1000 * row.prefill.seconds:.0f}" if row.prefill else "too long",
        f"{row.memory_formula.total / 1e9:.3f}",
        f"{row.memory_formula.activations / 1e9:.4f}",
    )


def _paper(base: str, rate: float) -> tuple[str, str, str, str]:
    if (base, rate) not in TABLE1_ACCURACY:
        return "", "", "", ""
    whole, hard = TABLE1_ACCURACY[base, rate]
    cost = TABLE1_COST[rate]
    return f"{whole:.2f}", f"{hard:.2f}", f"{cost.tflops:g}", f"{cost.prefill_ms:g}"


def _percent(estimate: metrics.Estimate) -> str:
    return f"{100 * estimate.value:.1f} ({100 * estimate.low:.1f} to {100 * estimate.high:.1f})"
