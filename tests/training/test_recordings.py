"""Shards of whole recordings with questions."""

import json
from itertools import islice

import pytest
import torch
from fake_speech import DIM, fake_voice, recipe
from safetensors.torch import load_file

from auricle.training import recordings
from auricle.training.dialogues import samples
from auricle.training.speech import shard_path

RECORDINGS = 3


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Two shards with the same number: states, what is said of them, and the samples of every encoded window."""
    folder, encoded = tmp_path_factory.mktemp("recordings"), []
    encode = recordings.encode_windows

    def encode_windows(encoder, waveforms):
        encoded.extend(map(len, waveforms))
        return encode(encoder, waveforms)

    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recordings, "voice", lambda name, files: fake_voice(name, files, 0.6))
        patch.setattr(recordings, "encode_windows", encode_windows)
        patch.setattr(recordings, "RECORDINGS_PER_SHARD", RECORDINGS)
        patch.setattr(recordings, "WORDS", (40, 90))
        patch.setattr(torch, "set_num_threads", lambda _: None)
        for name in ("one", "two"):
            (folder / name).mkdir()
            encoded.clear()
            recordings.make_shard(recipe(folder), folder / name, 5)
            path = shard_path(folder / name, 5)
            about = json.loads(path.with_suffix(".json").read_text())
            found.append((load_file(path)["states"], about, tuple(encoded)))
    return found


def test_a_shard_depends_on_seed_and_number_alone(shards):
    (states, about, _), (again, about_again, _) = shards
    assert torch.equal(states, again)
    assert about == about_again


def test_lengths_are_those_of_the_windows(shards):
    states, about, samples = shards[0]
    assert len(about) == RECORDINGS
    assert states.shape == (len(samples), 1500, DIM)
    assert [length for one in about for length in one["lengths"]] == [-(-count // 1280) for count in samples]
    assert any(len(one["lengths"]) > 1 for one in about)
    for one in about:
        assert set(one["lengths"][:-1]) <= {375}
        # 0.6 s a word at speeds from 0.85 to 1.25, and pauses
        assert 0.4 * len(one["text"].split()) < sum(one["lengths"]) * 0.08 < 1.4 * len(one["text"].split())


def test_questions_have_answers_that_are_said(shards):
    _, about, _ = shards[0]
    for one in about:
        questions = [question for question, _ in one["questions"]]
        assert all(question.endswith("?") for question in questions)
        assert len(set(questions)) == len(questions) > 0
        assert all(answer.casefold() in one["text"].casefold() for _, answer in one["questions"])


def test_the_first_question_is_about_the_key_sentence():
    for sample in islice(samples(3, words=60), 20):
        (question, answer), *others = recordings._questions(sample)
        assert question == sample.question
        assert answer.casefold() in sample.key_sentence.casefold()
        assert tuple(others) == sample.others
