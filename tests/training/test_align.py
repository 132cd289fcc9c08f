"""Stage one on a toy set: it learns, and goes on where it was killed."""

import json

import pytest
import torch

from auricle.errors import TrainingError
from auricle.models.mini.connector import ALPHABET, Connector
from auricle.models.mini.pieces import Pieces
from auricle.training.align import Alignment, AlignRecipe, Shards, _mask, align, collate, last_checkpoint
from auricle.training.speech import save_shard, shard_path

DIM, FRAMES = 8, 64
PIECES = Pieces(dict.fromkeys([p + c for c in "abcdefghijklmnopqrstuvwxyz'" for p in ("Ġ", "")] + ["Ġthe"], -3.0))
TEXTS = [[["The boat."], ["A lamp", "the sea!"]], [["The lamp"], ["Sea"], ["boat, a boat"]]]


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    for index, texts in enumerate(TEXTS):
        save_shard(shard_path(tmp_path, index), torch.randn(len(texts), FRAMES, DIM).bfloat16(), texts)
    return tmp_path


def connector(seed=0):
    torch.manual_seed(seed)
    return Connector(encoder_dim=DIM, dim=16, layers=1, llm_dim=4, pieces=len(PIECES.names))


def recipe(**changes):
    return AlignRecipe(**({"epochs": 12.0, "learning_rate": 1e-2, "batch_size": 2} | changes))


def test_shards(folder):
    data = Shards(folder, PIECES)
    assert len(data) == 5
    said = ["the boat", "a lamp the sea", "the lamp", "sea", "boat a boat"]
    for index, text in enumerate(said):
        example = data[index]
        assert example["states"].shape == (FRAMES, DIM)
        assert PIECES.decode(example["labels"].tolist()) == text
        assert "".join(ALPHABET[i] for i in example["letters"]) == text
    assert not torch.equal(data[0]["states"], data[1]["states"])
    assert len(Shards(folder, PIECES, [1])) == 3
    assert torch.equal(Shards(folder, PIECES, [1])[2]["states"], data[4]["states"])


def test_without_shards(folder, tmp_path):
    with pytest.raises(TrainingError, match=r"no training speech in '.*empty'"):
        Shards(tmp_path / "empty", PIECES)
    with pytest.raises(TrainingError, match="no training speech"):
        Shards(folder, PIECES, [7])


def test_collate(folder):
    data = Shards(folder, PIECES)
    batch = collate([data[0], data[1]])
    assert batch["states"].shape == (2, FRAMES, DIM)
    assert batch["states"].dtype == torch.float32
    assert [len(labels) for labels in batch["labels"]] == [len(data[0]["labels"]), len(data[1]["labels"])]


def test_masks_are_spans():
    torch.manual_seed(0)
    mask = _mask(200, 1500)
    silenced = (~mask).sum(1)
    assert mask.shape == (200, 1500)
    assert silenced.max() <= 6 * 40
    assert 60 < silenced.float().mean() < 130
    starts = (mask[:, :-1] & ~mask[:, 1:]).sum(1)
    assert starts.max() <= 6


def test_only_training_masks(folder):
    data = Shards(folder, PIECES)
    batch = collate([data[0], data[1]])
    alignment = Alignment(connector())
    evaluated = [alignment.eval()(**batch) for _ in range(2)]
    assert torch.equal(evaluated[0]["logits"], evaluated[1]["logits"])
    trained = [alignment.train()(**batch)["loss"] for _ in range(2)]
    assert trained[0] != trained[1]


class Killed(torch.utils.data.Dataset):
    """A training set in which the process dies when it is asked once more than `lives` times."""

    def __init__(self, data, lives):
        self.data, self.lives, self.asked = data, lives, 0

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        self.asked += 1
        if self.asked > self.lives:
            raise KeyboardInterrupt
        return self.data[index]


def steps(output):
    state = json.loads((last_checkpoint_path(output) / "trainer_state.json").read_text())
    return state["global_step"], state["max_steps"]


def last_checkpoint_path(output):
    return max(output.glob("checkpoint-*"), key=lambda folder: int(folder.name.split("-")[1]))


def test_a_killed_run_goes_on(folder, tmp_path):
    """It takes the steps that were left, and ends with the weights of a run that was not killed."""
    data = Shards(folder, PIECES)
    whole, output = align(connector(), data, recipe(), tmp_path / "whole"), tmp_path / "killed"
    assert steps(tmp_path / "whole") == (24, 24)

    with pytest.raises(KeyboardInterrupt):
        align(connector(), Killed(data, 33), recipe(), output)
    assert last_checkpoint_path(output).name == "checkpoint-16"
    (output / "checkpoint-17").mkdir()  # the kill came while this one was written
    (output / "checkpoint-17" / "model.safetensors").write_bytes(b"half")

    rest = Killed(data, 999)
    resumed = align(connector(seed=1), rest, recipe(), output)
    assert steps(output) == (24, 24)
    assert rest.asked == 2 * 8
    for name, weight in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], weight, atol=1e-5, rtol=1e-4)


def test_the_loss_falls(folder, tmp_path):
    made = connector()
    data = Shards(folder, PIECES)
    batch = collate([data[i] for i in range(5)])
    before = Alignment(made).eval()(**batch)["loss"]
    trained = align(made, data, recipe(epochs=30.0, batch_size=5), tmp_path / "out")
    assert trained is made
    assert not trained.training
    assert steps(tmp_path / "out") == (30, 30)
    with torch.no_grad():
        after = Alignment(made).eval()(**batch)["loss"]
    assert after < 0.6 * before


def test_a_step_needs_a_batch(folder, tmp_path):
    with pytest.raises(TrainingError, match="5 windows of speech, but a step takes 6"):
        align(connector(), Shards(folder, PIECES), recipe(batch_size=6), tmp_path / "out")


def test_last_checkpoint(tmp_path):
    assert last_checkpoint(tmp_path) is None
    for number in (9, 100, 20):
        (tmp_path / f"checkpoint-{number}").mkdir()
        (tmp_path / f"checkpoint-{number}" / "trainer_state.json").touch()
    (tmp_path / "checkpoint-200").mkdir()
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-100")
