"""The connector and the loss that teaches it."""

import pytest
import torch

from auricle.models.mini.connector import ALPHABET, Connector, ctc_loss, greedy
from auricle.models.mini.pieces import normalize

PIECES = 5


@pytest.fixture(scope="module")
def connector():
    torch.manual_seed(0)
    return Connector(encoder_dim=6, dim=8, layers=1, pieces=PIECES).eval()


def sure(indices):
    """Logits that leave no doubt."""
    return torch.nn.functional.one_hot(torch.tensor(indices), PIECES + 1).float() * 1000


@pytest.mark.parametrize(("frames", "expected"), [(1500, 375), (40, 10), (4, 1)])
def test_a_quarter_of_the_frames(connector, frames, expected):
    assert connector(torch.randn(2, frames, 6)).shape == (2, expected, PIECES + 1)


def test_greedy():
    b = PIECES
    assert greedy(sure([b, 1, 1, b, 1, 2, 2, 0, b, b])) == [1, 1, 2, 0]
    assert greedy(sure([b, b])) == []
    assert greedy(sure([3])) == [3]


def test_loss_is_the_sum_of_the_sequences_losses_over_all_labels():
    torch.manual_seed(1)
    logits = [torch.randn(frames, PIECES + 1) for frames in (12, 3, 20)]
    targets = [torch.tensor([1, 2, 2]), torch.tensor([0]), torch.tensor([4, 3, 1, 0, 2])]
    total = sum(
        torch.nn.functional.ctc_loss(
            sample.log_softmax(-1), labels, (len(sample),), (len(labels),), blank=PIECES, reduction="sum"
        )
        for sample, labels in zip(logits, targets, strict=True)
    )
    torch.testing.assert_close(ctc_loss(logits, targets), total / 9)


def test_more_labels_than_frames_do_not_spoil_the_batch():
    logits = torch.randn(2, 2, PIECES + 1, requires_grad=True)
    loss = ctc_loss(list(logits), [torch.tensor([1]), torch.tensor([1, 2, 3, 4])])
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


def test_the_loss_teaches(connector):
    torch.manual_seed(0)
    states, targets = torch.randn(2, 32, 6), [torch.tensor([1, 2]), torch.tensor([4, 0, 3])]
    learner = Connector(encoder_dim=6, dim=8, layers=1, pieces=PIECES)
    optimizer = torch.optim.Adam(learner.parameters(), 0.03)
    for _ in range(60):
        optimizer.zero_grad()
        ctc_loss(list(learner(states)), targets).backward()
        optimizer.step()
    learner.eval()
    assert [greedy(logits) for logits in learner(states)] == [[1, 2], [4, 0, 3]]


def test_letters_are_half_the_frames(connector):
    states = torch.randn(2, 40, 6)
    pieces, letters = connector.both(states)
    assert letters.shape == (2, 20, len(ALPHABET) + 1)
    assert torch.equal(connector(states), pieces)


def test_what_is_far_is_not_heard(connector):
    """So that a window's silence, or another sentence, does not change how a word is heard."""
    states = torch.randn(1, 400, 6)
    other = states.clone()
    other[:, 200:] = torch.randn(1, 200, 6)
    logits, changed = connector(states), connector(other)
    torch.testing.assert_close(changed[:, :40], logits[:, :40], atol=1e-5, rtol=0)
    assert (changed[:, 55:] - logits[:, 55:]).abs().max() > 1e-3


def test_every_text_has_letters():
    text = "".join(map(chr, range(32, 1000)))
    assert set(normalize(f"don't {text}")) <= set(ALPHABET)
    assert len(set(ALPHABET)) == len(ALPHABET)
