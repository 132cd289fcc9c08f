"""Shards of speech: what is said is in them, once; they are whole, and the same every time."""

import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import sleep

import pytest
import torch
from fake_speech import DIM, fake_voice, recipe
from safetensors.torch import load_file
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from auricle.audio import SAMPLE_RATE
from auricle.models.mini.ear import TRAINED_LAYERS
from auricle.training import speech, voicing
from auricle.training.speech import (
    Recording,
    build,
    encode_window,
    load_encoder,
    load_shard,
    make_shard,
    save_shard,
    shard_path,
)
from auricle.training.talks import talks
from auricle.training.voicing import Said

UTTERANCES, TALKS = 8, 2


@pytest.fixture
def small(monkeypatch, tmp_path):
    monkeypatch.setattr(voicing, "voice", lambda name, files: fake_voice(name, files, 0.2))
    monkeypatch.setattr(speech, "UTTERANCES_PER_SHARD", UTTERANCES)
    monkeypatch.setattr(speech, "TALKS_PER_SHARD", TALKS)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)  # else it would count for all other tests
    return recipe(tmp_path)


def test_a_shard(small, tmp_path):
    make_shard(small, tmp_path, 3)
    path = shard_path(tmp_path, 3)
    assert path.name == "speech-0003.safetensors"
    states, recordings = load_file(path)["states"], load_shard(path)
    assert states.shape == (sum(len(one.windows) for one in recordings), 1500, DIM)
    assert states.dtype == torch.bfloat16
    assert torch.isfinite(states).all()
    heard, single = recordings[:TALKS], recordings[TALKS:]
    written = {talk.text: talk for talk in talks()}
    for one in heard:
        assert one.questions == tuple((q.question, q.answer) for q in written[one.text].questions)
    assert all(one.questions == () and len(one.windows) == 1 for one in single)
    assert sum(len(one.windows[0]) for one in single) == UTTERANCES
    for one in recordings:
        assert len(one.lengths) == len(one.windows)
        for window, length in zip(one.windows, one.lengths, strict=True):
            assert 0 < length <= 375
            assert window[-1].end <= length * 0.08 + 1e-6
            assert [said.end for said in window] == sorted(said.end for said in window)


def test_states_lie_below_the_trained_layers(small):
    """The layers above them, run by hand, give what the whole encoder gives."""
    whole = WhisperEncoder.from_pretrained(small.encoder, dtype=torch.bfloat16).eval()
    waveform = fake_voice("x").speak("one two three").waveform
    states = encode_window(load_encoder(small.encoder), waveform)[None]
    features = speech.WhisperFeatureExtractor(feature_size=80)(
        waveform, sampling_rate=SAMPLE_RATE, return_tensors="pt"
    )["input_features"]
    with torch.no_grad():
        expected = whole(features.bfloat16()).last_hidden_state
        for layer in whole.layers[-TRAINED_LAYERS:]:
            states = layer(states, None)
        assert torch.equal(whole.layer_norm(states), expected)


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


def about(text):
    return Recording(((Said(text, 0.5),),), (7,), (("Where?", "Here"),))


def test_a_shard_is_whole_or_not_there(tmp_path, monkeypatch):
    path, real = shard_path(tmp_path, 0), speech.save_file

    def killed(tensors, file):
        real(tensors, file)
        file.write_bytes(file.read_bytes()[:20])
        raise KeyboardInterrupt

    monkeypatch.setattr(speech, "save_file", killed)
    with pytest.raises(KeyboardInterrupt):
        save_shard(path, torch.ones(1, 4, DIM), [about("a")])
    assert not path.exists()
    assert not list(tmp_path.glob("speech-*.safetensors"))
    monkeypatch.setattr(speech, "save_file", real)
    save_shard(path, torch.ones(1, 4, DIM), [about("b")])
    assert load_file(path)["states"].shape == (1, 4, DIM)
    assert load_shard(path) == [about("b")]
    assert json.loads(path.with_suffix(".json").read_text())[0]["lengths"] == [7]


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
