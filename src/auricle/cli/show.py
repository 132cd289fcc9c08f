"""Results for people, and progress on stderr where that is a terminal."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from auricle.asking import Answer
    from auricle.profiling import Row
    from auricle.spiral.check import Report
    from auricle.summarization.memory import Memory
    from auricle.transcribing import Transcript

_SPANS_SHOWN = 6  # the longest of them


class Listener(Protocol):
    """Is told how far the work is, and by the way what is done now."""

    def __call__(self, done: int, total: int, what: str | None = None) -> None:
        """Shows the steps done and all steps; `what` replaces the words before the bar."""


@contextmanager
def progress(what: str) -> Iterator[Listener]:
    """A bar on stderr while the block runs."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)

        def listen(done: int, total: int, what: str | None = None) -> None:
            bar.update(task, completed=done, total=total, description=what)

        yield listen


@contextmanager
def status(what: str) -> Iterator[None]:
    """A spinner on stderr while the block runs."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(what):
        yield


def answer(answered: "Answer", duration: float, choices: Sequence[str] = (), *, as_json: bool = False) -> None:
    """The answer, the choices with their scores, what was kept, and how long each step took."""
    if as_json:
        print(answered.to_json())  # noqa: T201
        return
    out = _out()
    letter = f"{answered.choice}  " if answered.choice else ""
    out.print(Text(f"{letter}{answered.answer}", style="bold"))
    for (name, score), text in zip((answered.scores or {}).items(), choices, strict=True):
        out.print(Text(f"   {name} {score:+8.2f}  {text}", style="" if name == answered.choice else "dim"))
    tokens, seconds = answered.tokens, answered.seconds
    kept = sum(end - start for start, end in answered.kept_spans)
    out.print(
        f"\nkept     {tokens.kept} of {tokens.audio} speech tokens, {kept:.1f} of {duration:.1f} s;"
        f" {tokens.text} text tokens"
    )
    if answered.kept_spans:
        longest = sorted(sorted(answered.kept_spans, key=lambda span: span[0] - span[1])[:_SPANS_SHOWN])
        more = len(answered.kept_spans) - len(longest)
        shown = ", ".join(f"{clock(start)}-{clock(end)}" for start, end in longest)
        out.print(f"spans    {shown}{f' and {more} shorter ones' if more else ''}")
    rate = "" if answered.pruning_rate is None else f" {answered.pruning_rate:g}"
    ratio = "" if answered.compression_ratio is None else f" {answered.compression_ratio}"
    first, plus, last = answered.pruner.rpartition(" + ")
    method = f"{first}{rate}{plus}{last}{ratio}" if plus else f"{last}{rate}{ratio}"
    out.print(Text(f"method   {method}, model {answered.model}"))
    out.print(
        f"seconds  encode {seconds.encode:.2f}, prune {seconds.prune:.3f},"
        f" prefill {seconds.prefill:.2f}, decode {seconds.decode:.2f}"
    )


def memory(made: "Memory", path: Path, *, as_json: bool) -> None:
    """What a recording was summarized to."""
    about = made.about
    if as_json:
        said = {name: value for name, value in vars(about).items() if name != "prefix"}
        print(json.dumps(said | {"file": str(path), "ssts": len(made), "nbytes": made.nbytes}))  # noqa: T201
        return
    _out().print(
        f"{path}: {about.duration:.1f} s, {about.speech_tokens} speech tokens in {len(made)} summarization tokens,"
        f" {made.nbytes / 1e6:.2f} MB"
    )


def transcript(written: "Transcript") -> None:
    """Each window's words behind its times."""
    out = _out()
    for segment in written.segments:
        out.print(Text(f"{clock(segment.start)}-{clock(segment.end)}  {segment.text}"))


def profile(rows: Sequence["Row"], about_run: Mapping[str, Any]) -> None:
    """The costs as a table with the columns of the paper's Table 1 and the overhead."""
    table = Table(title=about(about_run), title_justify="left", box=None, header_style="bold", pad_edge=False)
    table.add_column("method")
    for column in (
        "rate",
        "speech\ntokens",
        "all\ntokens",
        "TFLOPs",
        "TFLOPs\nformula",
        "prefill\nms",
        "GB\npeak",
        "GB\nformula",
        "overhead\nms",
        "overhead\nshare",
    ):
        table.add_column(column, justify="right")
    for row in rows:
        measured = row.prefill
        table.add_row(
            row.method,
            _rate(row),
            str(row.speech_tokens),
            str(row.total_tokens),
            f"{measured.tflops:.4g}" if measured else "too long",
            f"{row.tflops_formula:.4g}",
            f"{measured.seconds * 1000:.0f}" if measured else "",
            f"{measured.peak_memory / 1e9:.3f}" if measured and measured.peak_memory is not None else "",
            f"{row.memory_formula.total / 1e9:.3f}",
            f"{row.overhead_seconds * 1000:.1f}",
            "" if row.overhead_share is None else f"{row.overhead_share:.1%}",
        )
    _out(width=120).print(table)


def _rate(row: "Row") -> str:
    """A pruning rate, or a ratio of compression."""
    if row.compression_ratio is not None:
        return f"1/{row.compression_ratio}"
    return "" if row.pruning_rate is None else f"{row.pruning_rate:g}"


def pruners(methods: Mapping[str, Any]) -> None:
    """Each method with the first line of its documentation."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, method in methods.items():
        table.add_row(name, Text((method.__doc__ or "").strip().splitlines()[0]))
    _out(width=120).print(table)


def quality(found: "Report") -> None:
    """The verdicts on a set, the samples that fail one, and how answerable its questions are."""
    out = _out(width=120)
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("check")
    for column in ("found", "wanted", ""):
        table.add_column(column, justify="right")
    for verdict in found.verdicts:
        wanted = f"{verdict.rule} {verdict.threshold:.3g}"
        table.add_row(verdict.name, f"{verdict.value:.3f}", wanted, "good" if verdict.passed else "FAILED")
    out.print(table)
    scores = ", ".join(f"{name} {each.value:.2f}" for name, each in found.opinion.items())
    out.print(f"\n{found.samples} samples, word error {found.wer.value:.4f}, {scores}, {found.seconds.value:.1f} s")
    if asked := found.controls:
        out.print(
            f"{asked.model} is right in {asked.question.value:.3f} by the question alone and in"
            f" {asked.transcript.value:.3f} with the transcript; chance is {found.chance:.3f}"
        )
    for row in found.rows:
        if row.faults:
            out.print(Text(f"   {row.id}: {', '.join(row.faults)}"))


def models(mini: str, architectures: Mapping[str, str]) -> None:
    """Where auricle-mini is, and the architectures with their tokens per second."""
    out = _out(width=120)
    out.print(Text(f"mini  {mini}\n"))
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("architecture, in a folder or on the Hugging Face hub")
    table.add_column("tokens per second")
    for name, rate in architectures.items():
        table.add_row(name, rate)
    out.print(table)


def about(run: Mapping[str, Any]) -> str:
    """What was profiled, in one line."""
    return f"{run['model']}, {run['duration']:.1f} s of audio, {run['device']}, {run['dtype']}"


def clock(seconds: float) -> str:
    """Minutes and seconds, as 1:02.50, and hours where there are any."""
    minutes, rest = divmod(round(seconds * 100), 6000)
    hours, minutes = divmod(minutes, 60)
    text = f"{minutes:02d}:{rest / 100:05.2f}" if hours else f"{minutes}:{rest / 100:05.2f}"
    return f"{hours}:{text}" if hours else text


def _out(width: int | None = None) -> Console:
    """Stdout; a table keeps its width where there is no terminal to fit it into."""
    console = Console(highlight=False, markup=False, soft_wrap=True)
    if width and not console.is_terminal:
        console.width = width
    return console
