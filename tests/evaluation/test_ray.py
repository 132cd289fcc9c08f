"""An evaluation on a Ray cluster gives the log that one on this machine gives."""

import json
import os
import signal
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
from typing_extensions import override

from auricle import loading, registry
from auricle.benchmarks.base import Benchmark
from auricle.benchmarks.spiral import Spiral
from auricle.errors import ModelError, OptionError
from auricle.evaluation import launch as launching
from auricle.evaluation.launch import Job, launch
from auricle.evaluation.log import read_run
from auricle.evaluation.methods import baselines, methods
from auricle.evaluation.run import Plan
from fakes import FakeSpeechLM
from models import tiny_mini
from sets import write_spiral

PLAN = Plan((*baselines(), *methods(["speechprune", "random-pieces"], [0.6])))
COUNT = 6


@dataclass(frozen=True)
class Deadly(Benchmark):
    """Whoever first reads the recording of its fourth sample is killed in the middle of that."""

    data: Path

    @property
    @override
    def name(self):
        return "spiral"

    @override
    def samples(self):
        for number, sample in enumerate(Spiral(self.data).samples()):
            yield (
                replace(sample, load=partial(_die_once, sample.load, self.data / "died")) if number == 3 else sample
            )


def _die_once(load, mark):
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return load()


@pytest.fixture
def job(tmp_path):
    data = write_spiral(tmp_path / "data", COUNT, seconds=9.0)
    tiny_mini.model().save_pretrained(tmp_path / "model")
    tiny_mini.processor().save_pretrained(tmp_path / "model")
    return Job(str(tmp_path / "model"), "spiral", PLAN, tmp_path / "run", {}, {"data": data})


def without_times(folder):
    """Every line of the log by its key, to the last digit."""
    lines = [json.loads(line) for path in folder.glob("log-*.jsonl") for line in path.read_text().splitlines()]
    found = {(line["sample"], line["method"]): {**line, "seconds": sorted(line["seconds"])} for line in lines}
    assert len(found) == len(lines), "an answer stands there twice"
    return found


def test_the_log_is_the_local_one_though_a_worker_is_killed(job, cluster, tmp_path, monkeypatch, capfd):
    """And each goes on with what the other left: a method here, then one there, then all of them here."""
    local = replace(job, folder=tmp_path / "local")
    launch(local)
    launch(replace(job, plan=replace(PLAN, methods=PLAN.methods[:1], limit=2)))
    with monkeypatch.context() as patch:
        patch.setattr(registry, "benchmark", lambda _, data: Deadly(data))
        done = []
        launch(replace(job, plan=replace(PLAN, methods=PLAN.methods[:-1])), 2, done.append, cluster)
    assert (tmp_path / "data/died").exists()
    assert done == list(range(1, COUNT + 1))
    assert len(without_times(job.folder)) == COUNT * (len(PLAN.methods) - 1)
    launch(job)
    assert without_times(job.folder) == without_times(local.folder)
    assert sorted(path.name for path in job.folder.iterdir()) == ["log-0.jsonl", "run.json"]
    assert read_run(job.folder) == read_run(local.folder)


def test_what_the_driver_does(job, monkeypatch):
    """Samples come with what is to do; what comes back twice is written once; cards are asked for by the device."""
    monkeypatch.setattr(loading, "load", lambda *_, **__: FakeSpeechLM())
    asked = []

    def here(prepare, items, processes, address, *, gpu):
        asked.append((processes, address, gpu))
        work = prepare(1)
        for sample, todo in items:
            asked.append((sample.id, len(todo)))
            yield from [work((sample, todo))] * 2

    monkeypatch.setattr(launching, "on_ray", here)
    first = Plan(PLAN.methods[:2], limit=2)
    launch(replace(job, plan=first), 3, ray="auto")
    launch(replace(job, plan=PLAN, model_options={"device": "cuda"}), ray="local")
    every = [(f"set_{number}", 6) for number in range(COUNT)]
    assert asked == [
        *((3, "auto", False), ("set_0", 2), ("set_1", 2)),
        *((1, "local", True), ("set_0", 4), ("set_1", 4), *every[2:]),
    ]
    assert len(without_times(job.folder)) == 6 * COUNT
    before = (job.folder / "log-0.jsonl").read_bytes()
    with pytest.raises(OptionError, match="seed 0"):  # also where all is done
        launch(replace(job, plan=replace(PLAN, seed=1)), ray="local")
    assert (job.folder / "log-0.jsonl").read_bytes() == before


def test_a_worker_that_dies_again_and_again(job, monkeypatch):
    def die(*_, **__):
        raise launching.BrokenProcessPool("A worker died 3 times.")
        yield

    monkeypatch.setattr(launching, "on_ray", die)
    with pytest.raises(ModelError, match="goes on where it was"):
        launch(job, 2, ray="local")
