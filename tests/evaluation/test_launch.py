import fcntl
import time
from dataclasses import replace
from multiprocessing import get_context

import pytest

from auricle import loading
from auricle.errors import DataError, ModelError, OptionError, WeightsError
from auricle.evaluation import launch as launching
from auricle.evaluation.launch import Job, launch
from auricle.evaluation.log import read, read_run
from auricle.evaluation.methods import baselines, methods, summarizations
from auricle.evaluation.run import Plan
from auricle.summarization.sst import new_sst, save_sst
from auricle.summarization.summarizer import Summarization
from fakes import FakeSpeechLM
from layouts import write_longspeech
from models import tiny_mini
from sets import write_spiral

PLAN = Plan((*baselines(), *methods(["speechprune"], [0.6])))


@pytest.fixture
def job(tmp_path):
    data = write_spiral(tmp_path / "data", 3, seconds=9.0)
    (tmp_path / "model").mkdir()
    tiny_mini.model().save_pretrained(tmp_path / "model")
    tiny_mini.processor().save_pretrained(tmp_path / "model")
    return Job(str(tmp_path / "model"), "spiral", PLAN, tmp_path / "run", {}, {"data": data})


def test_two_processes_give_what_one_gives(job, tmp_path):
    done = []
    launch(job, 2, done.append)
    assert done[-1] == 3
    alone = Job(job.model, job.benchmark, PLAN, tmp_path / "alone", {}, job.benchmark_options)
    launch(alone)
    both = [{each.key: each for each in read(folder)} for folder in (job.folder, alone.folder)]
    assert both[0].keys() == both[1].keys()
    assert len(both[0]) == 15
    for key, each in both[0].items():
        other = both[1][key]
        assert each.loglikelihoods == pytest.approx(other.loglikelihoods, rel=1e-3)
        assert (each.kept_tokens, each.recall, each.correct) == (other.kept_tokens, other.recall, other.correct)
    assert not list(job.folder.glob(".progress*"))


def test_ssts_are_loaded_where_a_method_summarizes(job, tmp_path):
    lm = loading.load(job.model)
    lm.model.generation_config.eos_token_id = 2
    save_sst(new_sst(lm), tmp_path / "sst", Summarization(silence="read"))
    lm.model.generation_config.save_pretrained(tmp_path / "model")
    launch(replace(job, plan=Plan(summarizations([8])), sst=tmp_path / "sst"))
    found = list(read(job.folder))
    assert {each.method for each in found} == {"speech-xl 8"}
    assert not any(each.error for each in found)
    assert all(each.kept_tokens == -(-each.audio_tokens // 8) for each in found)
    with pytest.raises(WeightsError, match="holds no Speech Summarization Tokens"):
        launch(replace(job, folder=tmp_path / "b", plan=Plan(summarizations([8])), sst=tmp_path))


def test_errors_of_a_process_come_through(job, tmp_path):
    (tmp_path / "data/wavs/set_1.wav").unlink()
    with pytest.raises(DataError, match="set_1"):
        launch(job, 2)


def test_an_error_stops_the_other_processes(job, tmp_path):
    data = write_spiral(tmp_path / "many", 40, seconds=9.0)
    job.folder.mkdir()
    with (job.folder / "log-1.jsonl").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(OptionError, match="Another process writes"):
            launch(replace(job, benchmark_options={"data": data}), 2)
    assert len({each.sample for each in read(job.folder)}) < 19


def test_a_killed_evaluation_leaves_no_process_behind(job, tmp_path):
    """The log's files can be written again at once, while each of its processes was at a long sample."""
    data = write_spiral(tmp_path / "many", 40, seconds=120.0)
    job = replace(job, benchmark_options={"data": data})
    running = get_context("spawn").Process(target=launch, args=(job, 2))
    running.start()
    until = time.monotonic() + 120
    while len(list(job.folder.glob("log-*.jsonl"))) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    running.kill()
    running.join()
    for number in (0, 1):
        until = time.monotonic() + 5
        while not _free(job.folder / f"log-{number}.jsonl"):
            assert time.monotonic() < until, "a process lives on"
            time.sleep(0.02)


def _free(path):
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True


def test_a_dead_process_is_noticed(job, monkeypatch):
    monkeypatch.setattr(launching, "work", _die)
    with pytest.raises(ModelError, match="died"):
        launch(job, 2)


def _die(*_):
    import os

    os._exit(1)


def test_one_process_counts_and_writes_the_run(job, monkeypatch):
    monkeypatch.setattr(loading, "load", lambda *_, **__: FakeSpeechLM())
    done = []
    launch(job, 1, done.append)
    assert done == [1, 2, 3]
    assert read_run(job.folder).model == "fake"
    assert read_run(job.folder).weights == ""
    with pytest.raises(OptionError, match="seed"):
        launch(Job(job.model, "spiral", Plan(PLAN.methods, seed=1), job.folder, {}, job.benchmark_options))


def test_further_tasks_go_into_the_same_log(job, tmp_path):
    """What stands in for a benchmark says so in the run; open answers end where the plan says."""
    data = write_longspeech(tmp_path / "long")
    (data / "fixture.json").write_text('{"note": "This is not it."}')
    plan = Plan(methods(["full"], [0.0]), max_new_tokens=2)
    job = replace(job, benchmark="longspeech", plan=plan)
    for tasks in (("summary",), ("emotionQA", "summary")):
        launch(replace(job, benchmark_options={"data": data, "tasks": tasks}))
    assert {each.task for each in read(job.folder)} == {"summary", "emotionQA"}
    run = read_run(job.folder)
    assert (run.note, run.options) == ("This is not it.", {"max_new_tokens": "2"})
    with pytest.raises(OptionError, match="max_new_tokens"):
        launch(replace(job, plan=replace(plan, max_new_tokens=3), benchmark_options={"data": data}))
