"""`auricle summarize`, and what `auricle ask` does with a memory."""

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from auricle.audio import SAMPLE_RATE, Waveform
from auricle.audio import load as load_audio
from auricle.cli.options import AudioFile, Device, Dtype, Json, Model, TrustRemoteCode, load
from auricle.errors import OptionError

if TYPE_CHECKING:
    from auricle.asking import Answer
    from auricle.pruning.base import Pruner
    from auricle.speech_lm import Query, SpeechLM
    from auricle.summarization.memory import Memory
    from auricle.summarization.summarizer import Summarization, Summarizer

memory_app = typer.Typer()


class BoundariesName(StrEnum):
    """Where intervals end."""

    fixed = "fixed"
    dynamic = "dynamic"


Sst = Annotated[
    Path | None,
    typer.Option("--sst", help="Folder of 'auricle train compress'; by default the package's; or 'untrained'."),
]

Ratios = Annotated[
    list[int] | None,
    typer.Option("--summarize", min=1, metavar="RATIO", help="Speech tokens per SST (Speech-XL); give several."),
]


@memory_app.command()
def summarize(
    audio: AudioFile,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="MEMORY", help="The file to write.")],
    compression_ratio: Annotated[int, typer.Option(min=1, help="Speech tokens per summarization token.")] = 8,
    interval: Annotated[
        int | None, typer.Option(min=1, help="Speech tokens of an interval, at most; as trained by default.")
    ] = None,
    boundaries: Annotated[
        BoundariesName | None,
        typer.Option(help="fixed, or dynamic: where the speech pauses or changes; as trained by default."),
    ] = None,
    model: Model = "mini",
    sst: Sst = None,
    dtype: Dtype = None,
    device: Device = None,
    trust_remote_code: TrustRemoteCode = False,
    as_json: Json = False,
) -> None:
    """Summarize a recording of any length into a memory, to be asked many times by 'auricle ask MEMORY'."""
    from auricle.cli import show

    waveform = load_audio(audio)
    summarizer = load_summarizer(load(model, dtype, device, trust_remote_code), sst)
    options = summarizer.at(compression_ratio)
    cut = boundaries.value if boundaries else options.boundaries
    options = replace(options, interval=interval or options.interval, boundaries=cut)
    memory = remember(summarizer, waveform, options)
    memory.save(output)
    show.memory(memory, output, as_json=as_json)


def load_summarizer(lm: "SpeechLM", sst: Path | None) -> "Summarizer":
    """The model with its SSTs."""
    from auricle.summarization import summarizer

    return summarizer.load(lm, sst)


def remember(summarizer: "Summarizer", waveform: "Waveform", options: "Summarization") -> "Memory":
    """Encodes and summarizes behind a progress bar."""
    from auricle.cli import show
    from auricle.summarization.asking import summarize as make

    with show.progress("Listening") as listen:
        return make(
            summarizer,
            waveform,
            options,
            sampling_rate=SAMPLE_RATE,
            on_window=listen,
            on_interval=lambda done, total: listen(done, total, "Summarizing"),
        )


def check_memory(path: Path, **options: object) -> None:
    """What is asked of a memory that only a recording can be asked.

    Raises:
        OptionError: one of the options was given: it is not None.
    """
    if given := [f"--{name.replace('_', '-')}" for name, value in options.items() if value is not None]:
        raise OptionError(
            f"'{path}' is a memory, of which nothing can be pruned or summarized; leave out {' and '.join(given)}."
        )


def ask_memory(
    lm: "SpeechLM",
    sst: Path | None,
    source: Path | Waveform,
    ratio: int | None,
    pruner: "Pruner | None",
    query: "Query",
    *,
    prior: bool,
    max_new_tokens: int,
) -> "tuple[Answer, float]":
    """The answer to a question about a memory, or about a recording that is summarized for it; and its duration.

    Args:
        lm: the Speech LLM.
        sst: folder of its SSTs.
        source: file of a memory, or a recording.
        ratio: speech tokens per SST, for a recording; None for a memory.
        pruner: leaves speech of a recording out before it is summarized; None leaves all.
        query: the question.
        prior: see `auricle.asking.answer`.
        max_new_tokens: see there.
    """
    from auricle.asking import encode
    from auricle.cli import show
    from auricle.pruning.base import check_before
    from auricle.summarization import asking
    from auricle.summarization.memory import Memory

    if pruner is not None:
        check_before(pruner.layer)  # not only when the recording is encoded
    summarizer = load_summarizer(lm, sst)
    if isinstance(source, Path):
        memory = Memory.load(source)
        with show.status("Thinking"):
            said = asking.answer(summarizer, memory, query, prior=prior, max_new_tokens=max_new_tokens)
        return said, memory.about.duration
    options = summarizer.at(ratio or summarizer.options.compression_ratio)
    with show.progress("Listening") as listen:
        recording = encode(lm, source, SAMPLE_RATE, listen)
    with show.progress("Summarizing") as listen:
        said = asking.ask(
            summarizer,
            recording,
            query,
            options,
            pruner,
            prior=prior,
            max_new_tokens=max_new_tokens,
            on_interval=listen,
        )
    return said, recording.duration
