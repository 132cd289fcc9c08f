"""Runs an evaluation in this process, in several, or on a Ray cluster: each process has a model of its own.

Processes of this machine have a share of the samples and a file of the log each. Workers of a cluster get the next
sample when they are free, and send their records back to this process, which alone writes the log.
"""

import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context, parent_process
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from auricle import loading, registry
from auricle.benchmarks.base import Benchmark, Sample
from auricle.cluster import on_ray
from auricle.errors import ModelError
from auricle.evaluation.log import Log, Record, Run, answered
from auricle.evaluation.run import Asking, Plan, Todo, evaluate, questions, use_threads
from auricle.models.hugging_face import HuggingFaceSpeechLM
from auricle.speech_lm import SpeechLM
from auricle.summarization import summarizer as summarization
from auricle.summarization.summarizer import Summarizer

Progress = Callable[[int], None]  # samples done
_LOOK_SECONDS = 0.5
_stop: Event | None = None  # of a process of `launch`: set when its work is not wanted any more


@dataclass(frozen=True)
class Job:
    """All that a process needs to know; it can be sent to one.

    Attributes:
        model: as `auricle.load` takes it.
        model_options: further arguments of `auricle.load`.
        benchmark: its name.
        benchmark_options: of its dataclass.
        sst: folder of the SSTs, for methods that summarize; None takes the package's.
        plan: how it is asked.
        folder: where the log goes.
    """

    model: str
    benchmark: str
    plan: Plan
    folder: Path
    model_options: Mapping[str, Any] = field(default_factory=dict)
    benchmark_options: Mapping[str, Any] = field(default_factory=dict)
    sst: Path | None = None


def launch(job: Job, processes: int = 1, on_sample: Progress = lambda _: None, ray: str | None = None) -> None:
    """Asks all that the job's log does not hold yet.

    Args:
        job: what is asked of whom.
        processes: how many share the samples. Two with a core each are faster than one with two.
        on_sample: called with the number of samples done whenever it grows.
        ray: where the processes run, as `auricle.cluster.on_ray` takes it; None: here, and without Ray.

    Raises:
        OptionError: the folder holds the log of another run, or the cluster cannot be joined.
        MissingDependencyError: ray is asked for and not installed.
        ModelError: a process died, for want of memory for example.
        AuricleError: whatever the model or the benchmark raises.
    """
    try:
        if ray is None:
            _here(job, processes, on_sample)
        else:
            _on_ray(job, processes, on_sample, ray)
    except BrokenProcessPool as error:
        raise ModelError(
            "A process of the evaluation died, perhaps for want of memory; run the command again with fewer"
            " processes, it goes on where it was."
        ) from error


def _here(job: Job, processes: int, on_sample: Progress) -> None:
    counters = [job.folder / f".progress-{part}" for part in range(processes)]
    job.folder.mkdir(parents=True, exist_ok=True)
    for counter in counters:
        counter.write_bytes(b"")
    try:
        if processes == 1:
            work(job, 0, 1, on_sample)
            return
        context = get_context("spawn")
        stop = context.Event()
        with ProcessPoolExecutor(processes, context, _listen_to, (stop,)) as pool:
            futures = [pool.submit(work, job, part, processes) for part in range(processes)]
            waiting = set(futures)
            try:
                while waiting:
                    _, waiting = wait(waiting, timeout=_LOOK_SECONDS, return_when=FIRST_EXCEPTION)
                    on_sample(sum(counter.stat().st_size for counter in counters))
                    for future in futures:
                        if future.done():
                            future.result()
            finally:
                stop.set()  # after an error the others end with the sample that they are at
    finally:
        for counter in counters:
            counter.unlink(missing_ok=True)


def _on_ray(job: Job, processes: int, on_sample: Progress, address: str) -> None:
    benchmark = registry.benchmark(job.benchmark, **job.benchmark_options)
    # Samples that are done go to the workers, too: only the model can say whether this is its log.
    every = questions(benchmark, job.plan, answered(job.folder))
    gpu = str(job.model_options.get("device")).startswith("cuda")
    log: Log | None = None
    with ExitStack() as stack:
        answers = stack.enter_context(closing(on_ray(partial(_worker, job), every, processes, address, gpu=gpu)))
        for done, (name, weights, records) in enumerate(answers, 1):
            if log is None:
                log = stack.enter_context(Log(job.folder, _run(job, benchmark, name, weights)))
            if new := [record for record in records if record.key not in log.done]:
                log.write(*new)
            on_sample(done)


def _worker(job: Job, parts: int) -> Callable[[tuple[Sample, Todo]], tuple[str, str, list[Record]]]:
    """What a worker of a cluster does: of a sample it makes the model's name, its weights, and records."""
    lm, summarizer = _load(job, parts)
    ask = Asking(lm, job.plan, summarizer)
    return lambda question: (lm.name, _weights(lm), ask(*question) if question[1] else [])


def work(job: Job, part: int, parts: int, on_sample: Progress | None = None) -> None:
    """Does one process's share; a byte in its counter file stands for a sample done."""
    lm, summarizer = _load(job, parts)
    benchmark = registry.benchmark(job.benchmark, **job.benchmark_options)
    done = 0

    def count() -> None:
        nonlocal done
        done += 1
        with (job.folder / f".progress-{part}").open("ab") as counter:
            counter.write(b".")
        if on_sample:
            on_sample(done)
        if _stop is not None and _stop.is_set():
            raise ModelError("The evaluation was stopped; run the command again, it goes on where it was.")

    with Log(job.folder, _run(job, benchmark, lm.name, _weights(lm)), part) as log:
        evaluate(lm, benchmark, job.plan, log, part=part, parts=parts, summarizer=summarizer, on_sample=count)


def _load(job: Job, parts: int) -> tuple[SpeechLM, Summarizer | None]:
    """The model, in one of so many processes of a machine."""
    if parts > 1:
        use_threads(parts)
    lm = loading.load(job.model, **job.model_options)
    summarize = any(method.compression_ratio for method in job.plan.methods)
    return lm, summarization.load(lm, job.sst) if summarize else None


def _run(job: Job, benchmark: Benchmark, model: str, weights: str) -> Run:
    data = str(job.benchmark_options.get("data", getattr(benchmark, "data", "")))
    return Run(
        model=model,
        benchmark=benchmark.name,
        data=str(Path(data).resolve()) if Path(data).exists() else data,
        protocol=job.plan.protocol,
        permute=job.plan.permute,
        seed=job.plan.seed,
        options=_options(job),
        weights=weights + (f", SSTs of {job.sst}" if job.sst else ""),
        note=benchmark.note,
    )


def _options(job: Job) -> dict[str, str]:
    """What a log is held to; data has its own field, and further tasks may be asked later."""
    options = {name: str(value) for name, value in job.benchmark_options.items() if name not in ("data", "tasks")}
    most = job.plan.max_new_tokens
    return options if most is None else options | {"max_new_tokens": str(most)}


def _listen_to(stop: Event) -> None:
    global _stop  # noqa: PLW0603 - a process of the pool is told once
    _stop = stop
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Ends this process when the one that began it is gone, whatever it is doing: it holds the log's file."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _weights(lm: SpeechLM) -> str:
    """What tells a model's weights from others of its name: the folder or hub id, and the number format."""
    if not isinstance(lm, HuggingFaceSpeechLM):
        return ""
    config = lm.model.config
    return f"{Path(str(config.name_or_path)).name} {str(lm.model.dtype).removeprefix('torch.')}".strip()
