"""Eight published methods against plain loops, and at their limits."""

import dataclasses
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from typing import Any

import peer_references as peers
import pytest
import torch
from torch import Tensor
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
from auricle.speech_lm import QK, AudioTokens, Query
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
        return windowed(
            lambda n, A, most: peers.visionzip([S[i] for i in cut[n]], [keys[i] for i in cut[n]], peers.received(A), most),
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
