"""The training loop on a toy problem: it learns, ends in time, and goes on where it was killed."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch
from torch import nn

from auricle.errors import OptionError, TrainingError
from auricle.training.loop import Examples, Schedule, fit, last_checkpoint

SCHEDULE = Schedule(epochs=3.0, learning_rate=0.05, batch_size=2, accumulation=2)
WEIGHTS = torch.tensor([0.5, -1.0, 0.25])


class Points(Examples):
    """Points of a plane that depend on the epoch; a process dies that asks for more than `lives`."""

    def __init__(self, count, lives=10**6, seed=0):
        self.count, self.lives, self.seed = count, lives, seed
        self.asked = []

    def __len__(self):
        return self.count

    @property
    def lengths(self):
        return [1 + 7 * index % 32 for index in range(self.count)]

    def __getitem__(self, index):
        if len(self.asked) >= self.lives:
            raise KeyboardInterrupt
        self.asked.append((self.epoch, index))
        rng = Random(f"{self.seed}-{self.epoch}-{index}")
        return torch.tensor([rng.uniform(-1, 1) for _ in range(3)])


def plane():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 1), nn.Dropout(0.1))


def loss(model, batch):
    return (model(batch["x"])[:, 0].float() - batch["x"] @ WEIGHTS).square().mean()


def collate(points):
    return {"x": torch.stack(points)}


def run(model, train, output, schedule=SCHEDULE, validation=None):
    fit(model, loss, train, validation or Points(8, seed=1), collate, output, schedule)
    return model


def trained(output):
    return json.loads((output / "checkpoint-24" / "trainer_state.json").read_text())


def same(one, other):
    return all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def test_it_learns(tmp_path):
    model = plane()
    batch = collate([Points(64, seed=2)[i] for i in range(64)])
    before = loss(model.eval(), batch)
    run(model.train(), Points(32), tmp_path, replace(SCHEDULE, epochs=8.0))
    assert not model.training
    assert loss(model, batch) < 0.1 * before


def test_every_epoch_reads_every_example_once(tmp_path):
    train = Points(32)
    run(plane(), train, tmp_path)
    assert sorted(train.asked) == [(epoch, index) for epoch in range(3) for index in range(32)]
    assert trained(tmp_path)["global_step"] == 24


def test_a_checkpoint_with_each_evaluation(tmp_path):
    run(plane(), Points(32), tmp_path)
    log = trained(tmp_path)["log_history"]
    assert [one["step"] for one in log if "eval_loss" in one] == list(range(2, 25, 2))
    assert len(list(tmp_path.glob("checkpoint-*"))) <= 2


@pytest.mark.parametrize("lives", [14, 27, 45, 75])
def test_a_killed_run_goes_on(tmp_path, lives):
    """It ends with exactly the weights of a run that was not killed, wherever in an epoch the kill came."""
    whole = run(plane(), Points(32), tmp_path / "whole")
    killed = Points(32, lives)
    with pytest.raises(KeyboardInterrupt):
        run(plane(), killed, tmp_path / "killed")
    done = int(last_checkpoint(tmp_path / "killed").rpartition("-")[2])
    half = tmp_path / "killed" / f"checkpoint-{done + 2}"
    half.mkdir()  # the kill came while this one was written
    (half / "model.safetensors").write_bytes(b"half")
    rest = Points(32)
    resumed = plane()
    nn.init.zeros_(resumed[0].weight)
    run(resumed, rest, tmp_path / "killed")
    assert len(rest.asked) == 96 - 4 * done
    assert sorted(killed.asked[: 4 * done] + rest.asked) == [(e, i) for e in range(3) for i in range(32)]
    assert same(whole, resumed)


def losses(given):
    """Evaluations find these losses, one after the other; the weights at each."""
    found, seen, left = [], [], iter(given)

    def evaluated(model, batch):
        if model.training:
            return loss(model, batch)
        if len(seen) % 4 == 0:  # batches an evaluation
            found.append(model[0].weight.detach().clone())
            seen.append(next(left))
        else:
            seen.append(seen[-1])
        return torch.tensor(seen[-1]) + 0 * loss(model, batch)

    return evaluated, found


def test_two_processes_train_together(tmp_path):
    """As `accelerate launch` and torchrun start them: each reads a half of every step, and both have one model."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]
    script = Path(__file__).with_name("two_processes.py")
    alone = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([*launch, script, tmp_path], check=False, capture_output=True, text=True, env=alone)
    assert done.returncode == 0, done.stderr[-2000:]
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in "01")
    assert first["weights"] == second["weights"]
    asked = sorted((*map(tuple, first["asked"]), *map(tuple, second["asked"])))
    assert asked == [(epoch, index) for epoch in range(3) for index in range(32)]
    (state,) = (tmp_path / "run").glob("checkpoint-12/trainer_state.json")
    said = json.loads(state.read_text())
    assert said["global_step"] == 3 * 32 / (2 * SCHEDULE.batch_size * SCHEDULE.accumulation)
    assert [one["step"] for one in said["log_history"] if "eval_loss" in one] == list(range(1, 13))
    # Of five shards each makes its part, and goes on when all are made.
    assert (first["made"], second["made"]) == ([0, 2, 4], [1, 3])
    assert first["there"] == second["there"] == 5


def test_it_ends_without_gain_and_keeps_the_best(tmp_path):
    evaluated, found = losses([3.0, 2.0, 1.0, 1.5, 1.2, 0.1, 0.1])
    model = plane()
    fit(model, evaluated, Points(32), Points(8, seed=1), collate, tmp_path, replace(SCHEDULE, patience=2))
    assert len(found) == 5
    assert torch.equal(model[0].weight, found[2])
    assert not torch.equal(model[0].weight, found[4])


def test_patience_is_not_lost_with_a_kill(tmp_path):
    """Two evaluations without gain end it, though a kill came between them; then nothing is trained any more."""
    evaluated, _ = losses([3.0, 1.0, 1.5])
    schedule = replace(SCHEDULE, patience=2, epochs=8.0)

    def killed(model, batch):
        if model.training and len(calls) == 7 * SCHEDULE.accumulation:
            raise KeyboardInterrupt
        calls.extend([0] * model.training)
        return evaluated(model, batch)

    calls = []
    with pytest.raises(KeyboardInterrupt):
        fit(plane(), killed, Points(32), Points(8, seed=1), collate, tmp_path, schedule)
    evaluated, found = losses([1.2, 0.1])
    model = plane()
    fit(model, evaluated, Points(32), Points(8, seed=1), collate, tmp_path, schedule)
    assert len(found) == 1
    ended = {name: value.clone() for name, value in model.state_dict().items()}
    fit(model, losses([])[0], Points(32), Points(8, seed=1), collate, tmp_path, schedule)
    assert all(torch.equal(value, ended[name]) for name, value in model.state_dict().items())


def test_batches_hold_like_lengths(tmp_path):
    train = Points(320)
    run(plane(), train, tmp_path, replace(SCHEDULE, epochs=1.0, batch_size=4, evaluations=1))
    spread = []
    for start in range(0, 320, 8):
        lengths = [train.lengths[index] for _, index in train.asked[start : start + 8]]
        spread.append(max(lengths) - min(lengths))
    assert sum(spread) / len(spread) < 4


def test_no_epochs_train_nothing(tmp_path):
    model = run(plane(), Points(0), tmp_path / "run", replace(SCHEDULE, epochs=0.0))
    assert same(model, plane())
    assert not (tmp_path / "run").exists()


def test_only_what_requires_gradients_is_trained(tmp_path):
    model = plane()
    model[0].bias.requires_grad_(False)
    run(model, Points(32), tmp_path)
    assert torch.equal(model[0].bias, plane()[0].bias)
    assert not torch.equal(model[0].weight, plane()[0].weight)


def test_logs_for_tensorboard(tmp_path):
    run(plane(), Points(32), tmp_path, replace(SCHEDULE, epochs=1.0))
    assert list(tmp_path.rglob("events.out.tfevents.*"))


@pytest.mark.parametrize("name", ["batch_size", "accumulation", "evaluations", "patience"])
def test_counts_are_at_least_one(name):
    with pytest.raises(OptionError, match=f"{name} is 0; expected at least 1"):
        replace(SCHEDULE, **{name: 0})


@pytest.mark.parametrize("name", ["epochs", "learning_rate"])
def test_rates_are_not_negative(name):
    assert getattr(replace(SCHEDULE, **{name: 0.0}), name) == 0
    with pytest.raises(OptionError, match=f"{name} is -1.0; expected 0 or more"):
        replace(SCHEDULE, **{name: -1.0})


@pytest.mark.parametrize(("count", "kept"), [(3, 8), (32, 0)])
def test_a_step_needs_its_examples(tmp_path, count, kept):
    with pytest.raises(TrainingError, match=f"{count} examples to train and {kept} to validate on; a step takes 4"):
        fit(plane(), loss, Points(count), Points(kept), collate, tmp_path, SCHEDULE)


def test_last_checkpoint(tmp_path):
    assert last_checkpoint(tmp_path / "none") is None
    for number in (9, 100, 20):
        (tmp_path / f"checkpoint-{number}").mkdir()
        (tmp_path / f"checkpoint-{number}" / "trainer_state.json").write_text("{}")
        (tmp_path / f"checkpoint-{number}" / "rng_state.pth").touch()
    for number, files in ((200, {}), (300, {"trainer_state.json": '{"global_', "rng_state.pth": ""})):
        (tmp_path / f"checkpoint-{number}").mkdir()
        for name, content in files.items():
            (tmp_path / f"checkpoint-{number}" / name).write_text(content)
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-100")
    assert last_checkpoint(tmp_path, 2) is None
    for rank in range(2):
        (tmp_path / "checkpoint-20" / f"rng_state_{rank}.pth").touch()
    assert last_checkpoint(tmp_path, 2) == str(tmp_path / "checkpoint-20")
