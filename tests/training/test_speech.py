"""Shards of speech: what is said is in them, once; they are whole, and the same every time."""

import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import sleep

import numpy as np
import pytest
import torch
from fake_speech import DIM, VOICES, fake_voice, recipe
from safetensors.torch import load_file

from auricle.audio import SAMPLE_RATE, WINDOW_SAMPLES
from auricle.training import speech
from auricle.training.speech import Utterance, build, make_shard, pack, save_shard, shard_path, speak

UTTERANCES = 8


@pytest.fixture
def small(monkeypatch, tmp_path):
    monkeypatch.setattr(speech, "voice", fake_voice)
    monkeypatch.setattr(speech, "UTTERANCES_PER_SHARD", UTTERANCES)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)  # else it would count for all other tests
    return recipe(tmp_path)


def utterances(seed, count=60, longest=31):
    """Each has a level of its own, by which it can be found again in a window."""
    rng = np.random.default_rng(seed)
    lengths = (rng.uniform(0.2, longest, count) * SAMPLE_RATE).astype(int)
    return [Utterance(f"text {i}", np.ones(length, np.float32)) for i, length in enumerate(lengths)]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("full", [0.0, 0.75, 1.0])
def test_pack(seed, full):
    given = utterances(seed, longest=(6, 31)[seed % 2])
    fitting = {u.text: len(u.waveform) for u in given if len(u.waveform) < WINDOW_SAMPLES - SAMPLE_RATE}
    packed = list(pack(given, np.random.default_rng(seed), full))
    assert sorted(text for _, said in packed for text in said) == sorted(fitting)
    for waveform, said in packed:
        assert waveform.dtype == np.float32
        assert 0 < len(waveform) <= WINDOW_SAMPLES
        assert said
        # Not a sample of what is said is cut off, and the level of each utterance is its own.
        assert np.count_nonzero(waveform) == sum(fitting[text] for text in said)
        runs = np.split(waveform, np.flatnonzero(np.diff(waveform)) + 1)
        spoken = [run for run in runs if run.any()]
        assert [len(run) for run in spoken] == [fitting[text] for text in said]
        assert all(10 ** (-6 / 20) - 1e-6 <= run[0] <= 10 ** (6 / 20) + 1e-6 for run in spoken)
        assert not waveform[: SAMPLE_RATE // 10].any()


def test_full_windows_are_full():
    packed = list(pack(utterances(3, longest=4), np.random.default_rng(0), 1.0))
    assert all(len(waveform) > 24 * SAMPLE_RATE for waveform, _ in packed[:-1])


def test_nothing_to_pack():
    assert list(pack([], np.random.default_rng(0))) == []


def test_speak(small):
    spoken = speak(small, np.random.default_rng(0))
    assert len({u.text for u in spoken}) == UTTERANCES
    again = speak(small, np.random.default_rng(0))
    assert [u.text for u in again] == [u.text for u in spoken]
    for one, other in zip(spoken, again, strict=True):
        assert np.array_equal(one.waveform, other.waveform)
        words = len(one.text.split())
        assert 0.3 / 1.31 * words <= len(one.waveform) / SAMPLE_RATE <= 0.3 / 0.79 * words


def test_every_voice_speaks_its_share(small, monkeypatch):
    monkeypatch.setattr(speech, "UTTERANCES_PER_SHARD", 400)
    asked = {}

    def counting(name, files):
        made = fake_voice(name, seconds=0.02)

        class Counting:
            def speak_all(self, lines, speed):
                asked.setdefault(name, []).extend([speed] * len(lines))
                return made.speak_all(lines, speed)

        return Counting()

    monkeypatch.setattr(speech, "voice", counting)
    speak(small, np.random.default_rng(1))
    for name, share in VOICES.items():
        assert len(asked[name]) / 400 == pytest.approx(share, abs=0.08)
    assert set(asked["piper/joe"]) == {0.9, 1.1}
    assert len(set(asked["flite/slt"])) > 20


def test_a_shard(small, tmp_path):
    make_shard(small, tmp_path, 3)
    path = shard_path(tmp_path, 3)
    assert path.name == "speech-0003.safetensors"
    states, said = load_file(path)["states"], json.loads(path.with_suffix(".json").read_text())
    assert states.shape == (len(said), 1500, DIM)
    assert states.dtype == torch.bfloat16
    assert torch.isfinite(states).all()
    assert sum(map(len, said)) == UTTERANCES


def test_a_shard_depends_on_seed_and_number_alone(small, tmp_path):
    folders = {}
    for name, (given, index) in {
        "first": (small, 0),
        "again": (small, 0),
        "number": (small, 1),
        "seed": (recipe(tmp_path, 1), 0),
    }.items():
        (tmp_path / name).mkdir()
        make_shard(given, tmp_path / name, index)
        path = shard_path(tmp_path / name, index)
        folders[name] = path.read_bytes(), path.with_suffix(".json").read_bytes()
    assert folders["first"] == folders["again"]
    assert folders["first"][1] != folders["number"][1] != folders["seed"][1] != folders["first"][1]


def test_a_shard_is_whole_or_not_there(tmp_path, monkeypatch):
    path, real = shard_path(tmp_path, 0), speech.save_file

    def killed(tensors, file):
        real(tensors, file)
        file.write_bytes(file.read_bytes()[:20])
        raise KeyboardInterrupt

    monkeypatch.setattr(speech, "save_file", killed)
    with pytest.raises(KeyboardInterrupt):
        save_shard(path, torch.ones(1, 4, DIM), [["a"]])
    assert not path.exists()
    assert not list(tmp_path.glob("speech-*.safetensors"))
    monkeypatch.setattr(speech, "save_file", real)
    save_shard(path, torch.ones(1, 4, DIM), [["b"]])
    assert load_file(path)["states"].shape == (1, 4, DIM)
    assert json.loads(path.with_suffix(".json").read_text()) == [["b"]]


@pytest.fixture
def threads(monkeypatch):
    """Threads for processes: those would take seconds to start."""

    def pool(processes, mp_context):
        assert mp_context.get_start_method() == "spawn"  # a fork of a process with threads may hang
        return ThreadPoolExecutor(processes)

    monkeypatch.setattr(speech, "ProcessPoolExecutor", pool)


def touch(made, recipe, folder, index):
    made.append(index)
    shard_path(folder, index).touch()


def test_build_makes_what_is_missing(small, tmp_path, threads):
    made = []
    assert sorted(build(partial(touch, made), small, tmp_path / "new", 2, 1)) == [0, 1]
    shard_path(tmp_path / "new", 0).unlink()
    assert sorted(build(partial(touch, made), small, tmp_path / "new", 4, 2)) == [0, 2, 3]
    assert list(build(partial(touch, made), small, tmp_path / "new", 4, 2)) == []
    assert sorted(made) == [0, 0, 1, 2, 3]


def test_build_stops_at_an_error(small, tmp_path, threads):
    made = []

    def failing(recipe, folder, index):
        made.append(index)
        if index == 1:
            raise ValueError("no voice")
        sleep(0.05)

    with pytest.raises(ValueError, match="no voice"):
        list(build(failing, small, tmp_path, 50, 1))
    assert len(made) < 10
