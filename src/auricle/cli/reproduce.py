"""`auricle reproduce`: the SpeechPrune paper's tables and figures with any model."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from auricle.cli.options import Device, Dtype, Model, TrustRemoteCode, check_model, load, load_options

if TYPE_CHECKING:
    from auricle.evaluation.methods import Method
    from auricle.evaluation.table import Table
    from auricle.profiling import Row

reproduce_app = typer.Typer(no_args_is_help=True)

Data = Annotated[Path, typer.Option(help="SPIRAL, or a set that 'auricle spiral package' wrote, with its audio.")]
Output = Annotated[Path, typer.Option(help="Where logs, tables and pictures go; a killed run goes on there.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Ask the first samples only.")]
Processes = Annotated[int, typer.Option(min=1, help="Each with a model of its own.")]
Seed = Annotated[int, typer.Option(min=0, help="Of what is drawn at random.")]


@reproduce_app.command("table1")
def table1_command(
    data: Data,
    output: Output,
    model: Model = "mini",
    limit: Limit = None,
    repeats: Annotated[int, typer.Option(min=1, help="Timed prefills, of which the median counts.")] = 5,
    processes: Processes = 1,
    seed: Seed = 0,
    dtype: Dtype = None,
    device: Device = None,
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Methods by rates: accuracy on the set and its hard part, TFLOPs, prefill time, memory."""
    from auricle.evaluation.report import result
    from auricle.reproduce.tables import table1, table1_methods

    options = load_options(dtype, device, trust_remote_code)
    _run(model, options, "spiral", data, table1_methods(seed), output / "log", limit, processes, seed=seed)
    costs = _costs(model, dtype, device, trust_remote_code, data, repeats)
    _write(table1(result(output / "log"), costs), output / "table1.md")


@reproduce_app.command("table2")
def table2_command(
    data: Annotated[list[str], typer.Option(metavar="BENCHMARK=PATH", help="Such as spiral=DIR; give several.")],
    output: Output,
    model: Annotated[list[str] | None, typer.Option("--model", "-m", help="Give several to compare.")] = None,
    pruning_rate: Annotated[float, typer.Option(help="The paper: 0.2 for Qwen2-Audio, 0.15 for DiVA.")] = 0.2,
    longer_than: Annotated[float, typer.Option(help="Seconds, for dream-tts and cn-college-listen.")] = 60.0,
    limit: Limit = None,
    processes: Processes = 1,
    dtype: Dtype = None,
    device: Device = None,
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Benchmarks by models: Original and SpeechPrune."""
    from auricle.errors import OptionError
    from auricle.reproduce.tables import table2, table2_methods

    folders = []
    for name in model or ["mini"]:
        for each in data:
            benchmark, found, path = each.partition("=")
            if not found:
                raise OptionError(f"The data '{each}' names no benchmark; expected BENCHMARK=PATH.")
            folder = output / f"{Path(name).name}-{benchmark}"
            extra: dict[str, Any] = {} if benchmark in ("spiral", "jsonl") else {"longer_than": longer_than}
            methods, options = table2_methods(pruning_rate), load_options(dtype, device, trust_remote_code)
            _run(name, options, benchmark, path, methods, folder, limit, processes, extra)
            folders.append(folder)
    _write(table2(folders), output / "table2.md")


@reproduce_app.command("figure2")
def figure2_command(
    data: Data,
    output: Output,
    model: Model = "mini",
    sample: Annotated[str | None, typer.Option(help="Id of the sample to draw; by default the first.")] = None,
    pruning_rate: Annotated[float, typer.Option(help="0 to 1; the paper does not say which it drew.")] = 0.6,
    seed: Seed = 0,
    dtype: Dtype = None,
    device: Device = None,
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """A t-SNE of pruned, kept and text tokens, SpeechPrune beside random."""
    from auricle import registry
    from auricle.asking import encode
    from auricle.audio import SAMPLE_RATE
    from auricle.errors import DataError, UnknownNameError
    from auricle.plotting import save
    from auricle.reproduce.figures import figure2, project

    samples = registry.benchmark("spiral", data=data).samples()
    chosen = next((each for each in samples if sample in (None, each.id)), None)
    if chosen is None and sample is None:
        raise DataError(f"There are no samples in '{data}'.")
    if chosen is None:
        raise UnknownNameError(f"There is no sample '{sample}' in '{data}'; see the ids in its data.jsonl.")
    lm = load(model, dtype, device, trust_remote_code)
    recording = encode(lm, chosen.load(), SAMPLE_RATE)
    names = {"SpeechPrune": "speechprune", "random": "random-pieces"}
    pruners = {title: registry.pruner(name, pruning_rate=pruning_rate, seed=seed) for title, name in names.items()}
    projected = project(lm, recording.tokens, lm.query(chosen.question, chosen.choices), pruners, seed)
    output.mkdir(parents=True, exist_ok=True)
    for suffix in ("png", "svg"):
        save(figure2(projected), output / f"figure2.{suffix}")
    typer.echo(f"{output / 'figure2.png'}")


@reproduce_app.command("figure3")
def figure3_command(
    data: Data,
    output: Output,
    model: Model = "mini",
    limit: Limit = None,
    processes: Processes = 1,
    dtype: Dtype = None,
    device: Device = None,
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """The ablation: each phase alone and both, over rates, on the samples that the first 30 s do not answer."""
    from auricle.evaluation.report import result
    from auricle.plotting import save
    from auricle.reproduce.figures import figure3, figure3_methods

    options = load_options(dtype, device, trust_remote_code)
    _run(model, options, "spiral", data, figure3_methods(), output / "log", limit, processes)
    figure, table = figure3(result(output / "log"))
    _write(table, output / "figure3.md")
    for suffix in ("png", "svg"):
        save(figure, output / f"figure3.{suffix}")


def _run(
    model: str,
    options: dict[str, Any],
    benchmark: str,
    data: str | Path,
    methods: "Sequence[Method]",
    folder: Path,
    limit: int | None,
    processes: int,
    extra: dict[str, Any] | None = None,
    seed: int = 0,
) -> None:
    from auricle import registry
    from auricle.cli import show
    from auricle.errors import DataError
    from auricle.evaluation.launch import Job, launch
    from auricle.evaluation.run import Plan

    check_model(model)
    chosen = {"data": data, **(extra or {})}
    total = sum(1 for _ in islice(registry.benchmark(benchmark, **chosen).samples(), limit))
    if not total:
        raise DataError(f"The benchmark '{benchmark}' has no samples in '{data}'.")
    plan = Plan(tuple(methods), seed=seed, limit=limit)
    with show.progress(f"Asking {benchmark}") as listen:
        job = Job(model, benchmark, plan, folder, options, chosen)
        launch(job, processes, lambda done: listen(done, total))


def _costs(
    model: str, dtype: str | None, device: str | None, trust: bool, data: Path, repeats: int
) -> "tuple[Row, ...]":
    """What the first recording of the set costs."""
    from auricle import profiling, registry
    from auricle.asking import encode
    from auricle.audio import SAMPLE_RATE
    from auricle.cli import show
    from auricle.errors import ModelError
    from auricle.models.hugging_face import HuggingFaceSpeechLM

    lm = load(model, dtype, device, trust)
    if not isinstance(lm, HuggingFaceSpeechLM):
        raise ModelError(f"{lm.name} cannot be profiled; expected a model of transformers.")
    sample = next(iter(registry.benchmark("spiral", data=data).samples()))
    with show.progress("Measuring") as on_step:
        recording = encode(lm, sample.load(), SAMPLE_RATE)
        return profiling.profile(lm, recording, lm.query(sample.question), repeats=repeats, on_step=on_step)


def _write(table: "Table", path: Path) -> None:
    from auricle.evaluation.report import markdown_table
    from auricle.files import write_text

    text = markdown_table(table)
    write_text(path, text)
    typer.echo(text)
