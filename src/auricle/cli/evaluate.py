"""`auricle eval`, `judge`, `score`, `report`, `benchmarks`: answers into a log, a log into figures and pages."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, no_type_check

import typer

from auricle.cli.evaluation_options import (
    AsPublished,
    Benchmark,
    Boundaries,
    Compose,
    Data,
    Limit,
    LongerThan,
    MaxNewTokens,
    Output,
    Permute,
    Processes,
    ProtocolName,
    ProtocolOption,
    Pruners,
    Rates,
    Runs,
    Seed,
    Task,
)
from auricle.cli.memory import Ratios, Sst
from auricle.cli.options import Device, Dtype, Json, Model, Ray, TrustRemoteCode, check_model, load_options
from auricle.cli.spiral import Endpoint, KeyVariable, LlmDevice, Local, Retries, Timeout

if TYPE_CHECKING:
    from auricle.evaluation.launch import Job

evaluation_app = typer.Typer()
benchmarks_app = typer.Typer()


@evaluation_app.command("eval")
def eval_command(
    benchmark: Benchmark,
    *,
    output: Output,
    data: Data = None,
    model: Model = "mini",
    pruner: Pruners = None,
    pruning_rate: Rates = None,
    summarize: Ratios = None,
    compose: Compose = False,
    sst: Sst = None,
    boundaries: Boundaries = None,
    protocol: ProtocolOption = ProtocolName.loglikelihood,
    permute: Permute = 0,
    task: Task = None,
    limit: Limit = None,
    max_new_tokens: MaxNewTokens = None,
    longer_than: LongerThan = None,
    baselines: Annotated[
        bool, typer.Option(help="Ask without speech, the transcript, the first 30 s and everything, too.")
    ] = True,
    seed: Seed = 0,
    processes: Processes = 1,
    ray: Ray = None,
    dtype: Dtype = None,
    device: Device = None,
    trust_remote_code: TrustRemoteCode = False,
    as_published: AsPublished = False,
    as_json: Json = False,
) -> None:
    """Ask a model every question of a benchmark by several methods, for which a recording is encoded once."""
    from auricle.evaluation.launch import Job
    from auricle.evaluation.methods import baselines as all_baselines
    from auricle.evaluation.methods import methods, summarizations
    from auricle.evaluation.run import Plan

    options = _benchmark_options(data, longer_than, task)
    default = () if summarize else ("speechprune",)
    chosen = methods(pruner or default, pruning_rate or [0.6], seed)
    chosen += summarizations(
        summarize or (), chosen if compose else (), tuple(each.value for each in boundaries or ())
    )
    if baselines:
        known = {method.name for method in chosen}
        chosen = (*(each for each in all_baselines() if each.name not in known), *chosen)
    plan = Plan(chosen, protocol.value, permute, seed, limit, max_new_tokens)
    load = load_options(dtype, device, trust_remote_code)
    _ask(Job(model, benchmark, plan, output, load, options, sst), processes, ray)
    _show(output, as_published, as_json)


@evaluation_app.command("compare")
def compare_command(
    benchmark: Benchmark,
    *,
    output: Output,
    data: Data = None,
    model: Model = "mini",
    pruner: Pruners = None,
    pruning_rate: Rates = None,
    summarize: Ratios = None,
    compose: Compose = False,
    sst: Sst = None,
    protocol: ProtocolOption = ProtocolName.loglikelihood,
    permute: Permute = 0,
    task: Task = None,
    limit: Limit = None,
    max_new_tokens: MaxNewTokens = None,
    longer_than: LongerThan = None,
    seed: Seed = 0,
    processes: Processes = 1,
    ray: Ray = None,
    dtype: Dtype = None,
    device: Device = None,
    trust_remote_code: TrustRemoteCode = False,
    as_json: Json = False,
) -> None:
    """Compare methods at several rates on a benchmark: evidence kept, accuracy, cost, and a Pareto plot.

    All pruners at the rates 0, 0.6 and 0.8, unless others are asked for. Tasks of a benchmark that has several are
    compared one by one, by the main figure of each. The log is that of 'auricle eval'; beside it stand compare.html
    and compare.md.
    """
    from auricle import registry
    from auricle.evaluation.compare import as_rows, comparisons, write
    from auricle.evaluation.launch import Job
    from auricle.evaluation.methods import methods, summarizations
    from auricle.evaluation.report import markdown, result
    from auricle.evaluation.run import Plan

    options = _benchmark_options(data, longer_than, task)
    chosen = methods(pruner or registry.pruner_names(), pruning_rate or [0.0, 0.6, 0.8], seed)
    # A method that drops speech inside the LLM leaves nothing to summarize.
    before = tuple(each for each in chosen if each.pruner is not None and not each.pruner.layer)
    chosen += summarizations(summarize or (), before if compose else ())
    plan = Plan(chosen, protocol.value, permute, seed, limit, max_new_tokens)
    load = load_options(dtype, device, trust_remote_code)
    _ask(Job(model, benchmark, plan, output, load, options, sst), processes, ray)
    scored = result(output)
    section = write(scored, output)
    if as_json:
        rows = list(as_rows(comparisons(scored)))
        typer.echo(json.dumps({"run": asdict(scored.run), "points": rows}, allow_nan=False))
    else:
        typer.echo(markdown([section]))


@evaluation_app.command("score")
def score_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR")],
    as_published: AsPublished = False,
    as_json: Json = False,
) -> None:
    """Score the log of an evaluation again, without a model."""
    _show(folder, as_published, as_json)


@evaluation_app.command("judge")
def judge_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Of 'auricle eval --output'.")],
    *,
    llm: Annotated[str, typer.Option(help="The judge, as the endpoint names it; a folder or hub id with --local.")],
    endpoint: Endpoint = None,
    api_key_variable: KeyVariable = "OPENAI_API_KEY",
    local: Local = False,
    device: LlmDevice = "cpu",
    concurrency: Annotated[int, typer.Option(min=1, help="Answers that are judged at a time.")] = 4,
    timeout: Timeout = 120.0,
    retries: Retries = 5,
    as_json: Json = False,
) -> None:
    """Have a language model judge the answers that need it (LongSpeech's Temporal_Relative_QA)."""
    from auricle.cli import show
    from auricle.evaluation.judge import judge
    from auricle.spiral.chat import Chat, EndpointChat, LocalChat

    chat: Chat = EndpointChat(llm, endpoint, api_key_variable, 0.0, timeout, retries)
    if local:
        chat = LocalChat(llm, device, max_new_tokens=8, temperature=0.0)
    with show.progress("Judging") as listen:
        judged, every = judge(folder, chat, llm, concurrency, listen)
    if judged < every:
        typer.echo(f"The judge gave no verdict on {every - judged} of {every} answers; try again.", err=True)
    _show(folder, False, as_json)


@evaluation_app.command("report")
def report_command(
    folders: Runs,
    output: Annotated[Path, typer.Option(help="Folder for report.html and report.md.")] = Path("report"),
    as_published: AsPublished = False,
) -> None:
    """Make one page, and Markdown, of the logs of several evaluations."""
    from auricle.evaluation.report import write

    write(folders, output, as_published)
    typer.echo(f"{output / 'report.html'}\n{output / 'report.md'}")


@benchmarks_app.callback(invoke_without_command=True)
@no_type_check  # typer asks for its own Context and then gives the class that this is made of
def benchmarks_command(context: typer.Context) -> None:
    """List the benchmarks."""
    from auricle import registry
    from auricle.cli import show

    if context.invoked_subcommand is None:
        show.pruners({name: registry.benchmark_class(name) for name in registry.benchmark_names()})


@benchmarks_app.command("fixture")
def fixture_command(
    name: Annotated[str, typer.Argument(metavar="BENCHMARK", help="longspeech or audiomarathon.")],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder of the set.")],
    samples: Annotated[int, typer.Option(min=2, help="Of every task.")] = 8,
    scale: Annotated[float, typer.Option(help="Of the published durations.")] = 1.0,
) -> None:
    """Build a small set in a benchmark's published layout, which tests the harness and is not the benchmark."""
    from auricle.benchmarks.fixtures import build
    from auricle.cli import show

    with show.progress("Building") as listen:
        build(name, output, samples, scale, listen)
    typer.echo(f"Ask it with: auricle eval {name} --data {output} --output runs/{name}")


def _benchmark_options(data: str | None, longer_than: float | None, task: list[str] | None) -> dict[str, Any]:
    """Those that were given; a benchmark that has no such option says so."""
    found = {"data": data, "longer_than": longer_than, "tasks": tuple(task) if task else None}
    return {name: value for name, value in found.items() if value is not None}


def _ask(job: "Job", processes: int, ray: str | None) -> None:
    """Asks what the log does not hold yet, with a progress bar; transcripts only where there are some."""
    from auricle import registry
    from auricle.cli import show
    from auricle.errors import DataError
    from auricle.evaluation.launch import launch
    from auricle.evaluation.run import limited

    check_model(job.model)
    samples = limited(registry.benchmark(job.benchmark, **job.benchmark_options).samples(), job.plan.limit)
    first = next(samples, None)
    if first is None:
        raise DataError(f"The benchmark '{job.benchmark}' has no samples with these options; look at --data.")
    total = 1 + sum(1 for _ in samples)
    asked = tuple(each for each in job.plan.methods if each.reads != "transcript" or first.transcript)
    with show.progress("Asking") as listen:
        launch(
            replace(job, plan=replace(job.plan, methods=asked)), processes, lambda done: listen(done, total), ray
        )


def _show(folder: Path, as_published: bool, as_json: bool) -> None:
    from auricle.evaluation.metrics import by_method
    from auricle.evaluation.report import markdown, result, section
    from auricle.evaluation.task_tables import as_rows

    scored = result(folder, as_published)
    if as_json:
        rows = [asdict(row) for row in scored.rows] if scored.tasks is None else list(as_rows(scored.tasks))
        counts = {name: len(those) for name, those in by_method(scored.records).items()}
        typer.echo(json.dumps({"run": asdict(scored.run), "answers": counts, "rows": rows}, allow_nan=False))
    else:
        typer.echo(markdown([section(scored)]))
