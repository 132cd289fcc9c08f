"""Options of the commands that ask a benchmark's questions."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from auricle.cli.memory import BoundariesName


class ProtocolName(StrEnum):
    """How an answer is had."""

    loglikelihood = "loglikelihood"
    generate = "generate"


Benchmark = Annotated[str, typer.Argument(metavar="BENCHMARK", help="See 'auricle benchmarks'.")]
Output = Annotated[Path, typer.Option(help="Where the log goes; a run that was killed goes on there.")]
Data = Annotated[
    str | None, typer.Option(help="A folder or file, or a hub id; needed unless the benchmark has one.")
]
Pruners = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME", help="See 'auricle pruners'; NAME:OPTION=VALUE,... sets its options; give several."
    ),
]
Rates = Annotated[list[float] | None, typer.Option(help="0 to 1; give several.")]
Boundaries = Annotated[
    list[BoundariesName] | None,
    typer.Option(help="Of Speech-XL's intervals; give both to compare; as trained by default."),
]
ProtocolOption = Annotated[
    ProtocolName, typer.Option("--protocol", help="Likelihood of every choice, or a generated letter.")
]
Permute = Annotated[
    int, typer.Option(min=0, help="In how many orders choices are listed; 0: as published, 4: all letters.")
]
Limit = Annotated[int | None, typer.Option(min=1, help="Ask the first samples only, of each task.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the orders, and of methods that draw at random.")]
Processes = Annotated[int, typer.Option(min=1, help="Each with a model of its own.")]
AsPublished = Annotated[
    bool,
    typer.Option(
        "--as-published", help="Leave out what the benchmark's own scripts leave out: answers that cannot be read."
    ),
]
Runs = Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders of 'auricle eval --output'.")]
Task = Annotated[
    list[str] | None, typer.Option(help="Of a benchmark that has several; give several; all by default.")
]
MaxNewTokens = Annotated[
    int | None,
    typer.Option(
        min=1, help="Where long open answers end, such as transcripts; by default where the benchmark says."
    ),
]
LongerThan = Annotated[
    float | None, typer.Option(help="Seconds; leave shorter recordings out (dream-tts, cn-college-listen).")
]
Compose = Annotated[bool, typer.Option("--compose", help="Also summarize what each pruner leaves.")]
