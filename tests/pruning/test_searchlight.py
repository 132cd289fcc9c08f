import math

import jaxtyping
import pytest
import torch
from torch.nn.functional import cosine_similarity, normalize

import auricle
from auricle.errors import ModelError, OptionError, QueryError
from auricle.pruning.searchlight import RAREST, Searchlight, says_something, score, sliding_max, sliding_mean
from auricle.speech_lm import AudioTokens
from fakes import FakeSpeechLM, random_tokens, token_times

WORDS = torch.eye(12)  # a vocabulary whose words have nothing in common


def said(*words: int | None) -> torch.Tensor:
    """Speech of these words; None is silence."""
    return torch.stack([torch.zeros(12) if word is None else WORDS[word] for word in words])


def by_hand(S, T, half, threshold):
    cosine = [[float(cosine_similarity(s, t, dim=0)) for t in T] for s in S]
    match = [[max(0.0, value - threshold) / (1 - threshold) for value in row] for row in cosine]
    count = len(S)
    windows = [range(max(0, i - half), min(count, i + half + 1)) for i in range(count)]
    near = [[max(match[i][word] for i in window) for word in range(len(T))] for window in windows]
    rarity = [-math.log(min(1, max(RAREST, sum(row[k] for row in near) / count))) for k in range(len(T))]
    light = [sum(weight * value for weight, value in zip(rarity, row, strict=True)) for row in near]
    return torch.tensor([sum(light[i] for i in window) / len(window) for window in windows])


@pytest.mark.parametrize("half", [1, 3, 10, 40])
@pytest.mark.parametrize("threshold", [-1.0, 0.0, 0.4])
def test_the_score_is_that_of_the_formulas(half, threshold):
    generator = torch.Generator().manual_seed(half)
    S, T = torch.randn(30, 8, generator=generator), torch.randn(5, 8, generator=generator)
    S[::4] = 0
    torch.testing.assert_close(score(S, T, half, threshold), by_hand(S, T, half, threshold), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("length", [1, 2, 7, 50, 101])
@pytest.mark.parametrize("half", [0, 1, 4, 60])
def test_sliding_windows(length, half):
    values = torch.randn(3, length, generator=torch.Generator().manual_seed(length))
    windows = [values[:, max(0, i - half) : i + half + 1] for i in range(length)]
    assert torch.equal(sliding_max(values, half), torch.stack([each.amax(1) for each in windows], 1))
    means = torch.stack([each[0].mean() for each in windows])
    torch.testing.assert_close(sliding_mean(values[0], half), means)


def test_words_that_are_near_each_other_count_together():
    """Words 1 and 2 are said apart at places 2 and 40, and together around 20."""
    speech = [0] * 60
    speech[2], speech[40], speech[19], speech[21] = 1, 2, 1, 2
    found = score(said(*speech), WORDS[[1, 2]], 4, 0.2)
    assert 18 <= int(found.argmax()) <= 22
    assert found[20] > 1.4 * max(found[2], found[40])


def test_rare_words_outweigh_frequent_ones():
    """Word 0 is said everywhere, word 1 once."""
    speech = [0 if i % 3 else 5 for i in range(90)]
    speech[70] = 1
    found = score(said(*speech), WORDS[[0, 1, 0, 0]], 4, 0.2)
    assert 66 <= int(found.argmax()) <= 74
    assert found[10] < 0.1 * found[70]


def test_what_matches_too_little_does_not_count():
    speech = normalize(said(*[3] * 20) + 0.1 * said(*[4] * 10, *[5] * 10), dim=1)
    assert score(speech, WORDS[[4]], 2, 0.2).sum() == 0
    assert score(speech, WORDS[[4]], 2, 0.0).sum() > 0


def test_silence_and_repetitions_say_nothing():
    assert says_something(said(None, 1, 1, 2, None, 2, 1)).tolist() == [False, True, False, True, False, True, True]


class Deaf(FakeSpeechLM):
    """Its table holds `WORDS`: the text "abc" is the words 0, 1, 2."""

    def __init__(self):
        super().__init__(dim=12)
        self.table = torch.zeros(256, 12)
        self.table[97:109] = WORDS


def chosen(speech, question, listed=(), **options):
    lm = Deaf()
    tokens = AudioTokens(speech, token_times(len(speech), 12.5))
    return Searchlight(**options).keep(tokens, lm.query(question, listed), lm).tolist()


def test_what_says_something_is_kept_before_what_does_not():
    speech = said(*([None, 3] * 200))
    speech[201], speech[207] = WORDS[0], WORDS[1]
    kept = chosen(speech, "ab", pruning_rate=0.8)
    assert len(kept) == 75
    assert all(i % 2 for i in kept)
    assert {201, 207} <= set(kept)
    assert kept[-1] - kept[0] <= 160
    whole = chosen(speech, "ab", pruning_rate=0.8, silence="keep")
    assert whole == list(range(whole[0], whole[0] + 75))
    assert {201, 207} <= set(whole)
    everything = chosen(speech, "ab", pruning_rate=0.0)
    assert len(everything) == 375
    assert {i for i in range(400) if i % 2} <= set(everything)


def test_choices_are_looked_for_too():
    speech = said(*[5 + i % 2 for i in range(1000)])
    speech[800] = WORDS[2]
    assert 800 in chosen(speech, "a", ("c", "d"), pruning_rate=0.8)
    assert 800 not in chosen(speech, "a", ("c", "d"), pruning_rate=0.8, choices=False)


def test_the_window_is_in_seconds():
    speech = said(*[5 + i % 2 for i in range(1000)])
    speech[500] = WORDS[0]
    narrow, wide = (chosen(speech, "a", pruning_rate=0.6, window=seconds) for seconds in (2.0, 12.0))
    assert 500 in narrow
    assert 500 in wide
    assert chosen(speech, "a", pruning_rate=0.9, window=2.0)[0] >= 500 - 26


def test_ties_go_to_the_earlier_token():
    assert chosen(said(*[5 + i % 2 for i in range(500)]), "a", pruning_rate=0.6) == list(range(150))


def test_what_makes_no_sense_is_refused(monkeypatch):
    lm = FakeSpeechLM()
    tokens = random_tokens(500)
    tokens.embeds[7, 3] = float("nan")
    with pytest.raises(ModelError, match="NaN or infinite"):
        auricle.Searchlight().keep(tokens, lm.query("Who?"), lm)
    with pytest.raises(QueryError, match="no token"):
        score(torch.ones(3, 2), torch.ones(0, 2), 1, 0.0)
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    for options in (
        {"window": 0.0},
        {"threshold": 1.0},
        {"threshold": -1.5},
        {"silence": "drop"},
        {"pruning_rate": 2},
    ):
        with pytest.raises(OptionError, match="expected"):
            Searchlight(**options)
    with pytest.raises(OptionError, match="expected one of"):
        Searchlight(positions="kept")
