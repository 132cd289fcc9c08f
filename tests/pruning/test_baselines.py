"""What sets the baselines apart, beyond the contract."""

import pytest
import torch
from torch import Tensor

from auricle.pruning.base import Pruner
from auricle.pruning.first30 import First30
from auricle.pruning.full import Full
from auricle.pruning.random_crop import RandomCrop
from auricle.pruning.random_pieces import RandomPieces
from auricle.pruning.uniform import Uniform
from fakes import FakeSpeechLM, noise, random_tokens

LM = FakeSpeechLM()
QUERY = LM.query("Who?")


def keep(pruner: Pruner, length: int) -> Tensor:
    return pruner.keep(random_tokens(length), QUERY, LM)


def test_full_keeps_everything() -> None:
    assert keep(Full(), 1125).tolist() == list(range(1125))


def test_first30_ends_before_the_second_window() -> None:
    lm = FakeSpeechLM(25.0)
    tokens = lm.encode(noise(61.0))
    chosen = First30().keep(tokens, lm.query("Who?"), lm)
    assert chosen.tolist() == list(range(750))
    assert float(tokens.times[750, 0]) == 30.0


@pytest.mark.parametrize(("length", "rate"), [(1125, 0.2), (379, 0.6), (1, 0.0)])
def test_a_crop_is_contiguous(length: int, rate: float) -> None:
    chosen = keep(RandomCrop(rate), length)
    assert (chosen.diff() == 1).all()


def test_crops_start_everywhere() -> None:
    starts = torch.stack([keep(RandomCrop(0.2, seed), 400)[0] for seed in range(1000)])
    counts = torch.bincount(starts // 10, minlength=11)  # starts 0 to 100
    assert len(counts) == 11
    assert (counts[:10] > 50).all()  # 99 expected, 5.2 standard deviations below
    assert counts[10] > 0


def test_pieces_come_from_everywhere() -> None:
    counts = torch.stack([torch.bincount(keep(RandomPieces(0.6, s), 400), minlength=400) for s in range(400)]).sum(
        0
    )
    assert abs(float(counts.float().mean()) - 150) < 0.5
    assert float(counts.float().std()) < 13  # binomial: 9.7
    assert int(keep(RandomPieces(0.6), 400).diff().max()) > 1


def test_one_seed_crops_recordings_of_one_length_at_different_places() -> None:
    tokens = random_tokens(1125)
    starts = [int(RandomCrop(0.6).keep(tokens, LM.query(f"Who is {n}?"), LM)[0]) for n in range(200)]
    assert abs(sum(starts) / len(starts) - 487.5) < 60  # of 0 to 975; three standard errors
    assert min(starts) < 50
    assert max(starts) > 925


@pytest.mark.parametrize(("length", "rate"), [(1125, 0.2), (1125, 0.6), (379, 0.6), (100, 0.3), (7, 0.5)])
def test_uniform_is_even_and_centered(length: int, rate: float) -> None:
    chosen = keep(Uniform(rate), length)
    steps = chosen.diff()
    assert int(steps.max() - steps.min()) <= 1
    assert abs(int(chosen[0]) - (length - 1 - int(chosen[-1]))) <= 1


def test_uniform_by_hand() -> None:
    assert keep(Uniform(0.75), 12).tolist() == [2, 6, 10]
