"""Shards of whole recordings with questions."""

import json

import pytest
import torch
from fake_speech import DIM, fake_voice, recipe
from safetensors.torch import load_file

from auricle.training import recordings
from auricle.training.speech import shard_path

RECORDINGS = 3


@pytest.fixture
def shard(monkeypatch, tmp_path):
    """Two shards with the same number, and what is said of them."""
    monkeypatch.setattr(recordings, "voice", lambda name, files: fake_voice(name, files, 0.6))
    monkeypatch.setattr(recordings, "RECORDINGS_PER_SHARD", RECORDINGS)
    monkeypatch.setattr(recordings, "WORDS", (40, 90))
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    found = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        recordings.make_shard(recipe(tmp_path), tmp_path / name, 5)
        path = shard_path(tmp_path / name, 5)
        found.append((load_file(path)["states"], json.loads(path.with_suffix(".json").read_text())))
    return found


def test_a_shard(shard):
    (states, about), (again, about_again) = shard
    assert torch.equal(states, again)
    assert about == about_again
    assert len(about) == RECORDINGS
    assert states.shape == (sum(len(one["lengths"]) for one in about), 1500, DIM)
    assert any(len(one["lengths"]) > 1 for one in about)
    for one in about:
        *whole, last = one["lengths"]
        assert set(whole) <= {375}
        assert 0 < last <= 375
        # 0.6 s a word at speeds from 0.85 to 1.25, and pauses
        words = len(one["text"].split())
        assert 0.4 * words < sum(one["lengths"]) * 0.08 < 1.4 * words
        answers = [answer for _, answer in one["questions"]]
        assert answers
        assert all(answer.casefold() in one["text"].casefold() for answer in answers)
        questions = [question for question, _ in one["questions"]]
        assert all(question.endswith("?") for question in questions)
        assert len(set(questions)) == len(questions)


def test_the_end_of_the_speech_is_where_its_length_says(shard):
    """Beyond its last token a window is padding, which all windows share."""
    (states, about), _ = shard
    row = 0
    for one in about:
        row += len(one["lengths"])
        last = one["lengths"][-1]
        if last < 370:
            spoken, padding = states[row - 1, : 4 * last].float(), states[row - 1, 4 * last + 8 :].float()
            assert padding.diff(dim=0).abs().mean() < spoken.diff(dim=0).abs().mean()
