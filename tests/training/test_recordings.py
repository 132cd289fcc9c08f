"""Shards of recordings: what is said is in them, once; they are whole, and the same every time."""

from concurrent.futures import ThreadPoolExecutor
from time import sleep

import numpy as np
import pytest
import soundfile
import torch
from fake_speech import fake_voice, recipe

from auricle import audio
from auricle.audio import SAMPLE_RATE, WINDOW_SECONDS
from auricle.errors import TrainingError
from auricle.synthesis import SpokenSentence
from auricle.training import recordings, voicing
from auricle.training.recordings import ABOUT, build, load_shard, make_shard, save_shard, shard_path, shards
from auricle.training.talks import Question, endless
from fakes import noise

UTTERANCES, TALKS = 8, 2
QUESTION = Question("Where?", "Here", ("there", "then"))


@pytest.fixture
def small(monkeypatch, tmp_path):
    monkeypatch.setattr(voicing, "voice", lambda name, files: fake_voice(name, files, 0.05))
    monkeypatch.setattr(recordings, "UTTERANCES_PER_SHARD", UTTERANCES)
    monkeypatch.setattr(recordings, "TALKS_PER_SHARD", TALKS)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)  # else it would count for all other tests
    return recipe(tmp_path)


def test_a_shard(small, tmp_path):
    make_shard(small, tmp_path, 3)
    path = shard_path(tmp_path, 3)
    assert path.name == "shard-0003"
    found = load_shard(path)
    assert [one.audio for one in found] == sorted(path.glob("*.flac"))
    heard, single = found[:TALKS], found[TALKS:]
    drawn = endless(small.seed)
    written = [next(drawn) for _ in range(4 * TALKS)][3 * TALKS :]
    for one, talk in zip(heard, written, strict=True):
        assert one.text == talk.text
        assert one.questions == talk.questions
    assert all(one.questions == () for one in single)
    assert sum(len(one.sentences) for one in single) == UTTERANCES
    for one in found:
        seconds = soundfile.info(one.audio).duration
        assert soundfile.info(one.audio).samplerate == SAMPLE_RATE
        edges = [edge for sentence in one.sentences for edge in (sentence.start, sentence.end)]
        assert edges == sorted(edges)
        assert 0 <= edges[0] < edges[-1] <= seconds + 1e-3
        assert one.questions or seconds <= WINDOW_SECONDS


def test_a_shard_depends_on_seed_and_number_alone(small, tmp_path):
    made = {}
    for name, (given, index) in {
        "first": (small, 0),
        "again": (small, 0),
        "number": (small, 1),
        "seed": (recipe(tmp_path, 1), 0),
    }.items():
        make_shard(given, tmp_path / name, index)
        files = sorted(shard_path(tmp_path / name, index).iterdir())
        made[name] = [(file.name, file.read_bytes()) for file in files]
    assert made["first"] == made["again"]
    assert made["first"] != made["number"] != made["seed"] != made["first"]


def test_what_is_saved_is_loaded(tmp_path):
    said = (SpokenSentence("spk_1", "The boat.", 0.0, 0.5), SpokenSentence("spk_2", "A lamp.", 0.5, 1.0))
    save_shard(shard_path(tmp_path, 0), [(noise(1), said, (QUESTION,)), (3 * noise(2, 1), said[:1], ())])
    first, second = load_shard(shard_path(tmp_path, 0))
    assert (first.sentences, first.questions, first.text) == (said, (QUESTION,), "The boat. A lamp.")
    assert (second.sentences, second.questions) == (said[:1], ())
    np.testing.assert_allclose(audio.load(first.audio), noise(1), atol=1e-3)
    np.testing.assert_allclose(audio.load(second.audio), np.clip(3 * noise(2, 1), -1, 1), atol=1e-3)


def test_a_shard_is_whole_or_not_there(tmp_path, monkeypatch):
    def killed(file, *_):
        file.write_bytes(b"half")
        raise KeyboardInterrupt

    said = (SpokenSentence("spk_1", "a", 0.0, 1.0),)
    with monkeypatch.context() as patch:
        patch.setattr(recordings.soundfile, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            save_shard(shard_path(tmp_path, 0), [(noise(1), said, ())])
    assert not shard_path(tmp_path, 0).exists()
    with pytest.raises(TrainingError, match="no training recordings"):
        shards(tmp_path)
    save_shard(shard_path(tmp_path, 0), [(noise(1), said, ())])
    assert shards(tmp_path) == [shard_path(tmp_path, 0)]
    assert load_shard(shard_path(tmp_path, 0))[0].sentences == said


def test_shards_are_in_order(tmp_path):
    for index in (10, 2, 0):
        save_shard(shard_path(tmp_path, index), [(noise(0.1), (), ())])
    (tmp_path / "shard-0001").mkdir()
    assert shards(tmp_path) == [shard_path(tmp_path, index) for index in (0, 2, 10)]


@pytest.mark.parametrize(
    "line", ["{", '{"audio": "00.flac"}', '{"audio": "a", "sentences": [{}], "questions": []}']
)
def test_a_damaged_list(tmp_path, line):
    (tmp_path / ABOUT).write_text(line)
    with pytest.raises(TrainingError, match=r"(?s)recordings.jsonl' is damaged .*; remove '.*' and make it again"):
        load_shard(tmp_path)


@pytest.fixture
def threads(monkeypatch):
    """Threads for processes: those would take seconds to start."""

    def pool(processes, mp_context):
        assert mp_context.get_start_method() == "spawn"  # a fork of a process with threads may hang
        return ThreadPoolExecutor(processes)

    monkeypatch.setattr(recordings, "ProcessPoolExecutor", pool)


def test_build_makes_what_is_missing(small, tmp_path, threads, monkeypatch):
    made, folder = [], tmp_path / "new"

    def touch(recipe, folder, index):
        assert recipe == small
        made.append(index)
        shard_path(folder, index).mkdir()

    monkeypatch.setattr(recordings, "make_shard", touch)
    assert sorted(build(small, folder, 2, 1)) == [0, 1]
    shard_path(folder, 0).rmdir()
    assert sorted(build(small, folder, 4, 2)) == [0, 2, 3]
    assert list(build(small, folder, 4, 2)) == []
    assert sorted(made) == [0, 0, 1, 2, 3]


def test_build_stops_at_an_error(small, tmp_path, threads, monkeypatch):
    made = []

    def failing(recipe, folder, index):
        made.append(index)
        if index == 1:
            raise ValueError("no voice")
        sleep(0.05)

    monkeypatch.setattr(recordings, "make_shard", failing)
    with pytest.raises(ValueError, match="no voice"):
        list(build(small, tmp_path, 50, 1))
    assert len(made) < 10
