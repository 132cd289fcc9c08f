"""Options that several commands share, and checks that come before anything slow."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from auricle.cli import show

if TYPE_CHECKING:
    from auricle.speech_lm import SpeechLM

AudioFile = Annotated[Path, typer.Argument(metavar="AUDIO", help="A recording: wav, flac, mp3, ogg, m4a ...")]
Question = Annotated[str, typer.Argument(metavar="QUESTION", help="What to ask.")]
Model = Annotated[str, typer.Option("--model", "-m", help="mini, a folder, or OWNER/NAME on the Hugging Face hub.")]
Dtype = Annotated[str | None, typer.Option(help="Of the weights: float32, bfloat16, float16 or auto.")]
Device = Annotated[str | None, typer.Option(help="Where the model runs: cpu, cuda, cuda:1, mps ...")]
TrustRemoteCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run code that comes with the model's weights.")
]
Ray = Annotated[
    str | None,
    typer.Option(
        metavar="local|auto|HOST:PORT",
        help="Share the work by Ray, on a cluster begun here, this machine's, or another; with --processes.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Plot = Annotated[Path | None, typer.Option(metavar="FILE", help="Draw a picture: .png, .pdf or .svg.")]


def check_plot(path: Path | None) -> None:
    """Raises OptionError unless a picture can be written there; None is fine."""
    if path is not None:
        from auricle.plotting import check_plot_path

        check_plot_path(path)


def load_options(dtype: str | None, device: str | None, trust_remote_code: bool) -> dict[str, Any]:
    """What `auricle.load` is given besides the name; code of others only if it was asked for."""
    extra = {"trust_remote_code": True} if trust_remote_code else {}
    return {"dtype": dtype, "device": device, **extra}


def check_model(name: str) -> None:
    """Raises UnknownNameError if the name can be neither auricle-mini's, nor a folder, nor on the hub."""
    from auricle import loading
    from auricle.registry import unknown_name

    if name not in loading.MINI and "/" not in name and not Path(name).is_dir():
        raise unknown_name(name, [loading.MINI[0], "a folder", "OWNER/NAME on the Hugging Face hub"], "model")


def load(name: str, dtype: str | None, device: str | None, trust_remote_code: bool) -> "SpeechLM":
    """Loads a model by the options of the command line.

    Raises:
        UnknownNameError: the name can be neither auricle-mini's, nor a folder, nor on the hub.
        AuricleError: as for `auricle.loading.load`.
    """
    from auricle import loading

    check_model(name)
    with show.status(f"Loading {name}"):
        return loading.load(name, **load_options(dtype, device, trust_remote_code))
