import math
from fractions import Fraction

import pytest
import references
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from auricle.errors import QueryError
from auricle.pruning.similarity import (
    FramePool,
    apportion,
    frame_budgets,
    frames_of,
    relevance,
    select_similar,
)

RATES = {12.5: Fraction(25, 2), 25.0: Fraction(25), 7.5: Fraction(15, 2), 448 / 30: Fraction(448, 30)}
POOLS: list[FramePool] = ["sum", "mean"]

quick = settings(deadline=None, derandomize=True, max_examples=80, database=None)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("audio", "text"), [(1, 1), (40, 7), (97, 3)])
def test_relevance_is_the_mean_cosine(audio: int, text: int) -> None:
    S, T = randn(audio, 12, seed=1), randn(text, 12, seed=2)
    expected = torch.tensor(references.relevance(S.tolist(), T.tolist()))
    torch.testing.assert_close(relevance(S, T), expected, atol=1e-6, rtol=0)


def test_relevance_in_blocks_in_half_precision_and_of_silence() -> None:
    S, T = randn(9000, 4, seed=1).bfloat16(), randn(3, 4, seed=2).bfloat16()
    S[10] = 0
    expected = torch.nn.functional.cosine_similarity(S.double()[:, None], T.double()[None], dim=2).mean(1)
    result = relevance(S, T)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result.double(), expected, atol=1e-6, rtol=0)
    assert float(result[10]) == 0.0


def test_a_token_is_as_relevant_wherever_it_stands() -> None:
    result = relevance(randn(1, 576).expand(1125, 576).contiguous(), randn(9, 576, seed=1))
    assert len(result.unique()) == 1


def test_a_question_without_tokens_is_refused() -> None:
    with pytest.raises(QueryError, match="no token"):
        relevance(randn(3, 4), torch.zeros(0, 4))


@pytest.mark.parametrize("tokens_per_second", RATES)
def test_frames_are_exact_for_an_hour(tokens_per_second: float) -> None:
    rate = RATES[tokens_per_second]
    length = int(rate * 3600)
    assert frames_of(length, tokens_per_second).tolist() == [math.floor(i / rate) for i in range(length)]


def test_seconds_of_half_tokens_take_turns() -> None:
    assert torch.bincount(frames_of(56, 12.5)).tolist() == [13, 12, 13, 12, 6]


@pytest.mark.parametrize("tokens_per_second", [12.5, 25.0])
@pytest.mark.parametrize("frame_pool", POOLS)
@pytest.mark.parametrize("seed", range(5))
def test_the_first_phase_equals_its_reference(tokens_per_second: float, frame_pool: FramePool, seed: int) -> None:
    rate = RATES[tokens_per_second]
    for length, budget in [(1, 1), (9, 4), (161, 60), (800, 375), (1125, 375), (1125, 1), (1125, 1124)]:
        r = randn(length, seed=seed) / 5
        args = (budget, frame_pool)
        assert frame_budgets(r, tokens_per_second, *args).tolist() == references.frame_budgets(
            r.tolist(), rate, *args
        )
        assert select_similar(r, tokens_per_second, *args).tolist() == references.select_similar(
            r.tolist(), rate, *args
        )


@pytest.mark.parametrize("frame_pool", POOLS)
def test_ties_go_to_the_earlier_token_and_frame(frame_pool: FramePool) -> None:
    r = (randn(1000) * 2).round() / 8  # about nine values
    assert select_similar(r, 25.0, 333, frame_pool).tolist() == references.select_similar(
        r.tolist(), Fraction(25), 333, frame_pool
    )
    same = torch.full((100,), 0.25)
    assert frame_budgets(same, 25.0, 10, frame_pool).tolist() == [3, 3, 2, 2]
    assert select_similar(same, 25.0, 10, frame_pool).tolist() == [0, 1, 2, 25, 26, 27, 50, 51, 75, 76]


def test_floors_lose_no_token() -> None:
    # 87.89 s at 25 Hz, all alike: floor(750 / 88) would keep 704.
    sizes = torch.full((88,), 25)
    assert apportion(torch.zeros(88, dtype=torch.float64), sizes, 750).tolist() == [9] * 46 + [8] * 42


def test_a_full_frame_hands_on_in_proportion() -> None:
    weights = torch.tensor([0.94, 0.04, 0.01, 0.01], dtype=torch.float64)
    sizes = torch.tensor([10, 10, 10, 10])
    assert apportion(weights.log(), sizes, 16).tolist() == [10, 4, 1, 1]
    assert apportion(weights.log(), sizes, 22).tolist() == [10, 8, 2, 2]
    assert apportion(weights.log(), sizes, 24).tolist() == [10, 9, 3, 2]  # 9.33, 2.33, 2.33
    assert apportion(weights.log(), sizes, 30).tolist() == [10, 10, 5, 5]
    assert apportion(weights.log(), sizes, 5).tolist() == [5, 0, 0, 0]  # 4.7, 0.2, 0.05, 0.05
    assert apportion(weights.log(), sizes, 9).tolist() == [9, 0, 0, 0]  # 8.46, 0.36, 0.09, 0.09
    assert apportion(weights.log(), sizes, 40).tolist() == [10, 10, 10, 10]
    assert apportion(weights.log(), sizes, 0).tolist() == [0, 0, 0, 0]


def test_no_weight_is_too_small_to_count() -> None:
    # As probabilities, the last three are 0, and what the first frame cannot take would go nowhere.
    log_weights = torch.tensor([0.0, -2000.0, -2001.0, -9000.0], dtype=torch.float64)
    assert apportion(log_weights, torch.tensor([5, 5, 5, 5]), 9).tolist() == [5, 3, 1, 0]


@quick
@given(
    r=st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=200),
    tokens_per_second=st.sampled_from(list(RATES)),
    budget=st.integers(0, 220),
    frame_pool=st.sampled_from(POOLS),
)
def test_budgets_hold_for_any_relevance(
    r: list[float], tokens_per_second: float, budget: int, frame_pool: FramePool
) -> None:
    counts = frame_budgets(torch.tensor(r), tokens_per_second, budget, frame_pool).tolist()
    grouped = references.frames(len(r), RATES[tokens_per_second])
    sizes = [len(frame) for frame in grouped]
    pooled = [math.fsum(r[i] for i in frame) / (len(frame) if frame_pool == "mean" else 1) for frame in grouped]
    assert sum(counts) == min(len(r), budget)
    assert all(0 <= count <= size for count, size in zip(counts, sizes, strict=True))
    for i, p in enumerate(pooled):
        for j, q in enumerate(pooled):
            assert p <= q + 1e-9 or counts[i] >= min(counts[j], sizes[i])
    kept = select_similar(torch.tensor(r), tokens_per_second, budget, frame_pool).tolist()
    assert kept == sorted(set(kept))
    assert [sum(i in frame for i in kept) for frame in grouped] == counts


@quick
@given(
    frames=st.lists(st.tuples(st.floats(-700, 700), st.integers(1, 25)), min_size=1, max_size=40),
    share=st.floats(0, 1),
)
def test_apportion_holds_for_any_weights(frames: list[tuple[float, int]], share: float) -> None:
    log_weights = torch.tensor([w for w, _ in frames], dtype=torch.float64)
    sizes = torch.tensor([size for _, size in frames])
    budget = round(share * int(sizes.sum()))
    counts = apportion(log_weights, sizes, budget)
    assert int(counts.sum()) == budget
    assert bool(((counts >= 0) & (counts <= sizes)).all())
    quota = budget * log_weights.softmax(0)  # the printed formula, where nothing overflows
    if bool((quota <= sizes).all()):
        assert bool(((counts - quota).abs() < 1 + 1e-9).all())
