"""`auricle eval`, `score`, `report`: answers into a log, a log into figures, logs into a page."""

import json
from dataclasses import asdict
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from auricle.cli.memory import BoundariesName, Ratios, Sst
from auricle.cli.options import Device, Dtype, Json, Model, TrustRemoteCode, check_model, load_options

evaluation_app = typer.Typer()


class ProtocolName(StrEnum):
    """How an answer is had."""

    loglikelihood = "loglikelihood"
    generate = "generate"


Runs = Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders of 'auricle eval --output'.")]


@evaluation_app.command("eval")
def eval_command(
    benchmark: Annotated[str, typer.Argument(metavar="BENCHMARK", help="See 'auricle benchmarks'.")],
    *,
    output: Annotated[Path, typer.Option(help="Where the log goes; a run that was killed goes on there.")],
    data: Annotated[
        str | None, typer.Option(help="A folder or file, or a hub id; needed unless the benchmark has one.")
    ] = None,
    model: Model = "mini",
    pruner: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="See 'auricle pruners'; give several to compare.")
    ] = None,
    pruning_rate: Annotated[list[float] | None, typer.Option(help="0 to 1; give several.")] = None,
    summarize: Ratios = None,
    compose: Annotated[bool, typer.Option("--compose", help="Also summarize what each pruner leaves.")] = False,
    sst: Sst = None,
    boundaries: Annotated[
        list[BoundariesName] | None,
        typer.Option(help="Of Speech-XL's intervals; give both to compare; as trained by default."),
    ] = None,
    protocol: Annotated[
        ProtocolName, typer.Option(help="Likelihood of every choice, or a generated letter.")
    ] = ProtocolName.loglikelihood,
    permute: Annotated[
        int, typer.Option(min=0, help="In how many orders choices are listed; 0: as published, 4: all letters.")
    ] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Ask the first samples only.")] = None,
    longer_than: Annotated[
        float | None, typer.Option(help="Seconds; leave shorter recordings out (dream-tts, cn-college-listen).")
    ] = None,
    baselines: Annotated[
        bool, typer.Option(help="Ask without speech, the transcript, the first 30 s and everything, too.")
    ] = True,
    seed: Annotated[int, typer.Option(min=0, help="Of the orders, and of methods that draw at random.")] = 0,
    processes: Annotated[int, typer.Option(min=1, help="Each with a model of its own.")] = 1,
    dtype: Dtype = None,
    device: Device = None,
    trust_remote_code: TrustRemoteCode = False,
    as_json: Json = False,
) -> None:
    """Ask a model every question of a benchmark, by several methods; each recording is encoded once."""
    from auricle import registry
    from auricle.cli import show
    from auricle.errors import DataError
    from auricle.evaluation.launch import Job, launch
    from auricle.evaluation.methods import baselines as all_baselines
    from auricle.evaluation.methods import methods, summarizations
    from auricle.evaluation.run import Plan

    check_model(model)
    options: dict[str, Any] = {"data": data, "longer_than": longer_than}
    options = {name: value for name, value in options.items() if value is not None}
    samples = registry.benchmark(benchmark, **options).samples()
    first = next(samples, None)
    if first is None:
        raise DataError(f"The benchmark '{benchmark}' has no samples with these options; look at --data.")
    total = 1 + sum(1 for _ in islice(samples, None if limit is None else limit - 1))
    default = () if summarize else ("speechprune",)
    chosen = methods(pruner or default, pruning_rate or [0.6], seed)
    chosen += summarizations(
        summarize or (), chosen if compose else (), tuple(each.value for each in boundaries or ())
    )
    if baselines:
        known = {method.name for method in chosen}
        there = [each for each in all_baselines() if each.reads != "transcript" or first.transcript]
        chosen = (*(each for each in there if each.name not in known), *chosen)
    plan = Plan(chosen, protocol.value, permute, seed, limit)
    with show.progress("Asking") as listen:
        launch(
            Job(model, benchmark, plan, output, load_options(dtype, device, trust_remote_code), options, sst),
            processes,
            lambda done: listen(done, total),
        )
    _show(output, as_json)


@evaluation_app.command("score")
def score_command(folder: Annotated[Path, typer.Argument(metavar="DIR")], as_json: Json = False) -> None:
    """Score the log of an evaluation again, without a model."""
    _show(folder, as_json)


@evaluation_app.command("report")
def report_command(
    folders: Runs,
    output: Annotated[Path, typer.Option(help="Folder for report.html and report.md.")] = Path("report"),
) -> None:
    """Make one page, and Markdown, of the logs of several evaluations."""
    from auricle.evaluation.report import write

    write(folders, output)
    typer.echo(f"{output / 'report.html'}\n{output / 'report.md'}")


@evaluation_app.command("benchmarks")
def benchmarks_command() -> None:
    """List the benchmarks."""
    from auricle import registry
    from auricle.cli import show

    show.pruners({name: registry.benchmark_class(name) for name in registry.benchmark_names()})


def _show(folder: Path, as_json: bool) -> None:
    from auricle.evaluation.metrics import by_method
    from auricle.evaluation.report import markdown, result, section

    scored = result(folder)
    if as_json:
        rows = [asdict(row) for row in scored.rows]
        counts = {name: len(those) for name, those in by_method(scored.records).items()}
        typer.echo(json.dumps({"run": asdict(scored.run), "answers": counts, "rows": rows}, allow_nan=False))
    else:
        typer.echo(markdown([section(scored)]))
