"""Merged speech: weighted means against a plain loop, and what becomes of them on the way to the LLM."""

from dataclasses import dataclass

import pytest
import torch
from typing_extensions import override

from auricle import asking
from auricle.errors import OptionError
from auricle.pruning.base import Pruner, Reduced
from auricle.pruning.merging import Merge, Merger
from auricle.speech_lm import AudioTokens, Query, SpeechLM
from fakes import FakeSpeechLM, noise, random_tokens
from tiny_llama import TinyLlama


@dataclass(frozen=True)
class Pairs(Merger):
    """Every token with the one behind it, the first of a pair weighing three times as much."""

    @override
    def merge(self, tokens: AudioTokens, query: Query, lm: SpeechLM) -> Merge:
        at = torch.arange(len(tokens))
        return Merge(at // 2 * 2, torch.where(at % 2 == 0, 3.0, 1.0))


@dataclass(frozen=True)
class Inner(Pruner):
    """The first two tokens, from the LLM's second layer on."""

    layer: int = 1

    @override
    def keep(self, tokens: AudioTokens, query: Query, lm: SpeechLM) -> torch.Tensor:
        return torch.arange(2)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_means_are_those_of_a_plain_loop(seed: int, dtype: torch.dtype) -> None:
    draw = torch.Generator().manual_seed(seed)
    S = torch.randn(40, 6, generator=draw).to(dtype)
    kept = torch.randperm(40, generator=draw)[:7].sort().values
    into = kept[torch.randint(7, (40,), generator=draw)]
    into[torch.rand(40, generator=draw) < 0.2] = -1
    into[kept] = kept
    weights = torch.rand(40, generator=draw) + 0.1
    merge = Merge(into, weights)
    assert torch.equal(merge.keep, kept)
    found = merge.embeds(S)
    assert found.dtype == dtype
    for row, place in enumerate(kept.tolist()):
        those = [i for i in range(40) if into[i] == place]
        mean = sum(weights[i] * S[i].float() for i in those) / sum(weights[i] for i in those)
        torch.testing.assert_close(
            found[row], mean.to(dtype), atol=1e-2 if dtype == torch.bfloat16 else 1e-6, rtol=0
        )


def test_the_prompt_holds_the_means_in_the_places_that_are_left() -> None:
    lm = FakeSpeechLM()
    tokens = random_tokens(9)
    query = lm.query("When does the ferry leave?")
    whole = lm.prompt(tokens, query)
    reduced = Pairs().reduce(tokens, query, lm)
    prompt = reduced.prompt(whole)
    assert torch.equal(reduced.keep, torch.tensor([0, 2, 4, 6, 8]))
    expected = (3 * tokens.embeds[0] + tokens.embeds[1]) / 4
    torch.testing.assert_close(prompt.embeds[0, prompt.audio[0]], expected)
    torch.testing.assert_close(prompt.embeds[0, prompt.audio[-1]], tokens.embeds[8])
    text = torch.ones(len(whole), dtype=torch.bool)
    text[whole.audio] = False
    left = torch.ones(len(prompt), dtype=torch.bool)
    left[prompt.audio] = False
    assert torch.equal(prompt.embeds[0, left], whole.embeds[0, text])
    assert torch.equal(whole.embeds[0, whole.audio], tokens.embeds)  # the given prompt is as it was
    assert torch.equal(reduced.tokens(tokens).embeds, prompt.embeds[0, prompt.audio])
    assert torch.equal(reduced.tokens(tokens).times, tokens.times[reduced.keep])


def test_an_answer_is_that_of_the_means() -> None:
    lm = TinyLlama()
    recording = asking.encode(lm, noise(3.0), 16000)
    query = lm.query("When does the ferry leave?", ["at noon", "at dawn"])
    answer = asking.answer(lm, recording, query, Pairs(), prior=False)
    tokens = Pairs().reduce(recording.tokens, query, lm).tokens(recording.tokens)
    expected = lm.loglikelihood(lm.prompt(tokens, query), query.choices)
    assert list(answer.scores.values()) == pytest.approx(expected.tolist(), abs=1e-4)
    assert (answer.tokens.audio, answer.tokens.kept) == (38, 19)


def test_an_answer_of_what_is_left_inside() -> None:
    lm = TinyLlama()
    recording = asking.encode(lm, noise(3.0), 16000)
    query = lm.query("When does the ferry leave?", ["at noon", "at dawn"])
    answer = asking.answer(lm, recording, query, Inner(), prior=False)
    prompt = lm.prompt(recording.tokens, query)
    expected = lm.loglikelihood(prompt.keep_from(1, torch.arange(2)), query.choices)
    assert list(answer.scores.values()) == pytest.approx(expected.tolist(), abs=1e-4)
    assert (answer.tokens.audio, answer.tokens.kept) == (38, 2)
    assert answer.tokens.text == len(prompt) - 38
    assert answer.kept_spans == ((0.0, 0.16),)


def test_what_is_dropped_inside_leaves_nothing_to_summarize() -> None:
    tokens = random_tokens(9)
    with pytest.raises(OptionError, match="inside the LLM, before its layer 2"):
        Reduced(torch.arange(3), layer=2).tokens(tokens)
