import math
from dataclasses import replace

import pytest
import references
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from auricle.pruning.attention import BLOCK_NUMBERS, binarized_attention, select_attended
from auricle.speech_lm import QK


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def random_qk(dim: int, heads: int, kv_heads: int, head_dim: int, seed: int = 0) -> QK:
    w_q, w_k = randn(heads * head_dim, dim, seed=seed + 100), randn(kv_heads * head_dim, dim, seed=seed + 200)
    return QK(w_q, w_k, heads, kv_heads)


def reference(S: Tensor, qk: QK) -> list[float]:
    return references.received_attention(S.tolist(), qk.w_q.tolist(), qk.w_k.tolist(), qk.heads, qk.kv_heads)


SHAPES = [(1, 1, 4), (4, 4, 2), (4, 2, 4), (6, 1, 3), (9, 3, 2)]  # heads, key heads, head width


@pytest.mark.parametrize(("heads", "kv_heads", "head_dim"), SHAPES)
@pytest.mark.parametrize("length", [1, 2, 37])
def test_it_equals_its_reference(heads: int, kv_heads: int, head_dim: int, length: int) -> None:
    S, qk = randn(length, 10), random_qk(10, heads, kv_heads, head_dim)
    received = binarized_attention(S, qk)
    expected = reference(S, qk)
    torch.testing.assert_close(received.exp(), torch.tensor(expected), rtol=1e-4, atol=1e-7)
    for count in (0, 1, length // 2, length):
        assert select_attended(received, count).tolist() == references.top(expected, count)


@pytest.mark.parametrize(("heads", "kv_heads", "head_dim"), SHAPES)
def test_heads_are_normalized_where_the_decoder_does(heads: int, kv_heads: int, head_dim: int) -> None:
    S, qk = randn(37, 10), random_qk(10, heads, kv_heads, head_dim)
    norms = [nn.RMSNorm(head_dim, eps=1e-6).requires_grad_(False) for _ in range(2)]
    gains = [norm.weight.copy_(randn(head_dim, seed=seed)).tolist() for seed, norm in enumerate(norms)]
    received = binarized_attention(S, replace(qk, q_norm=norms[0], k_norm=norms[1]))
    expected = references.received_attention(
        S.tolist(), qk.w_q.tolist(), qk.w_k.tolist(), heads, kv_heads, (gains[0], gains[1])
    )
    torch.testing.assert_close(received.exp(), torch.tensor(expected), rtol=1e-4, atol=1e-7)
    assert not torch.allclose(received, binarized_attention(S, qk), atol=1e-2)


@pytest.mark.parametrize("block_numbers", [1, 90, 1000, 10**9])
def test_blocks_change_nothing(block_numbers: int) -> None:
    S, qk = randn(53, 12), random_qk(12, 6, 2, 4)
    torch.testing.assert_close(binarized_attention(S, qk, block_numbers), binarized_attention(S, qk))


@pytest.mark.parametrize("length", [97, 1000])
def test_ties_go_to_the_earlier_token(length: int) -> None:
    kinds = torch.randint(5, (length,), generator=torch.Generator().manual_seed(0))
    S, qk = randn(5, 576)[kinds], random_qk(576, 3, 1, 64)
    received = binarized_attention(S, qk)
    assert len(received.unique()) == 5, "what is the same receives the same, to the last bit"
    ranked = sorted(range(length), key=lambda i: (-float(received[i]), i))
    assert select_attended(received, length // 3).tolist() == sorted(ranked[: length // 3])


def test_only_signs_count_and_zero_has_none() -> None:
    S, qk = randn(30, 8), random_qk(8, 2, 1, 4)
    scaled = QK(qk.w_q * 3.0, qk.w_k * 0.01, 2, 1)
    assert torch.equal(binarized_attention(S * 100, scaled), binarized_attention(S, qk))
    S[:, 5] = 0
    changed = QK(qk.w_q.clone(), qk.w_k, 2, 1)
    changed.w_q[:, 5] *= -1
    assert torch.equal(binarized_attention(S, changed), binarized_attention(S, qk))


def test_half_precision_gives_the_same_signs() -> None:
    S, qk = randn(30, 8), random_qk(8, 2, 1, 4)
    half = QK(qk.w_q.bfloat16(), qk.w_k.bfloat16(), 2, 1)
    assert torch.equal(binarized_attention(S.bfloat16(), half), binarized_attention(S, qk))


def test_tokens_below_the_smallest_float_are_still_told_apart() -> None:
    S, qk = randn(200, 576), random_qk(576, 3, 1, 64)
    signs, w_q, w_k = S.sign().double(), qk.w_q.sign().double(), qk.w_k.sign().double()
    Q = (signs @ w_q.T).view(200, 3, 64).transpose(0, 1)
    logs = (Q @ (signs @ w_k.T).T / math.sqrt(64)).log_softmax(2)
    assert int((logs.float().exp().mean((0, 1)) == 0).sum()) > 5, "tokens that floats would tie at 0"
    expected = logs.logsumexp((0, 1)) - math.log(600)
    received = binarized_attention(S, qk)
    torch.testing.assert_close(received.double(), expected, rtol=1e-6, atol=1e-3)
    assert select_attended(received, 190).tolist() == references.top(expected.tolist(), 190)


def test_no_matrix_of_all_by_all_is_made() -> None:
    class Largest(TorchFunctionMode):
        numbers = 0

        def __torch_function__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            for tensor in out if isinstance(out, list | tuple) else [out]:
                if isinstance(tensor, Tensor):
                    self.numbers = max(self.numbers, tensor.numel())
            return out

    S, qk = randn(1000, 8), random_qk(8, 2, 1, 4)
    with Largest() as largest:
        binarized_attention(S, qk)
    assert 0 < largest.numbers <= BLOCK_NUMBERS < 2 * 1000**2 / 4
    with Largest() as unblocked:
        binarized_attention(S, qk, 10**9)
    assert unblocked.numbers == 2 * 1000**2, "what the limit prevents"
