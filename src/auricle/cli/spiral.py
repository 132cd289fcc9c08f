"""`auricle spiral`: builds a benchmark step by step; every step goes on where it was stopped."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from auricle.cli.options import Json, Ray, check_model, load

if TYPE_CHECKING:
    from auricle.spiral.chat import Chat
    from auricle.spiral.schema import SpiralSample

spiral_app = typer.Typer(no_args_is_help=True)

# Four women and four men of three engines, so that a conversation of five has voices that are told apart.
DEFAULT_VOICES = (
    "kokoro/jf_alpha",
    "kokoro/jf_gongitsune",
    "kokoro/jf_nezumi",
    "kokoro/jf_tebukuro",
    "kokoro/jm_kumo",
    "piper/joe",
    "flite/rms",
    "flite/awb",
)

Folder = Annotated[Path, typer.Option("--output", help="Folder of the set; a step that was stopped goes on there.")]
Count = Annotated[int, typer.Option(min=1, help="How many samples.")]
Seed = Annotated[int, typer.Option(help="Equal seeds give equal sets.")]
Topics = Annotated[Path | None, typer.Option(help="A topic tree of your own, as JSON.")]
Llm = Annotated[
    str | None,
    typer.Option(help="Model that writes, as the endpoint names it; or a folder or hub id with --local."),
]
Endpoint = Annotated[
    str | None, typer.Option(help="Base URL, such as http://localhost:8000/v1; OpenAI if omitted.")
]
KeyVariable = Annotated[str, typer.Option(help="Environment variable that holds the key.")]
Local = Annotated[bool, typer.Option("--local", help="Load the model here with transformers.")]
LlmDevice = Annotated[str, typer.Option(help="Where a --local model runs: cpu, cuda ...")]
Concurrency = Annotated[int, typer.Option(min=1, help="How many dialogues to ask for at a time.")]
Temperature = Annotated[float, typer.Option(min=0.0, max=2.0, help="Of sampling.")]
Timeout = Annotated[float, typer.Option(help="Seconds to wait for a reply.")]
Retries = Annotated[
    int, typer.Option(min=0, help="How often a failed request is sent again, after growing pauses.")
]
Attempts = Annotated[int, typer.Option(min=1, help="Replies to ask for before a sample is rejected.")]
Voices = Annotated[
    list[str] | None,
    typer.Option("--voice", metavar="NAME", help="Such as flite/slt; give several, of both genders."),
]
VoicesFiles = Annotated[
    Path | None, typer.Option(help="Where the voices' files are; by default where 'models pull voices' puts them.")
]
Processes = Annotated[int, typer.Option(min=1, help="How many samples to work on at a time.")]
Title = Annotated[str, typer.Option(help="Of the data card.")]


@spiral_app.command("outline")
def outline_command(output: Folder, count: Count = 1012, seed: Seed = 0, topics: Topics = None) -> None:
    """Draw topics for lectures, meetings and conversations."""
    from auricle.spiral.build import begin
    from auricle.spiral.outline import read_tree

    items = begin(output, count, seed, None if topics is None else read_tree(topics))
    typer.echo(f"{len(items)} samples to write in {output}")


@spiral_app.command("dialogue")
def dialogue_command(
    output: Folder,
    llm: Llm = None,
    endpoint: Endpoint = None,
    api_key_variable: KeyVariable = "OPENAI_API_KEY",
    local: Local = False,
    device: LlmDevice = "cpu",
    concurrency: Concurrency = 4,
    temperature: Temperature = 1.0,
    timeout: Timeout = 120.0,
    retries: Retries = 5,
    attempts: Attempts = 3,
    retry_rejected: Annotated[
        bool, typer.Option("--retry-rejected", help="Ask again for rejected samples.")
    ] = False,
    seed: Seed = 0,
) -> None:
    """Have a language model write the transcripts and questions."""
    chat = _chat(llm, endpoint, api_key_variable, local, device, temperature, timeout, retries, seed)
    _write(output, chat, concurrency, attempts, retry_rejected)


@spiral_app.command("synthesize")
def synthesize_command(
    output: Folder,
    voice: Voices = None,
    voices_files: VoicesFiles = None,
    processes: Processes = 1,
    ray: Ray = None,
    seed: Seed = 0,
) -> None:
    """Voice the transcripts: one voice a speaker, -23 LUFS, with the times of every sentence."""
    from auricle.spiral.build import samples_of

    _synthesize(output, samples_of(output), voice or DEFAULT_VOICES, voices_files, processes, ray, seed)


@spiral_app.command("check")
def check_command(
    output: Folder,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Speech LLM for the answerability controls; 'none' skips them."),
    ] = "mini",
    processes: Processes = 1,
    as_json: Json = False,
) -> None:
    """Check word error, MOS, duration, loudness, and that the questions need the recording."""
    from auricle.spiral.build import samples_of

    if not _check(output, samples_of(output), model, processes, as_json):
        raise typer.Exit(1)


@spiral_app.command("package")
def package_command(output: Folder, title: Title = "A set in the layout of SPIRAL") -> None:
    """Write the set in the published layout, as an audio folder for datasets, with a data card."""
    from auricle.spiral.build import samples_of
    from auricle.spiral.package import package

    typer.echo(package(samples_of(output), output, title))


@spiral_app.command("build")
def build_command(
    output: Folder,
    count: Count = 1012,
    llm: Llm = None,
    endpoint: Endpoint = None,
    api_key_variable: KeyVariable = "OPENAI_API_KEY",
    local: Local = False,
    device: LlmDevice = "cpu",
    concurrency: Concurrency = 4,
    temperature: Temperature = 1.0,
    timeout: Timeout = 120.0,
    retries: Retries = 5,
    attempts: Attempts = 3,
    topics: Topics = None,
    voice: Voices = None,
    voices_files: VoicesFiles = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Speech LLM for the answerability controls; 'none' skips them."),
    ] = "mini",
    processes: Processes = 1,
    ray: Ray = None,
    seed: Seed = 0,
    title: Title = "A set in the layout of SPIRAL",
) -> None:
    """All steps in order: outline, dialogue, synthesize, check, package."""
    from auricle.models.mini.wheels import wheels_folder
    from auricle.spiral.build import samples_of
    from auricle.spiral.package import package
    from auricle.synthesis.voices import voice as find_voice

    # What can be wrong is said before anything is written or paid for.
    if model not in (None, "none"):
        check_model(model)
    chat = _chat(llm, endpoint, api_key_variable, local, device, temperature, timeout, retries, seed)
    for name in voice or DEFAULT_VOICES:
        find_voice(name, voices_files or wheels_folder())
    outline_command(output, count, seed, topics)
    _write(output, chat, concurrency, attempts, False)
    samples = samples_of(output)
    _synthesize(output, samples, voice or DEFAULT_VOICES, voices_files, processes, ray, seed)
    passed = _check(output, samples, model, processes, False)
    typer.echo(package(samples, output, title))
    if not passed:
        raise typer.Exit(1)


@spiral_app.command("voice")
def voice_command(
    transcripts: Annotated[
        Path, typer.Argument(metavar="FILE", help="Transcripts: SPIRAL's data.jsonl, or data/sir.")
    ],
    output: Folder,
    voice: Voices = None,
    voices_files: VoicesFiles = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Voice the first samples only.")] = None,
    processes: Processes = 1,
    ray: Ray = None,
    seed: Seed = 0,
    title: Title = "A set in the layout of SPIRAL",
) -> None:
    """Voice and package transcripts that are there, such as the published SPIRAL without its audio."""
    from auricle.benchmarks.spiral import read_samples
    from auricle.spiral.build import begin_with
    from auricle.spiral.package import package

    samples = read_samples(transcripts)[:limit]
    begin_with(output, samples)
    _synthesize(output, samples, voice or DEFAULT_VOICES, voices_files, processes, ray, seed)
    typer.echo(package(samples, output, title))


def _chat(
    llm: str | None,
    endpoint: str | None,
    api_key_variable: str,
    local: bool,
    device: str,
    temperature: float,
    timeout: float,
    retries: int,
    seed: int,
) -> "Chat":
    from auricle.errors import OptionError
    from auricle.spiral.chat import EndpointChat, LocalChat

    if llm is None:
        raise OptionError("No model was named to write the dialogues; give --llm, and --endpoint or --local.")
    if local:
        return LocalChat(llm, device, temperature=temperature, seed=seed)
    return EndpointChat(llm, endpoint, api_key_variable, temperature, timeout, retries, seed)


def _write(output: Path, chat: "Chat", concurrency: int, attempts: int, retry_rejected: bool) -> None:
    from auricle.errors import DataError
    from auricle.spiral.build import OUTLINE
    from auricle.spiral.dialogue import load_dialogues, pending, rejections, write_dialogues
    from auricle.spiral.outline import load_items

    if not (output / OUTLINE).exists():
        raise DataError(f"'{output}' has no outline; draw one with 'auricle spiral outline'.")
    items = load_items(output / OUTLINE)
    todo = len(pending(items, output, retry_rejected=retry_rejected))
    written = write_dialogues(items, chat, output, concurrency, attempts=attempts, retry_rejected=retry_rejected)
    _follow("Writing", written, todo)
    refused = rejections(output)
    typer.echo(f"{len(load_dialogues(items, output))} dialogues, {refused.total()} rejected")
    for reason, number in refused.most_common():
        typer.echo(f"   {number} {reason}")


def _synthesize(
    output: Path,
    samples: "Sequence[SpiralSample]",
    voices: Sequence[str],
    files: Path | None,
    processes: int,
    ray: str | None,
    seed: int,
) -> None:
    from auricle.models.mini.wheels import wheels_folder
    from auricle.spiral.build import use_voices
    from auricle.spiral.synthesize import cast, paths, synthesize_all

    files = wheels_folder() if files is None else files
    casting = cast(samples, voices, seed, files)
    use_voices(output, voices, seed)
    todo = sum(not all(path.is_file() for path in paths(output, sample.id)) for sample in samples)
    _follow("Voicing", synthesize_all(samples, casting, seed, output, files, processes, ray), todo)


def _follow(what: str, steps: Iterable[object], total: int) -> None:
    """Goes through the steps with a bar."""
    from auricle.cli import show

    with show.progress(what) as listen:
        for done, _ in enumerate(steps, 1):
            listen(done, total)


def _check(
    output: Path, samples: "Sequence[SpiralSample]", model: str | None, processes: int, as_json: bool
) -> bool:
    from auricle.cli import show
    from auricle.files import write_json
    from auricle.spiral.check import check_all, controls, report

    asks = model not in (None, "none")
    if model is not None and asks:
        check_model(model)
    _follow("Listening", check_all(samples, output, processes), len(samples))
    asked = None
    if model is not None and asks:
        lm = load(model, None, None, False)
        with show.progress("Asking") as listen:
            asked = controls(samples, lm, lambda done: listen(done, len(samples)))
    found = report(samples, output, asked)
    write_json(output / "report.json", found.to_json())
    if as_json:
        typer.echo(json.dumps(found.to_json(), allow_nan=False))
    else:
        show.quality(found)
    return found.passed
