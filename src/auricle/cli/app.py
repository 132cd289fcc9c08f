"""The commands: each reads its options, calls the library and has the result shown."""

import json
from dataclasses import asdict
from importlib.metadata import version
from typing import Annotated

import typer

from auricle.audio import SAMPLE_RATE
from auricle.audio import load as load_audio
from auricle.cli.evaluate import benchmarks_app, evaluation_app
from auricle.cli.evaluation_options import Pruners
from auricle.cli.memory import Ratios, Sst, ask_memory, check_memory, load_summarizer, memory_app
from auricle.cli.models import models_app
from auricle.cli.options import (
    AudioFile,
    Device,
    Dtype,
    Json,
    Model,
    Plot,
    Question,
    TrustRemoteCode,
    check_plot,
    load,
)
from auricle.cli.reproduce import reproduce_app
from auricle.cli.serve import serve_app
from auricle.cli.spiral import spiral_app
from auricle.cli.train import train_app

app = typer.Typer(
    help="Ask long recordings questions with Speech LLMs, and prune what the question does not need.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(models_app, name="models")
app.add_typer(memory_app)
app.add_typer(serve_app)
app.add_typer(evaluation_app)
app.add_typer(benchmarks_app, name="benchmarks", help="List the benchmarks, or build a small set like one.")
app.add_typer(reproduce_app, name="reproduce", help="The SpeechPrune paper's tables and figures.")
app.add_typer(spiral_app, name="spiral", help="Build a benchmark like SPIRAL.")
app.add_typer(train_app, name="train", help="Train auricle-mini.")


def _version(wanted: bool) -> bool:
    if wanted:
        typer.echo(version("auricle"))
        raise typer.Exit
    return wanted


@app.callback()
def options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Ask long recordings questions with Speech LLMs, and prune what the question does not need."""


@app.command()
def ask(
    audio: AudioFile,
    question: Question,
    *,
    choice: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="A possible answer, without a letter; give two or more."),
    ] = None,
    model: Model = "mini",
    pruner: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="See 'auricle pruners'; speechprune by default, or none with --summarize."
        ),
    ] = None,
    pruning_rate: Annotated[
        float | None, typer.Option(help="Fraction of 30 s of speech tokens to remove, 0 to 1; 0.6 by default.")
    ] = None,
    seed: Annotated[int, typer.Option(help="For methods that draw at random.")] = 0,
    summarize: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="RATIO", help="Summarize RATIO speech tokens into one, of all or what --pruner leaves."
        ),
    ] = None,
    sst: Sst = None,
    prior: Annotated[
        bool, typer.Option(help="Take a choice's likelihood without the speech off its score.")
    ] = True,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Where a generated answer ends at the latest.")] = 64,
    dtype: Dtype = None,
    device: Device = None,
    trust_remote_code: TrustRemoteCode = False,
    as_json: Json = False,
    plot: Plot = None,
) -> None:
    """Answer a question about a recording of any length, or about a memory of 'auricle summarize'."""
    from auricle.cli import show
    from auricle.errors import OptionError
    from auricle.pruning.budget import check_rate
    from auricle.questions import check_choices, check_question
    from auricle.summarization.format import is_memory

    rate = 0.6 if pruning_rate is None else pruning_rate
    check_question(question)
    check_choices(choice or ())
    check_rate(rate)
    check_plot(plot)
    remembered = is_memory(audio)
    if remembered:
        check_memory(audio, summarize=summarize, pruner=pruner, pruning_rate=pruning_rate)
    if plot and (remembered or summarize):
        raise OptionError("What a memory holds cannot be drawn; leave out --plot.")
    waveform = None if remembered else load_audio(audio)
    from auricle import registry
    from auricle.asking import answer, encode

    all_is_read = summarize and pruner is None and pruning_rate is None
    method = None if all_is_read else registry.pruner(pruner or "speechprune", pruning_rate=rate, seed=seed)
    lm = load(model, dtype, device, trust_remote_code)
    query = lm.query(question, choice or ())
    if waveform is None or summarize:
        source = audio if waveform is None else waveform
        answered, duration = ask_memory(
            lm, sst, source, summarize, method, query, prior=prior, max_new_tokens=max_new_tokens
        )
        show.answer(answered, duration, query.choices, as_json=as_json)
        return
    with show.progress("Listening") as on_window:
        recording = encode(lm, waveform, SAMPLE_RATE, on_window)
    with show.status("Thinking"):
        answered = answer(lm, recording, query, method, prior=prior, max_new_tokens=max_new_tokens)
    show.answer(answered, recording.duration, query.choices, as_json=as_json)
    if plot:
        from auricle.plotting import plot_kept
        from auricle.pruning.similarity import relevance

        similarity = relevance(recording.tokens.embeds, query.embeds).cpu().numpy()
        times = recording.tokens.times.numpy()
        plot_kept(waveform, answered.kept_spans, times, similarity, path=plot, title=question)


@app.command()
def transcribe(
    audio: AudioFile,
    *,
    model: Model = "mini",
    max_new_tokens: Annotated[int, typer.Option(min=1, help="For each window of 30 s.")] = 256,
    dtype: Dtype = None,
    device: Device = None,
    trust_remote_code: TrustRemoteCode = False,
    as_json: Json = False,
) -> None:
    """Write down a recording, at most 30 s at a time."""
    from auricle.cli import show

    waveform = load_audio(audio)
    from auricle import transcribing
    from auricle.asking import encode

    lm = load(model, dtype, device, trust_remote_code)
    with show.progress("Listening") as on_window:
        recording = encode(lm, waveform, SAMPLE_RATE, on_window)
    with show.progress("Writing") as on_window:
        transcript = transcribing.transcribe(lm, recording, max_new_tokens=max_new_tokens, on_window=on_window)
    if as_json:
        typer.echo(transcript.to_json())
    else:
        show.transcript(transcript)


@app.command()
def profile(
    audio: AudioFile,
    question: Question,
    *,
    pruner: Pruners = None,
    summarize: Ratios = None,
    sst: Sst = None,
    model: Model = "mini",
    repeats: Annotated[int, typer.Option(min=1, help="Timed runs, of which the median counts.")] = 5,
    dtype: Dtype = None,
    device: Device = None,
    trust_remote_code: TrustRemoteCode = False,
    as_json: Json = False,
    plot: Plot = None,
) -> None:
    """Measure what pruning methods cost, and Speech-XL where a ratio is given.

    By default SpeechPrune at four rates, the first 30 s and everything. A rate is an option, as in --pruner
    fastv:layer=2,pruning_rate=0.8.
    """
    from auricle.cli import show
    from auricle.questions import check_question

    check_question(question)
    check_plot(plot)
    waveform = load_audio(audio)
    from auricle import profiling, registry
    from auricle.asking import encode
    from auricle.errors import ModelError
    from auricle.models.hugging_face import HuggingFaceSpeechLM

    chosen = tuple(map(registry.pruner, pruner)) if pruner else profiling.METHODS
    lm = load(model, dtype, device, trust_remote_code)
    if not isinstance(lm, HuggingFaceSpeechLM):
        raise ModelError(f"{lm.name} cannot be profiled; expected a model of transformers.")
    with show.progress("Listening") as on_window:
        recording = encode(lm, waveform, SAMPLE_RATE, on_window)
    summarizer = load_summarizer(lm, sst) if summarize else None
    methods = (*chosen, *(summarizer.at(ratio) for ratio in summarize or () if summarizer))
    with show.progress("Measuring") as on_step:
        rows = profiling.profile(
            lm, recording, lm.query(question), methods, summarizer=summarizer, repeats=repeats, on_step=on_step
        )
    about = {
        "model": lm.name,
        "device": str(lm.device),
        "dtype": str(recording.tokens.embeds.dtype).removeprefix("torch."),
        "duration": round(recording.duration, 3),
    }
    if as_json:
        typer.echo(json.dumps(about | {"rows": [asdict(row) for row in rows]}, allow_nan=False))
    else:
        show.profile(rows, about)
    if plot:
        from auricle.plotting import plot_profile

        plot_profile(rows, plot, show.about(about))


@app.command()
def pruners() -> None:
    """List the pruning methods."""
    from auricle import registry
    from auricle.cli import show

    show.pruners({name: registry.pruner_class(name) for name in registry.pruner_names()})
