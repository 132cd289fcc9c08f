"""Stage one on a toy set: it learns, and goes on where it was killed."""

import json

import pytest
import torch

from auricle.errors import TrainingError
from auricle.models.mini.connector import ALPHABET, Connector, ctc_loss
from auricle.models.mini.ear import Ear
from auricle.models.mini.pieces import Pieces
from auricle.training.align import (
    LETTERS_WEIGHT,
    Alignment,
    Shards,
    align,
    collate,
    last_checkpoint,
    lift,
    mask,
    sentence_loss,
)
from auricle.training.speech import Recording, load_shard, save_shard, shard_path
from auricle.training.voicing import Said
from models import tiny_mini

DIM, FRAMES = 8, 64
PIECES = Pieces(dict.fromkeys([p + c for c in "abcdefghijklmnopqrstuvwxyz'" for p in ("Ġ", "")] + ["Ġthe"], -3.0))
# Windows of sentences; recordings of windows; shards of recordings. A frame of these windows is 30 / 64 s.
TEXTS = [[[["The boat."], ["A lamp", "the sea!"]]], [[["The lamp"]], [["Sea"]], [["boat, a boat"]]]]


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    for index, recordings in enumerate(TEXTS):
        about = [
            Recording(tuple(tuple(Said(s, 12.0 * (i + 1)) for i, s in enumerate(w)) for w in one), (16,) * len(one))
            for one in recordings
        ]
        windows = sum(map(len, recordings))
        save_shard(shard_path(tmp_path, index), torch.randn(windows, FRAMES, DIM).bfloat16(), about)
    return tmp_path


def connector(seed=0):
    torch.manual_seed(seed)
    return Connector(encoder_dim=DIM, dim=16, layers=1, pieces=len(PIECES.names))


def train(part, data, output, **changes):
    options = {"epochs": 12.0, "learning_rate": 1e-2, "batch_size": 2, "seed": 0} | changes
    align(part, data, output, **options)


def test_shards(folder):
    data = Shards(folder, PIECES)
    assert len(data) == 5
    said = [["the boat"], ["a lamp", "the sea"], ["the lamp"], ["sea"], ["boat a boat"]]
    for index, sentences in enumerate(said):
        example = data[index]
        assert example["states"].shape == (FRAMES, DIM)
        assert [PIECES.decode(one.pieces.tolist()) for one in example["targets"]] == sentences
        assert ["".join(ALPHABET[i] for i in one.letters) for one in example["targets"]] == sentences
        assert [one.end for one in example["targets"]] == [12.0, 24.0][: len(sentences)]
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
    assert [len(targets) for targets in batch["targets"]] == [1, 2]


def test_masks_are_spans():
    torch.manual_seed(0)
    drawn = mask(200, 1500)
    silenced = (~drawn).sum(1)
    assert drawn.shape == (200, 1500)
    assert silenced.max() <= 0.4 * 1500
    assert 0.16 * 1500 < silenced.float().mean() < 0.2 * 1500  # spans overlap
    starts = (drawn[:, :-1] & ~drawn[:, 1:]).sum(1)
    assert starts.max() <= 30
    assert 0.1 * 150 < (~mask(200, 150)).sum(1).float().mean() < 0.22 * 150


def test_sentences_are_aligned_where_they_are_spoken():
    """Each with its own stretch of frames; the last one takes all that is left."""
    torch.manual_seed(0)
    logits = torch.randn(2, 30, 6)  # a frame a second
    one, two, three = torch.tensor([1, 2]), torch.tensor([0]), torch.tensor([4, 3, 4])
    found = sentence_loss(logits, [[(9.6, one), (14.0, two)], [(3.0, three)]])
    expected = ctc_loss([logits[0, :10], logits[0, 10:], logits[1]], [one, two, three])
    torch.testing.assert_close(found, expected)


def test_the_loss_is_of_pieces_and_letters(folder):
    data = Shards(folder, PIECES)
    batch = collate([data[0], data[1]])
    made = connector().eval()
    with torch.no_grad():
        pieces, letters = made.both(batch["states"])
        targets = batch["targets"]
        expected = sentence_loss(pieces, [[(t.end, t.pieces) for t in row] for row in targets])
        expected += LETTERS_WEIGHT * sentence_loss(letters, [[(t.end, t.letters) for t in row] for row in targets])
        torch.testing.assert_close(Alignment(made).eval()(**batch)["loss"], expected)


def test_only_training_masks(folder, monkeypatch):
    data = Shards(folder, PIECES)
    batch = collate([data[0], data[1]])
    alignment = Alignment(connector())
    with monkeypatch.context() as patch:
        seen = list[torch.Tensor]()
        patch.setattr(alignment.part, "both", lambda states: seen.append(states) or connector().both(states))
        alignment.train()(**batch)
        alignment.eval()(**batch)
    silent = [(states == 0).all(-1).float().mean() for states in seen]
    assert 0.05 < silent[0] < 0.4
    assert silent[1] == 0


def test_lift(tmp_path):
    """The states of the whole encoder, shard by shard; what is there is not made again."""
    model = tiny_mini.model()
    ear, states = Ear(model), torch.randn(2, 1500, 16).bfloat16()
    about = [Recording(((Said("The boat", 30.0),), (Said("A lamp", 30.0),)), (375, 375))]
    (tmp_path / "below").mkdir()
    save_shard(shard_path(tmp_path / "below", 4), states, about)
    lift(ear, tmp_path / "below", tmp_path / "lifted")
    path = shard_path(tmp_path / "lifted", 4)
    assert load_shard(path) == about
    data = Shards(tmp_path / "lifted", PIECES)
    with torch.no_grad():
        heard = ear.connector(torch.stack([data[i]["states"] for i in range(2)]).float())
        torch.testing.assert_close(heard, ear(states.float()), atol=0.2, rtol=0)  # lifted states have 8 bits
    before = path.stat().st_mtime_ns
    lift(ear, tmp_path / "below", tmp_path / "lifted")
    assert path.stat().st_mtime_ns == before


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
    whole, output = connector(), tmp_path / "killed"
    train(whole, data, tmp_path / "whole")
    assert steps(tmp_path / "whole") == (24, 24)

    with pytest.raises(KeyboardInterrupt):
        train(connector(), Killed(data, 33), output)
    assert last_checkpoint_path(output).name == "checkpoint-16"
    (output / "checkpoint-17").mkdir()  # the kill came while this one was written
    (output / "checkpoint-17" / "model.safetensors").write_bytes(b"half")

    rest = Killed(data, 999)
    resumed = connector(seed=1)
    train(resumed, rest, output)
    assert steps(output) == (24, 24)
    assert rest.asked == 2 * 8
    for name, weight in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], weight, atol=1e-5, rtol=1e-4)


def test_the_loss_falls(folder, tmp_path):
    made = connector()
    data = Shards(folder, PIECES)
    batch = collate([data[i] for i in range(5)])
    before = Alignment(made).eval()(**batch)["loss"]
    train(made, data, tmp_path / "out", epochs=30.0, batch_size=5)
    assert not made.training
    assert steps(tmp_path / "out") == (30, 30)
    with torch.no_grad():
        after = Alignment(made).eval()(**batch)["loss"]
    assert after < 0.6 * before


def test_a_step_needs_a_batch(folder, tmp_path):
    with pytest.raises(TrainingError, match="5 windows of speech, but a step takes 6"):
        train(connector(), Shards(folder, PIECES), tmp_path / "out", batch_size=6)


def test_no_epochs_train_nothing(folder, tmp_path):
    part = connector()
    before = {name: value.clone() for name, value in part.state_dict().items()}
    train(part, Shards(folder, PIECES), tmp_path / "run", epochs=0.0)
    assert all(torch.equal(value, before[name]) for name, value in part.state_dict().items())
    assert not (tmp_path / "run").exists()


def test_last_checkpoint(tmp_path):
    assert last_checkpoint(tmp_path) is None
    for number in (9, 100, 20):
        (tmp_path / f"checkpoint-{number}").mkdir()
        (tmp_path / f"checkpoint-{number}" / "trainer_state.json").touch()
    (tmp_path / "checkpoint-200").mkdir()
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-100")
