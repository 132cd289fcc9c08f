"""`auricle train`: commands that train auricle-mini, or a LoRA for any Speech LLM; all resume after a kill.

What they need is imported when they run. For several processes: `accelerate launch --num_processes 2 -m auricle
train ...`, or on CPUs `torchrun --nproc_per_node 2 -m auricle train ...`.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from auricle.cli.options import Dtype, TrustRemoteCode, load_options

train_app = typer.Typer(no_args_is_help=True)

Data = Annotated[Path, typer.Option(help="Where the recordings are, which 'auricle train data' makes.")]
Output = Annotated[Path, typer.Option(help="Where checkpoints and weights go; a killed run goes on there.")]
Shards = Annotated[int | None, typer.Option(min=1, help="Shards of the recordings to hear; by default all.")]
CONFIG = "JSON with these options, such as a run's {}.json."
Epochs = Annotated[float | None, typer.Option(min=0.0, help="Passes over the training set at most.")]
LearningRate = Annotated[float | None, typer.Option(min=0.0, help="Peak of the cosine schedule.")]
BatchSize = Annotated[int | None, typer.Option(min=1, help="Examples that a process reads at a time.")]
Accumulation = Annotated[int | None, typer.Option(min=1, help="Batches a step.")]
Evaluations = Annotated[int | None, typer.Option(min=1, help="Of the validation set, and checkpoints, an epoch.")]
Patience = Annotated[int | None, typer.Option(min=1, help="Evaluations without gain after which training ends.")]
Seed = Annotated[int | None, typer.Option(min=0, help="Of every choice.")]


@train_app.command("data")
def data_command(
    output: Annotated[Path, typer.Option(help="Where the recordings go.")] = Path("runs/data"),
    shards: Annotated[int, typer.Option(min=1, help="Of about 28 minutes each.")] = 100,
    processes: Annotated[int, typer.Option(min=1, help="How many shards to make at a time.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Of every choice.")] = 0,
) -> None:
    """Speaks talks with questions and single sentences in many voices and conditions."""
    from auricle.training.stages import run_data

    run_data(output, shards, processes, seed)


@train_app.command("align")
def align_command(
    data: Data = Path("runs/data"),
    output: Output = Path("runs/mini"),
    config: Annotated[Path | None, typer.Option(help=CONFIG.format("align"))] = None,
    shards: Shards = None,
    epochs: Epochs = None,
    learning_rate: LearningRate = None,
    batch_size: BatchSize = None,
    accumulation: Accumulation = None,
    evaluations: Evaluations = None,
    patience: Patience = None,
    seed: Seed = None,
) -> None:
    """Stage one: auricle-mini's connector learns when what is said, by CTC on a frozen encoder."""
    from auricle.training.recipes import AlignRecipe, recipe
    from auricle.training.stages import run_align

    given = _given(epochs, learning_rate, batch_size, accumulation, evaluations, patience, seed)
    run_align(data, output, recipe(AlignRecipe, config, given | {"shards": shards}))


@train_app.command("instruct")
def instruct_command(
    data: Data = Path("runs/data"),
    output: Output = Path("runs/mini"),
    model: Annotated[str | None, typer.Option(help="auricle-mini by default, or what 'ask --model' takes.")] = None,
    config: Annotated[Path | None, typer.Option(help=CONFIG.format("instruct"))] = None,
    shards: Shards = None,
    read: Annotated[int | None, typer.Option(min=0, help="Times that each written talk is read.")] = None,
    invented: Annotated[int | None, typer.Option(min=0, help="Talks of the grammar to read besides.")] = None,
    rank: Annotated[int | None, typer.Option(min=1, help="Of the LoRA.")] = None,
    start: Annotated[
        str | None, typer.Option(help="Folder of a LoRA of this rank to go on from; not OUTPUT/lora.")
    ] = None,
    epochs: Epochs = None,
    learning_rate: LearningRate = None,
    batch_size: BatchSize = None,
    accumulation: Accumulation = None,
    evaluations: Evaluations = None,
    patience: Patience = None,
    seed: Seed = None,
    dtype: Dtype = None,
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Stage two: a LoRA on a Speech LLM's LLM learns to answer questions on recordings, and to transcribe them."""
    from auricle.training.recipes import InstructRecipe, recipe
    from auricle.training.stages import run_instruct

    given = _given(epochs, learning_rate, batch_size, accumulation, evaluations, patience, seed)
    given |= {"shards": shards, "read": read, "invented": invented, "rank": rank, "start": start, "model": model}
    options = load_options(dtype, None, trust_remote_code)
    run_instruct(data, output, recipe(InstructRecipe, config, given), options)


@train_app.command("compress")
def compress_command(
    data: Data = Path("runs/data"),
    output: Output = Path("runs/mini"),
    name: Annotated[
        str, typer.Option(help="Of the folder in OUTPUT for the SSTs; another one to compare.")
    ] = "sst",
    model: Annotated[str | None, typer.Option(help="auricle-mini by default, or what 'ask --model' takes.")] = None,
    config: Annotated[Path | None, typer.Option(help=CONFIG.format("compress"))] = None,
    shards: Shards = None,
    read: Annotated[int | None, typer.Option(min=0, help="Times that each written talk is read.")] = None,
    rank: Annotated[
        int | None, typer.Option(min=1, help="Of the SSTs' projections; whole copies by default.")
    ] = None,
    phase: Annotated[
        list[str] | None,
        typer.Option(metavar="RATIOS", help="Such as 2,4; give one for each phase of the curriculum."),
    ] = None,
    mixed: Annotated[
        bool | None, typer.Option("--mixed/--one-ratio", help="A ratio for each interval, or for each recording.")
    ] = None,
    interval: Annotated[int | None, typer.Option(min=1, help="Speech tokens of an interval, at most.")] = None,
    boundaries: Annotated[str | None, typer.Option(help="fixed or dynamic.")] = None,
    placement: Annotated[
        str | None, typer.Option(help="recall, anchor, interleave (the paper's), end or pool.")
    ] = None,
    silence: Annotated[str | None, typer.Option(help="skip or read.")] = None,
    epochs: Epochs = None,
    learning_rate: LearningRate = None,
    batch_size: BatchSize = None,
    accumulation: Accumulation = None,
    evaluations: Evaluations = None,
    patience: Patience = None,
    seed: Seed = None,
    dtype: Dtype = None,
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Stage three: Speech Summarization Tokens learn to stand for speech, at rising ratios."""
    from auricle.training.recipes import CompressRecipe, recipe
    from auricle.training.stages import run_compress

    given = _given(epochs, learning_rate, batch_size, accumulation, evaluations, patience, seed)
    given |= {"shards": shards, "read": read, "rank": rank, "model": model, "mixed": mixed, "interval": interval}
    given |= {"boundaries": boundaries, "placement": placement, "silence": silence, "curriculum": _phases(phase)}
    options = load_options(dtype, None, trust_remote_code)
    run_compress(data, output, name, recipe(CompressRecipe, config, given), options)


def _phases(given: list[str] | None) -> tuple[tuple[int, ...], ...] | None:
    from auricle.errors import OptionError

    try:
        return tuple(tuple(map(int, phase.split(","))) for phase in given) if given else None
    except ValueError as error:
        raise OptionError(f"A phase of the curriculum is {given}; expected ratios such as 2,4.") from error


def _given(
    epochs: float | None,
    learning_rate: float | None,
    batch_size: int | None,
    accumulation: int | None,
    evaluations: int | None,
    patience: int | None,
    seed: int | None,
) -> dict[str, Any]:
    return {
        "epochs": epochs,
        "learning_rate": learning_rate,
        "batch_size": batch_size,
        "accumulation": accumulation,
        "evaluations": evaluations,
        "patience": patience,
        "seed": seed,
    }
