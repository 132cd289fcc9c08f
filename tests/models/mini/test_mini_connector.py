"""The connector and the loss that teaches it."""

import itertools

import pytest
import torch

from auricle.models.mini.connector import ALPHABET, LETTERS, Connector, Residual, ctc_loss, normalize

CLASSES = 6


@pytest.fixture(scope="module")
def connector():
    torch.manual_seed(0)
    return Connector(encoder_dim=6, dim=8, layers=1).eval()


def labels(text):
    return torch.tensor([ALPHABET.index(letter) for letter in text])


def heard(logits):
    """The likeliest class of every frame, runs merged, without blanks."""
    classes = [index for index, _ in itertools.groupby(logits.argmax(-1).tolist())]
    return "".join(ALPHABET[index] for index in classes if index != LETTERS)


@pytest.mark.parametrize(("frames", "expected"), [(1500, 750), (40, 20), (2, 1)])
def test_half_the_frames(connector, frames, expected):
    assert connector(torch.randn(2, frames, 6)).shape == (2, expected, len(ALPHABET) + 1)


def test_a_letter_is_heard_where_it_is_said(connector):
    """The frame of letters lies over the two encoder frames that it stands for."""
    states = torch.randn(1, 400, 6)
    other = states.clone()
    other[:, 200:] += torch.randn(1, 200, 6)
    changed = (connector(other) - connector(states)).abs().amax(-1)[0].nonzero()[:, 0]
    assert 97 <= changed.min() <= 100  # a convolution over 5 frames, one over 4 encoder frames
    assert changed.max() == 199


def test_a_residual_keeps_what_came_in():
    residual = Residual(8).eval()
    for parameter in residual.block[3].parameters():  # so that it finds nothing
        torch.nn.init.zeros_(parameter)
    states = torch.randn(2, 8, 20)
    assert torch.equal(residual(states), states)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The HARBOR, lies north!", "the harbor lies north"),
        ("don\u2019t", "don't"),
        ("' '' a", "a"),
        ("twenty-one 5 boats", "twenty one boats"),
        ("", ""),
        ("\u00e9", ""),
    ],
)
def test_normalize(text, expected):
    assert normalize(text) == expected == normalize(normalize(text))


def test_every_text_has_letters():
    text = "".join(map(chr, range(32, 1000)))
    assert set(normalize(f"don't {text}")) <= set(ALPHABET)


def test_every_class_is_another_letter():
    assert len(set(ALPHABET)) == len(ALPHABET) == LETTERS


def test_loss_is_the_sum_of_the_sequences_losses_over_all_labels():
    torch.manual_seed(1)
    logits = [torch.randn(frames, CLASSES) for frames in (12, 3, 20)]
    targets = [torch.tensor([1, 2, 2]), torch.tensor([0]), torch.tensor([4, 3, 1, 0, 2])]
    total = sum(
        torch.nn.functional.ctc_loss(
            sample.log_softmax(-1), labels, (len(sample),), (len(labels),), blank=CLASSES - 1, reduction="sum"
        )
        for sample, labels in zip(logits, targets, strict=True)
    )
    torch.testing.assert_close(ctc_loss(logits, targets), total / 9)


def test_more_labels_than_frames_do_not_spoil_the_batch():
    logits = torch.randn(2, 2, CLASSES, requires_grad=True)
    loss = ctc_loss(list(logits), [torch.tensor([1]), torch.tensor([1, 2, 3, 4])])
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


def test_the_loss_teaches():
    torch.manual_seed(0)
    states, said = torch.randn(2, 32, 6), ["he", "all"]
    learner = Connector(encoder_dim=6, dim=8, layers=1)
    optimizer = torch.optim.Adam(learner.parameters(), 0.03)
    for _ in range(60):
        optimizer.zero_grad()
        ctc_loss(list(learner(states)), [labels(each) for each in said]).backward()
        optimizer.step()
    learner.eval()
    assert [heard(logits) for logits in learner(states)] == said
