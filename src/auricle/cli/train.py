"""`auricle train`: commands that train auricle-mini. What they need is imported when they run."""

from pathlib import Path
from typing import Annotated

import typer

train_app = typer.Typer(no_args_is_help=True)

Output = Annotated[Path, typer.Option(help="Where speech, checkpoints and weights go; a killed run goes on there.")]
Processes = Annotated[int, typer.Option(min=1, help="How many shards of speech to make at a time.")]
Epochs = Annotated[float, typer.Option(min=0.0, help="Passes over the training set.")]
LearningRate = Annotated[float, typer.Option(min=0.0, help="Peak of the cosine schedule.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Windows, or conversations, per step.")]
Seed = Annotated[int, typer.Option(help="Of every choice.")]


@train_app.command("align")
def align_command(
    output: Output = Path("runs/mini"),
    shards: Annotated[int, typer.Option(min=1, help="Shards of speech, half an hour each.")] = 47,
    connector_epochs: Annotated[float, typer.Option(min=0.0, help="Passes with the encoder frozen.")] = 4,
    epochs: Epochs = 1.25,
    connector_learning_rate: Annotated[
        float, typer.Option(min=0.0, help="Peak, with the encoder frozen.")
    ] = 1.5e-3,
    learning_rate: LearningRate = 1e-4,
    batch_size: BatchSize = 4,
    processes: Processes = 2,
    seed: Seed = 0,
    start: Annotated[Path | None, typer.Option(help="Folder of an earlier run, whose ear is trained on.")] = None,
) -> None:
    """Stage one: connector and top encoder layers learn to hear, by CTC, on speech that is synthesized first."""
    from auricle.training.align import AlignRecipe
    from auricle.training.stages import run_align

    rates = connector_learning_rate, learning_rate
    recipe = AlignRecipe(connector_epochs, epochs, *rates, batch_size, seed)
    run_align(output, shards, processes, recipe, start)


@train_app.command("instruct")
def instruct_command(
    output: Output = Path("runs/mini"),
    shards: Annotated[int, typer.Option(min=1, help="Shards of stage one's speech to hear.")] = 18,
    invented: Annotated[int, typer.Option(min=0, help="Talks of the grammar to read besides.")] = 300,
    read_epochs: Annotated[float, typer.Option(min=0.0, help="Passes over the talks to read.")] = 1,
    epochs: Epochs = 1,
    learning_rate: LearningRate = 6e-4,
    batch_size: BatchSize = 4,
    rank: Annotated[int, typer.Option(min=1, help="Of the LoRA.")] = 16,
    seed: Seed = 0,
) -> None:
    """Stage two: a LoRA on the LLM learns to read the ear's vectors, to transcribe and to answer."""
    from auricle.training.instruct import InstructRecipe
    from auricle.training.stages import run_instruct

    run_instruct(
        output, shards, invented, InstructRecipe(read_epochs, epochs, learning_rate, batch_size, rank, seed)
    )
