"""Stage one on a toy set: windows of encoded shards, CTC over letters, and a connector that learns."""

import numpy as np
import pytest
import torch
from fake_speech import DIM, tiny_encoder

from auricle.audio import SAMPLE_RATE
from auricle.errors import TrainingError
from auricle.models.mini.connector import ALPHABET, Connector, ctc_loss
from auricle.synthesis import SpokenSentence
from auricle.training import align
from auricle.training.align import (
    Target,
    Windows,
    alignment_loss,
    collate,
    encode_shard,
    encode_window,
    mask,
    sentence_loss,
    train_connector,
)
from auricle.training.loop import Schedule
from auricle.training.recordings import save_shard, shard_path
from fakes import noise

FRAMES = 1500
SCHEDULE = Schedule(epochs=1.0, learning_rate=1e-2, batch_size=2)


def said(*lengths):
    """Sentences that follow each other without a pause."""
    ends = np.cumsum(lengths, dtype=float).tolist()
    return tuple(
        SpokenSentence("spk_1", f"The boat, {chr(97 + i)}!", end - length, end)
        for i, (end, length) in enumerate(zip(ends, lengths, strict=True))
    )


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Two shards, encoded: windows of 24 and 12 s, of 8 s, and of 30 s."""
    folder = tmp_path_factory.mktemp("shards")
    save_shard(shard_path(folder, 0), [(noise(36), said(12, 12, 12), ()), (noise(8, 1), said(8), ())])
    save_shard(shard_path(folder, 1), [(noise(30, 2), said(10, 20), ())])
    found = []
    for index in range(2):
        found.append(folder / "features" / f"{index}.safetensors")
        encode_shard(tiny_encoder(), shard_path(folder, index), found[-1])
    return found


@pytest.fixture
def halved(monkeypatch):
    """Every other window is for validation, so that few are enough."""
    monkeypatch.setattr(align, "VALIDATION", 2)


def connector(seed=0):
    torch.manual_seed(seed)
    return Connector(encoder_dim=DIM, dim=16, layers=1)


def test_windows(paths):
    data = Windows(paths)
    assert len(data) == len(data.lengths) == 4
    ends = [[12.0, 24.0], [12.0], [8.0], [10.0, 30.0]]
    spoken = [["the boat a", "the boat b"], ["the boat c"], ["the boat a"], ["the boat a", "the boat b"]]
    for index in range(4):
        example = data[index]
        assert example.states.shape == (FRAMES, DIM)
        assert [one.end for one in example.targets] == pytest.approx(ends[index])
        assert ["".join(ALPHABET[i] for i in one.letters) for one in example.targets] == spoken[index]


def test_states_are_those_of_the_window(paths):
    """What FLAC holds of the recording, cut, padded and encoded."""
    expected = encode_window(tiny_encoder(), noise(8, 1))
    torch.testing.assert_close(Windows(paths)[2].states, expected, atol=1e-2, rtol=1e-2)
    expected = encode_window(tiny_encoder(), noise(36)[24 * SAMPLE_RATE :])
    torch.testing.assert_close(Windows(paths)[1].states, expected, atol=1e-2, rtol=1e-2)


def test_a_part_is_for_validation(paths, monkeypatch):
    assert len(Windows(paths, validation=True)) == 0
    monkeypatch.setattr(align, "VALIDATION", 3)
    train, validation = Windows(paths), Windows(paths, validation=True)
    assert (len(train), len(validation)) == (3, 1)
    monkeypatch.setattr(align, "VALIDATION", 20)
    assert torch.equal(validation[0].states, Windows(paths)[2].states)
    assert torch.equal(train[2].states, Windows(paths)[3].states)


def test_a_kill_leaves_no_half_file(paths, tmp_path, monkeypatch):
    def killed(tensors, file):
        file.write_bytes(b"half")
        raise KeyboardInterrupt

    save_shard(shard_path(tmp_path, 0), [(noise(1), said(1), ())])
    monkeypatch.setattr(align, "save_file", killed)
    with pytest.raises(KeyboardInterrupt):
        encode_shard(tiny_encoder(), shard_path(tmp_path, 0), tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_collate(paths):
    data = Windows(paths)
    batch = collate([data[0], data[1]])
    assert batch["states"].shape == (2, FRAMES, DIM)
    assert batch["states"].dtype == torch.float32
    assert [len(targets) for targets in batch["targets"]] == [2, 1]


def test_masks_are_spans():
    torch.manual_seed(0)
    drawn = mask(200, 1500)
    silenced = (~drawn).sum(1)
    assert drawn.shape == (200, 1500)
    assert silenced.max() <= 0.4 * 1500
    assert 0.16 * 1500 < silenced.float().mean() < 0.2 * 1500  # spans overlap
    starts = (drawn[:, :-1] & ~drawn[:, 1:]).sum(1)
    assert starts.max() <= 30


def test_sentences_are_aligned_where_they_are_spoken():
    """Each with its own stretch of frames; the last one takes all that is left."""
    torch.manual_seed(0)
    logits = torch.randn(2, 60, 6)  # two frames a second
    one, two, three = torch.tensor([1, 2]), torch.tensor([0]), torch.tensor([4, 3, 4])
    found = sentence_loss(logits, [[Target(9.6, one), Target(14.0, two)], [Target(3.0, three)]])
    expected = ctc_loss([logits[0, :19], logits[0, 19:], logits[1]], [one, two, three])
    torch.testing.assert_close(found, expected)


def test_only_training_masks(paths):
    data, seen = Windows(paths), []
    batch = collate([data[0], data[1]])
    made = connector()
    made.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    alignment_loss(made.train(), batch)
    found = alignment_loss(made.eval(), batch)
    silent = [(states == 0).all(-1).float().mean() for states in seen]
    assert 0.05 < silent[0] < 0.4
    assert silent[1] == 0
    torch.testing.assert_close(found, sentence_loss(made(batch["states"]), batch["targets"]))


def test_the_loss_falls(paths, tmp_path, halved):
    made = connector()
    batch = collate([Windows(paths)[i] for i in range(2)])
    before = alignment_loss(made.eval(), batch)
    train_connector(made, paths, tmp_path, Schedule(epochs=30.0, learning_rate=1e-2, batch_size=2, patience=99))
    assert not made.training
    with torch.no_grad():
        assert alignment_loss(made, batch) < 0.6 * before


def test_a_step_needs_a_batch(paths, tmp_path):
    with pytest.raises(TrainingError, match="4 examples to train and 0 to validate on"):
        train_connector(connector(), paths, tmp_path, SCHEDULE)
