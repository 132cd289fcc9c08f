"""Every row of `tests/methods.py` is held to the contract of `Pruner`."""

import dataclasses
import time
from typing import Any

import jaxtyping
import pytest
import torch
from torch import Tensor

from auricle import registry
from auricle.errors import OptionError
from auricle.pruning.budget import kept, window_tokens
from auricle.speech_lm import AudioTokens, Query, SpeechLM
from fakes import FakeSpeechLM, noise, random_tokens
from methods import IDS, METHODS, ROWS

every_method = pytest.mark.parametrize(("name", "options"), ROWS, ids=IDS)

# At 12.5 tokens a second: one, part of a second, over a second, 12.8 s, 30 s, a last frame of 4 tokens, 90 s.
LENGTHS = [1, 5, 14, 160, 375, 379, 1125]


def ask(lm: SpeechLM) -> Query:
    return lm.query("When does the ferry leave?", ["at noon", "at dawn"])


def keep(
    name: str, options: dict[str, Any], tokens: AudioTokens, lm: SpeechLM | None = None, rate: float = 0.6
) -> Tensor:
    lm = lm or FakeSpeechLM()
    return registry.pruner(name, pruning_rate=rate, **options).keep(tokens, ask(lm), lm)


def expected(name: str, length: int, rate: float, tokens_per_second: float) -> int:
    if name == "full":
        return length
    if name == "first30":
        return min(length, window_tokens(tokens_per_second))
    return kept(length, tokens_per_second, rate)


def check(chosen: Tensor, count: int, length: int) -> None:
    assert chosen.dtype == torch.long
    assert chosen.device.type == "cpu"
    assert chosen.shape == (count,)
    assert (chosen[1:] > chosen[:-1]).all(), "sorted by time, without repetition"
    assert not count or (chosen[0] >= 0 and chosen[-1] < length)


def test_the_table_has_every_registered_pruner() -> None:
    assert METHODS.keys() == registry.PRUNERS.keys()


@every_method
@pytest.mark.parametrize("rate", [0.0, 0.2, 0.6, 0.8, 0.99, 1.0])
@pytest.mark.parametrize("tokens_per_second", [12.5, 25.0])
def test_exactly_n_indices_come_back(
    name: str, options: dict[str, Any], rate: float, tokens_per_second: float
) -> None:
    lm = FakeSpeechLM(tokens_per_second)
    for length in LENGTHS:
        tokens = random_tokens(length, tokens_per_second)
        check(keep(name, options, tokens, lm, rate), expected(name, length, rate, tokens_per_second), length)


@every_method
def test_a_recording_passes_through(name: str, options: dict[str, Any]) -> None:
    lm = FakeSpeechLM(25.0)
    tokens = lm.encode(noise(70.5))
    assert len(tokens) == 1763  # 2 x 750 and 262.5
    chosen = keep(name, options, tokens, lm)
    prompt = lm.prompt(tokens, ask(lm)).keep(chosen)
    assert torch.equal(prompt.embeds[0, prompt.audio], tokens.embeds[chosen])
    assert torch.equal(prompt.times, tokens.times[chosen])


@every_method
def test_it_repeats_itself_and_leaves_the_global_generator_alone(name: str, options: dict[str, Any]) -> None:
    tokens = random_tokens(1125)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = keep(name, options, tokens)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(keep(name, options, tokens), first)


@every_method
def test_it_changes_nothing_that_it_is_given(name: str, options: dict[str, Any]) -> None:
    lm = FakeSpeechLM()
    tokens = random_tokens(500)
    given = [tokens.embeds, tokens.times, lm.qk.w_q, lm.qk.w_k, lm.table]
    before = [tensor.clone() for tensor in given]
    keep(name, options, tokens, lm)
    assert all(torch.equal(a, b) for a, b in zip(given, before, strict=True))


@every_method
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(name: str, options: dict[str, Any], dtype: torch.dtype) -> None:
    lm = FakeSpeechLM()
    lm.table = lm.table.to(dtype)
    lm.qk = dataclasses.replace(lm.qk, w_q=lm.qk.w_q.to(dtype), w_k=lm.qk.w_k.to(dtype))
    tokens = random_tokens(500)
    tokens = dataclasses.replace(tokens, embeds=tokens.embeds.to(dtype))
    check(keep(name, options, tokens, lm), expected(name, 500, 0.6, 12.5), 500)


@every_method
def test_the_indices_can_be_used_in_training(name: str, options: dict[str, Any]) -> None:
    tokens = random_tokens(500)
    tokens.embeds.requires_grad_()
    chosen = keep(name, options, tokens)
    assert not chosen.is_inference()
    tokens.embeds[chosen].sum().backward()
    assert int((tokens.embeds.grad.abs().sum(1) > 0).sum()) == len(chosen)


@every_method
def test_an_hour_is_quick(name: str, options: dict[str, Any]) -> None:
    # 45,000 tokens; the second phase alone is quadratic in the recording, and has two minutes.
    length = 1500 if options.get("phase") == "attention" else 45_000
    tokens = random_tokens(length)
    start = time.process_time()
    chosen = keep(name, options, tokens)
    assert time.process_time() - start < 2.0
    check(chosen, expected(name, length, 0.6, 12.5), length)


@pytest.mark.parametrize("name", ["random-pieces", "random-crop"])
def test_seeds_and_questions_and_lengths_draw_anew(name: str) -> None:
    lm = FakeSpeechLM()
    draws = {
        tuple(registry.pruner(name, seed=seed).keep(random_tokens(length), lm.query(question), lm).tolist())
        for seed, length, question in [(0, 1125, "Who?"), (1, 1125, "Who?"), (0, 1126, "Who?"), (0, 1125, "Why?")]
    }
    assert len(draws) == 4


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("speechprune", {"pruning_rate": 1.1}),
        ("uniform", {"pruning_rate": -0.1}),
        ("random-pieces", {"pruning_rate": float("nan")}),
        ("random-crop", {"pruning_rate": 60.0}),
        ("speechprune", {"phase": "first"}),
        ("speechprune", {"frame_pool": "max"}),
        ("speechprune", {"positions": "kept"}),
        ("speechprune", {"query": "choices"}),
    ],
)
def test_a_wrong_option_is_refused_at_once(
    name: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as for users, whom no type checker stops
    with pytest.raises(OptionError, match=r"expected (one of|a fraction)"):
        registry.pruner_class(name)(**options)
