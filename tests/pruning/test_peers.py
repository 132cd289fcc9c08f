"""Eight published methods against plain loops, and at their limits."""

import dataclasses
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from typing import Any

import peer_references as peers
import pytest
import references
import torch
from torch import Tensor, nn
from transformers import DynamicCache

from auricle.errors import ContextLengthError, ModelError, OptionError
from auricle.pruning.atome import AToMe, pairs
from auricle.pruning.base import Pruner, Reduced
from auricle.pruning.budget import kept, window_tokens
from auricle.pruning.dart import DART, unlike
from auricle.pruning.fastadasp import FastAdaSP
from auricle.pruning.fastlongspeech import FastLongSpeech
from auricle.pruning.fastv import FastV
from auricle.pruning.neighbours import runs, similarities
from auricle.pruning.received import attention, received
from auricle.pruning.received import keys as keys_of
from auricle.pruning.samap import SAMAP, diverse, joins
from auricle.pruning.segmentwise import Segmentwise
from auricle.pruning.visionzip import VisionZip, zipped
from auricle.speech_lm import QK, AudioTokens
from fakes import FakeSpeechLM, token_times
from tiny_llama import TinyLlama

QUESTION = "When does the ferry leave?"
METHODS = [FastV, DART, FastAdaSP, AToMe, VisionZip, Segmentwise, SAMAP, FastLongSpeech]
MERGERS = [FastAdaSP, AToMe, VisionZip, SAMAP, FastLongSpeech]
INNER = [FastV, DART]


def model(tokens_per_second: float, heads: int = 4, kv_heads: int = 2, scale: float = 0.3) -> FakeSpeechLM:
    """One whose attention is neither even nor all on one token."""
    lm = FakeSpeechLM(tokens_per_second, heads=heads, kv_heads=kv_heads)
    lm.qk = dataclasses.replace(lm.qk, w_q=lm.qk.w_q * scale, w_k=lm.qk.w_k * scale)
    return lm


def as_tokens(embeds: Tensor, tokens_per_second: float = 1.0) -> AudioTokens:
    return AudioTokens(embeds, token_times(len(embeds), tokens_per_second))


def speech(length: int, tokens_per_second: float = 1.0, seed: int = 0, dtype=torch.float32) -> AudioTokens:
    """Neighbours are alike, as in speech, and every seventh token or so is silence, in pairs."""
    draw = torch.Generator().manual_seed(seed)
    steps = torch.randn(length, 16, generator=draw)
    for i in range(1, length):
        steps[i] += 0.9 * steps[i - 1]
    silent = torch.rand(length // 2 + 1, generator=draw).repeat_interleave(2)[:length] < 0.15
    steps[silent] = 0
    return as_tokens(steps.to(dtype), tokens_per_second)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def reduce(method: Pruner, tokens: AudioTokens, lm: FakeSpeechLM | TinyLlama, text: str = QUESTION) -> Reduced:
    return method.reduce(tokens, lm.query(text), lm)


def rate_of(count: int, length: int, tokens_per_second: float) -> float:
    """The rate at which `count` of `length` tokens are left."""
    rate = 1 - count / min(length, window_tokens(tokens_per_second))
    assert kept(length, tokens_per_second, rate) == count
    return rate


def check(found: Reduced, expected: peers.Left, tolerance: float = 1e-5) -> None:
    assert found.keep.tolist() == sorted(expected)
    assert found.embeds is not None
    vectors = torch.tensor([expected[place] for place in sorted(expected)])
    torch.testing.assert_close(found.embeds.float(), vectors, atol=tolerance, rtol=tolerance)


# -- what the references make of a recording ---------------------------------------------------------------------


def attended(S: Tensor, qk: QK) -> list[peers.Matrix]:
    return peers.attention(S.tolist(), qk.w_q.tolist(), qk.w_k.tolist(), qk.heads, qk.kv_heads)


def by_window(tokens: AudioTokens, qk: QK, window: int) -> list[list[peers.Matrix]]:
    return [attended(tokens.embeds[part], qk) for part in peers.parts(len(tokens), window)]


def windowed(window: Callable[..., peers.Left], A: list[list[peers.Matrix]], count: int) -> peers.Left:
    """What `window` leaves of every window, given its number, its attention and its share."""
    sizes = [len(each[0]) for each in A]
    left, before = {}, 0
    for number, (size, most) in enumerate(zip(sizes, peers.share(sizes, count), strict=True)):
        left |= {place + before: vector for place, vector in window(number, A[number], most).items()}
        before += size
    return left


def expected(
    name: type, tokens: AudioTokens, lm: FakeSpeechLM, A: list[list[peers.Matrix]], count: int, threshold: float
) -> peers.Left:
    S = tokens.embeds.tolist()
    keys = peers.project(S, lm.qk.w_k.tolist())
    scores = [x for each in A for x in peers.received(each)]
    size = window_tokens(lm.tokens_per_second)
    cut = peers.parts(len(S), size)
    if name is AToMe:
        return peers.a_tome(S, count)
    if name is FastLongSpeech:
        return peers.fastlongspeech(S, count)
    if name is FastAdaSP:
        return peers.fastadasp(S, keys, scores, count)
    if name is VisionZip:
        means = [peers.mean_key(key, lm.qk.kv_heads) for key in keys]
        return windowed(
            lambda n, A, most: peers.visionzip(
                [S[i] for i in cut[n]], [means[i] for i in cut[n]], peers.received(A), most
            ),
            A,
            count,
        )
    return windowed(lambda n, A, most: peers.samap([S[i] for i in cut[n]], A, threshold, most), A, count)


@cache
def heard(
    tokens_per_second: float, length: int, seed: int, heads: int, dtype: torch.dtype
) -> tuple[FakeSpeechLM, AudioTokens, list[list[peers.Matrix]]]:
    lm = model(tokens_per_second, heads, max(1, heads // 2))
    tokens = speech(length, tokens_per_second, seed, dtype)
    return lm, tokens, by_window(tokens, lm.qk, window_tokens(tokens_per_second))


# At 1 token a second a window has 30. A part of a window, a window, one and a token, three and a bit.
SHORT = [(1.0, length, count, seed) for length in (2, 19) for count in (1, length - 1) for seed in range(3)]
SHORT += [(1.0, 30, count, seed) for count in (2, 7, 13, 16, 29) for seed in range(3)]
SHORT += [(1.0, length, count, seed) for length in (31, 100) for count in (1, 9, 20, 30) for seed in range(3)]
LONG = [(12.5, 340, 136, 0), (12.5, 460, 75, 0), (12.5, 460, 150, 1), (25.0, 790, 300, 0)]
EVERY = [(*case, 4, torch.float32) for case in SHORT] + [(*case, 2, torch.float32) for case in LONG]
EVERY += [(1.0, 70, 14, seed, 4, torch.bfloat16) for seed in range(3)]


@pytest.mark.parametrize("method", MERGERS)
@pytest.mark.parametrize(("tokens_per_second", "length", "count", "seed", "heads", "dtype"), EVERY)
def test_what_is_merged_equals_its_reference(
    method: type, tokens_per_second: float, length: int, count: int, seed: int, heads: int, dtype: torch.dtype
) -> None:
    lm, tokens, A = heard(tokens_per_second, length, seed, heads, dtype)
    options: dict[str, Any] = {"pruning_rate": rate_of(count, length, tokens_per_second)}
    threshold = 0.5  # between the cosines of neighbours here
    if method is SAMAP:
        if tokens_per_second > 1 or length < 30:
            threshold = 0.2  # joins are undone there: more tokens than axes have no volume to compare
        options["threshold"] = threshold
    found = reduce(method(**options), tokens, lm)
    assert found.embeds.dtype == dtype
    check(found, expected(method, tokens, lm, A, count, threshold), 1e-2 if dtype == torch.bfloat16 else 1e-5)


# -- attention among speech tokens -------------------------------------------------------------------------------


@pytest.mark.parametrize(("heads", "kv_heads", "head_dim"), [(1, 1, 4), (4, 4, 2), (4, 2, 4), (6, 1, 3), (9, 3, 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_equals_its_reference(heads: int, kv_heads: int, head_dim: int, dtype: torch.dtype) -> None:
    S = speech(37, dtype=dtype).embeds
    w_q, w_k = randn(heads * head_dim, 16, seed=1) / 3, randn(kv_heads * head_dim, 16, seed=2) / 3
    qk = QK(w_q.to(dtype), w_k.to(dtype), heads, kv_heads)
    A = attended(S, qk)
    torch.testing.assert_close(attention(S, qk), torch.tensor(A), atol=1e-6, rtol=1e-4)
    in_windows = [x for part in peers.parts(37, 15) for x in peers.received(attended(S[part], qk))]
    torch.testing.assert_close(received(S, qk, 15), torch.tensor(in_windows), atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(
        keys_of(S, qk), torch.tensor(peers.project(S.tolist(), qk.w_k.tolist())), atol=1e-5, rtol=1e-4
    )


def test_heads_are_normalized_where_the_decoder_does() -> None:
    S, w_q, w_k = speech(37).embeds, randn(12, 16, seed=1) / 3, randn(6, 16, seed=2) / 3
    norms = [nn.RMSNorm(3, eps=1e-6).requires_grad_(False) for _ in range(2)]
    gains = [norm.weight.copy_(randn(3, seed=seed)).tolist() for seed, norm in enumerate(norms)]
    qk = QK(w_q, w_k, 4, 2, *norms)
    A = peers.attention(S.tolist(), w_q.tolist(), w_k.tolist(), 4, 2, (gains[0], gains[1]))
    torch.testing.assert_close(attention(S, qk), torch.tensor(A), atol=1e-6, rtol=1e-4)
    expected = [
        [x for at in (0, 3) for x in references.normed(key[at : at + 3], gains[1])]
        for key in peers.project(S.tolist(), w_k.tolist())
    ]
    torch.testing.assert_close(keys_of(S, qk), torch.tensor(expected), atol=1e-5, rtol=1e-4)


# -- Segmentwise -------------------------------------------------------------------------------------------------


def segmentwise(tokens_per_second: float, length: int, count: int, seed: int, heads: int) -> tuple[list[int], ...]:
    lm, tokens, A = heard(tokens_per_second, length, seed, heads, torch.float32)
    scores = [x for each in A for x in peers.received(each)]
    found = reduce(Segmentwise(pruning_rate=rate_of(count, length, tokens_per_second)), tokens, lm)
    assert found.embeds is None
    return found.keep.tolist(), peers.segmentwise(scores, 3 * Fraction(tokens_per_second), count)


@pytest.mark.parametrize(
    ("tokens_per_second", "length", "count", "seed", "heads"),
    [(*case, 4) for case in SHORT] + [(25.0, 790, count, 0, 2) for count in (1, 12, 300, 750)],
)
def test_segmentwise_equals_its_reference(
    tokens_per_second: float, length: int, count: int, seed: int, heads: int
) -> None:
    found, wanted = segmentwise(tokens_per_second, length, count, seed, heads)
    assert found == wanted


@pytest.mark.parametrize(("length", "count"), [(340, 136), (460, 150)])
def test_a_window_of_half_tokens_has_ten_equal_segments(length: int, count: int) -> None:
    found, wanted = segmentwise(12.5, length, count, int(length == 460), 2)
    assert found == wanted


def test_of_an_hour_segmentwise_keeps_more_than_the_beginning() -> None:
    lm = model(1.0)
    chosen = reduce(Segmentwise(), as_tokens(randn(3600, 16)), lm).keep  # 12 of 1200 segments
    assert int(chosen[-1]) >= 1800


# -- VisionZip ---------------------------------------------------------------------------------------------------


def zipped_from(S: Tensor, qk: QK, keys: peers.Matrix, count: int) -> peers.Left:
    return peers.visionzip(S.tolist(), keys, peers.received(attended(S, qk)), count)


def test_visionzip_compares_the_mean_key_of_all_heads() -> None:
    lm, S = model(1.0), speech(30).embeds
    wide = peers.project(S.tolist(), lm.qk.w_k.tolist())
    keys = [[(k[d] + k[d + 4]) / 2 for d in range(4)] for k in wide]
    check(reduce(VisionZip(pruning_rate=rate_of(20, 30, 1.0)), as_tokens(S), lm), zipped_from(S, lm.qk, keys, 20))


def test_visionzip_targets_are_whole_steps_apart() -> None:
    into = zipped(torch.arange(40.0).flip(0), torch.nn.functional.normalize(randn(40, 4), dim=1), 20)
    assert sorted(set(into.tolist()) - set(range(17))) == [17, 24, 31]  # 17 stay; three targets of 23


def test_the_last_tokens_of_a_window_have_a_target_too() -> None:
    units = torch.eye(8)
    units[7] = units[5]
    # Seven stay of eight: six dominant (1.09 of 7 is one contextual), 6 and 7 are left, 6 is the target.
    assert zipped(torch.arange(8.0).flip(0), units, 7).tolist() == [0, 1, 2, 3, 4, 5, 6, 6]


def test_so_few_that_none_is_contextual() -> None:
    # 3 x 10 / 64 rounds to none, so what is not dominant is dropped; of 4 one is, and takes in the rest.
    scores = torch.tensor([1.0, 3.0, 2.0, 2.0, 0.0, 2.0])
    units = torch.eye(6)
    assert zipped(scores, units, 3).tolist() == [-1, 1, 2, 3, -1, -1]
    assert zipped(scores, units, 4).tolist() == [0, 1, 2, 3, 0, 0]
    assert zipped(scores, units, 0).tolist() == [-1] * 6


# -- SA-MAP ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("count", [1, 2, 5, 9, 11])
def test_greedy_choice_makes_the_determinant_largest(seed: int, count: int) -> None:
    vectors = randn(12, 14, seed=seed)
    vectors[3] = vectors[8] + 0.05 * vectors[3]
    vectors[10] = -vectors[2] + 0.05 * vectors[10]  # as much of a repetition
    relevance = torch.rand(12, generator=torch.Generator().manual_seed(seed)) + 0.2
    units = torch.nn.functional.normalize(vectors, dim=1)
    assert diverse(units, relevance, count).tolist() == peers.diverse(vectors.tolist(), relevance.tolist(), count)


def test_a_repetition_adds_no_volume_and_ties_go_to_the_earlier() -> None:
    units = torch.eye(4)[[0, 0, 1, 1, 2, 3]]
    assert diverse(units, torch.ones(6), 4).tolist() == [0, 2, 4, 5]
    assert diverse(units, torch.tensor([1.0, 2, 2, 1, 1, 1]), 3).tolist() == [1, 2, 4]


def test_where_nothing_adds_volume_the_most_relevant_follow() -> None:
    units = torch.eye(3)[[0, 0, 0, 1, 1, 1, 2, 2, 2]]
    relevance = torch.tensor([0.9, 0.8, 0.1, 0.3, 0.7, 0.2, 0.05, 0.04, 0.6])
    assert diverse(units, relevance, 3).tolist() == [0, 4, 8]  # the best of each direction
    assert diverse(units, relevance, 5).tolist() == [0, 1, 3, 4, 8]
    assert diverse(units, relevance, 8).tolist() == [0, 1, 2, 3, 4, 5, 6, 8]


def test_more_than_there_are_axes_are_chosen_once_each() -> None:
    units = torch.nn.functional.normalize(randn(9, 3), dim=1)
    assert diverse(units, torch.ones(9), 9).tolist() == list(range(9))


def test_only_the_ratio_of_relevances_matters() -> None:
    units = torch.eye(4)[[0, 0, 0, 1, 2, 3]]
    relevance = torch.tensor([4.0, 3, 2, 1, 1, 1])
    chosen = diverse(units, relevance, 3).tolist()
    assert chosen == [0, 3, 4]
    assert diverse(units, relevance * 1e-9, 3).tolist() == chosen


def test_the_mean_cosine_with_the_whole_run_decides() -> None:
    angles = torch.tensor([0.0, 20, 40, 60, 80, 100]).deg2rad()
    units = torch.stack([angles.cos(), angles.sin()], 1)
    run, alike = joins(units, 0.85)
    # 40 has .77 and .94 with the two before it, a mean of .853; 60 has .5, .77 and .94: .74.
    assert run.tolist() == [0, 0, 0, 1, 1, 1]
    expected = [torch.inf, 0.9397, 0.8529, torch.inf, 0.9397, 0.8529]
    torch.testing.assert_close(alike, torch.tensor(expected), atol=1e-4, rtol=0)


def test_the_least_similar_joins_are_undone() -> None:
    lm = model(1.0)
    angles = torch.tensor([0.0, 5, 25, 8, 11]).deg2rad()
    S = torch.zeros(5, 16)
    S[:, 0], S[:, 1] = angles.cos(), angles.sin()
    found = reduce(SAMAP(pruning_rate=0.6, threshold=0.5), as_tokens(S), lm)
    assert found.keep.tolist() == [0, 2]  # 25 degrees, though the run goes on behind it
    weights = peers.received_most(attended(S, lm.qk))
    rest = [0, 1, 3, 4]
    mean = peers.mean(S[rest].tolist(), [weights[i] for i in rest])
    torch.testing.assert_close(found.embeds, torch.stack([torch.tensor(mean), S[2]]))


@pytest.mark.parametrize("threshold", [-1.0, 1.0])
def test_the_widest_and_the_narrowest_threshold(threshold: float) -> None:
    lm, tokens = model(1.0), speech(12)
    A = by_window(tokens, lm.qk, 30)
    found = reduce(SAMAP(threshold=threshold), tokens, lm)
    check(found, expected(SAMAP, tokens, lm, A, 5, threshold))


@pytest.mark.parametrize("method", [FastAdaSP, SAMAP])
def test_what_hardly_receives_attention_has_a_mean(method: type) -> None:
    lm, tokens = model(1.0, scale=8.0), as_tokens(randn(100, 16))
    found = reduce(method(pruning_rate=0.5), tokens, lm)
    assert bool(found.embeds.isfinite().all())


# -- silence, repetitions, ties ----------------------------------------------------------------------------------


def test_silence_is_like_silence_alone() -> None:
    S = randn(6, 5)
    S[[1, 2, 4]] = 0
    alike = similarities(S)
    assert alike[:4].tolist() == [0, 1, 0, 0]
    assert float(similarities(S[[0, 3]])) != 0


@pytest.mark.parametrize("method", [FastAdaSP, FastLongSpeech, AToMe, SAMAP])
def test_silence_is_merged_before_anything_else(method: type) -> None:
    S = randn(20, 16)
    S[[2, 3, 9, 10, 14, 15]] = 0
    S[18] = 0  # alone, between others
    options = {"threshold": 1.0} if method is SAMAP else {}
    found = reduce(method(pruning_rate=rate_of(17, 20, 1.0), **options), as_tokens(S), model(1.0))
    left = [i for i in range(20) if i not in (3, 10, 15)]
    assert found.keep.tolist() == left
    torch.testing.assert_close(found.embeds, S[left])


@pytest.mark.parametrize("method", [FastAdaSP, FastLongSpeech, AToMe, SAMAP])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_repetitions_become_what_is_repeated(method: type, dtype: torch.dtype) -> None:
    kinds = randn(15, 16, seed=3).to(dtype)
    found = reduce(method(pruning_rate=0.5), as_tokens(kinds.repeat_interleave(2, 0)), model(1.0))
    assert found.keep.tolist() == list(range(0, 30, 2))
    torch.testing.assert_close(found.embeds, kinds)


def test_ties_are_joined_from_the_first_on() -> None:
    assert runs(torch.tensor([0.5, 0.7, 0.5, 0.5, 0.7]), 3).tolist() == [0, 0, 0, 1, 2, 2]
    assert runs(torch.full((5,), 0.5), 1).tolist() == [0] * 6
    assert pairs(torch.tensor([0.5, 0.7, 0.5, 0.5, 0.5]), 9).tolist() == [0, 1, 1, 2, 2, 3]
    assert pairs(torch.full((5,), 0.5), 2).tolist() == [0, 0, 1, 1, 2, 3]
    assert pairs(torch.tensor([0.8, 0.9, 0.8]), 9).tolist() == [0, 1, 1, 2]  # not two pairs of 0.8


def test_unlike_ties_go_to_the_earlier() -> None:
    cosines = torch.tensor([[0.2, 0.5], [0.1, 0.4], [0.1, 0.5], [0.9, 0.4], [0.1, 0.4]])
    # One more than two each: 1 and 2 for the first pivot, then 3, though 1 is as unlike the second.
    assert unlike(cosines, torch.tensor([0]), 4).tolist() == [0, 1, 2, 3]
    assert unlike(cosines, torch.tensor([0, 4]), 2).tolist() == [0, 4]
    assert unlike(cosines, torch.tensor([4]), 5).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("length", [30, 100])
@pytest.mark.parametrize("count", [1, 9, 29])
@pytest.mark.parametrize("method", MERGERS)
def test_a_recording_of_silence(method: type, length: int, count: int) -> None:
    lm, tokens = model(1.0), as_tokens(torch.zeros(length, 16))
    A = by_window(tokens, lm.qk, 30)
    check(
        reduce(method(pruning_rate=rate_of(count, length, 1.0)), tokens, lm),
        expected(method, tokens, lm, A, count, 0.85),
    )


@pytest.mark.parametrize("length", [30, 100])
@pytest.mark.parametrize("count", [1, 9, 29])
@pytest.mark.parametrize("method", [FastAdaSP, AToMe, FastLongSpeech])
def test_a_recording_of_one_token_over_and_over(method: type, length: int, count: int) -> None:
    lm, tokens = model(1.0), as_tokens(randn(1, 16).expand(length, 16).contiguous())
    A = by_window(tokens, lm.qk, 30)
    check(
        reduce(method(pruning_rate=rate_of(count, length, 1.0)), tokens, lm),
        expected(method, tokens, lm, A, count, 0.85),
    )


@pytest.mark.parametrize("method", [VisionZip, SAMAP])
def test_a_window_may_keep_none(method: type) -> None:
    found = reduce(method(pruning_rate=rate_of(2, 100, 1.0)), as_tokens(randn(100, 16)), model(1.0))
    assert [int(((found.keep >= i) & (found.keep < i + 30)).sum()) for i in (0, 30, 60, 90)] == [0, 1, 0, 1]
    assert bool(found.embeds.isfinite().all())


# -- inside the LLM ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", [1, 2, 3])
@pytest.mark.parametrize(
    ("tokens_per_second", "length", "count"),
    [
        *[(1.0, 2, 1), (1.0, 19, 1), (1.0, 19, 3), (1.0, 19, 4), (1.0, 19, 7), (1.0, 19, 18), (1.0, 100, 30)],
        *[(12.5, 400, 150), (12.5, 300, 121), (25.0, 800, 300)],
    ],
)
@pytest.mark.parametrize("seed", range(2))
def test_what_is_dropped_inside_equals_its_reference(
    layer: int, tokens_per_second: float, length: int, count: int, seed: int
) -> None:
    lm, tokens = model(tokens_per_second, scale=0.1), as_tokens(randn(length, 16, seed=seed), tokens_per_second)
    prompt = lm.prompt(tokens, lm.query(QUESTION))
    seen, audio = lm.inside(prompt, layer), prompt.audio.tolist()
    options = {"pruning_rate": rate_of(count, length, tokens_per_second), "layer": layer}
    assert reduce(FastV(**options), tokens, lm).keep.tolist() == peers.fastv(seen.attention.tolist(), audio, count)
    found = reduce(DART(**options), tokens, lm)
    assert found.keep.tolist() == peers.dart(seen.keys.tolist(), seen.states.tolist(), audio, count)
    assert (found.layer, found.embeds) == (layer, None)


@pytest.mark.parametrize("layer", [1, 2])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("length", [19, 90])
def test_a_real_llama_tells_what_to_keep(layer: int, seed: int, length: int) -> None:
    lm, count = TinyLlama(seed), 8
    tokens = as_tokens(randn(length, 32, seed=seed) / 3, 12.5)
    prompt = lm.prompt(tokens, lm.query(QUESTION))
    lm.model.set_attn_implementation("eager")
    out = lm.model(
        inputs_embeds=prompt.embeds,
        output_attentions=True,
        output_hidden_states=True,
        past_key_values=DynamicCache(),
    )
    options, audio = {"pruning_rate": rate_of(count, length, 12.5), "layer": layer}, prompt.audio.tolist()
    row = out.attentions[layer - 1][0, :, -1].tolist()
    assert reduce(FastV(**options), tokens, lm).keep.tolist() == peers.fastv(row, audio, count)
    keys = out.past_key_values.layers[layer - 1].keys[0].tolist()
    states = out.hidden_states[layer][0].tolist()
    assert reduce(DART(**options), tokens, lm).keep.tolist() == peers.dart(keys, states, audio, count)


def test_the_question_has_a_say_from_the_second_layer_on() -> None:
    lm, tokens = TinyLlama(), as_tokens(randn(300, 32) / 3, 12.5)
    other, longer = "Where will the train stop?", QUESTION + " And how long does it take?"
    assert len(other) == len(QUESTION)

    def chosen(text: str, layer: int) -> list[int]:
        return reduce(FastV(layer=layer), tokens, lm, text).keep.tolist()

    assert chosen(other, 1) == chosen(QUESTION, 1)
    assert chosen(longer, 1) != chosen(QUESTION, 1)
    assert chosen(other, 2) != chosen(QUESTION, 2)


def test_the_question_is_a_pivot_of_dart() -> None:
    lm, tokens = TinyLlama(), as_tokens(randn(300, 32) / 3, 12.5)
    assert not torch.equal(
        reduce(DART(), tokens, lm).keep, reduce(DART(), tokens, lm, "WHO ATE THE CAKE, AND?").keep
    )


@pytest.mark.parametrize("method", [*MERGERS, Segmentwise])
def test_the_others_do_not_hear_the_question(method: type) -> None:
    lm, tokens = TinyLlama(), as_tokens(randn(90, 32) / 3, 12.5)
    one, other = reduce(method(), tokens, lm), reduce(method(), tokens, lm, "Who?")
    assert torch.equal(one.keep, other.keep)
    assert method is Segmentwise or torch.equal(one.embeds, other.embeds)


@pytest.mark.parametrize("method", INNER)
def test_all_speech_has_to_fit_into_the_context(method: type) -> None:
    lm = TinyLlama(max_position_embeddings=100)
    template = len(lm.prompt(None, lm.query(QUESTION)))
    reduce(method(), as_tokens(randn(100 - template, 32), 12.5), lm)
    with pytest.raises(ContextLengthError, match="take 101 tokens"):
        reduce(method(), as_tokens(randn(101 - template, 32), 12.5), lm)


# -- options and limits ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("rate", [-0.01, 1.01, float("nan")])
def test_a_rate_outside_its_range_is_refused(method: type, rate: float) -> None:
    with pytest.raises(OptionError, match=r"expected a fraction from 0 \(keep all\) to 1 \(drop all\)"):
        method(pruning_rate=rate)


@pytest.mark.parametrize("threshold", [-1.01, 1.01, float("nan")])
def test_a_threshold_outside_its_range_is_refused(threshold: float) -> None:
    with pytest.raises(OptionError, match="expected a cosine from -1 to 1"):
        SAMAP(threshold=threshold)


@pytest.mark.parametrize("method", INNER)
@pytest.mark.parametrize("layer", [-1, 0, 3])
def test_a_layer_that_the_llm_has_not_is_refused(method: type, layer: int) -> None:
    with pytest.raises(OptionError, match=rf"layer is {layer}; expected 1 to 2"):
        reduce(method(layer=layer), as_tokens(randn(9, 32)), TinyLlama())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_tokens_that_are_no_numbers_are_refused(method: type, value: float) -> None:
    tokens = as_tokens(randn(9, 16))
    tokens.embeds[3, 2] = value
    with pytest.raises(ModelError, match="NaN or infinite"):
        reduce(method(), tokens, model(1.0))


@pytest.mark.parametrize("method", METHODS)
def test_all_and_none(method: type) -> None:
    lm, tokens = model(1.0), as_tokens(randn(9, 16))
    prompt = lm.prompt(tokens, lm.query(QUESTION))
    everything = reduce(method(pruning_rate=0.0), tokens, lm)
    assert everything.keep.tolist() == list(range(9))
    assert torch.equal(everything.prompt(prompt).embeds, prompt.embeds)
    assert len(reduce(method(pruning_rate=1.0), tokens, lm).keep) == 0
