"""Which tokens are read of an interval, which of them stay, and where intervals end."""

import pytest
import torch

from auricle.summarization.intervals import change, cut, dynamic
from auricle.summarization.layout import marks, pooled, read, spans, ssts


@pytest.mark.parametrize(
    ("count", "ratio", "placement", "expected"),
    [
        (6, 2, "interleave", "001001001"),
        (7, 3, "interleave", "0001000101"),
        (2, 8, "interleave", "001"),
        (3, 1, "interleave", "010101"),
        (7, 3, "end", "0000000111"),
        (7, 3, "pool", "111"),
        (4, 3, "all", "1111"),
        (0, 3, "interleave", ""),
    ],
)
def test_marks(count, ratio, placement, expected):
    assert "".join(str(int(each)) for each in marks(count, ratio, placement)) == expected
    speech = torch.arange(1.0, count + 1)[:, None].expand(count, 2)
    embeds, marked = read(speech, torch.full((2,), -1.0), ratio, placement)
    assert torch.equal(marked, marks(count, ratio, placement))
    assert len(embeds) == len(marked)
    if placement in ("interleave", "end"):
        assert embeds[marked].eq(-1).all()
        assert torch.equal(embeds[~marked], speech)
        assert int(marked.sum()) == ssts(count, ratio)
    if placement == "pool":
        assert torch.equal(embeds, pooled(speech, ratio))


def test_pooled():
    speech = torch.tensor([[1.0], [3.0], [5.0], [7.0], [10.0]])
    assert pooled(speech, 2).flatten().tolist() == [2, 6, 10]


def test_spans():
    starts = torch.arange(5) * 0.5
    times = torch.stack([starts, starts + 0.5], 1)
    assert spans(times, 2, "interleave").tolist() == [[0, 1], [1, 2], [2, 2.5]]
    assert torch.equal(spans(times, 2, "all"), times)


def test_fixed():
    embeds = torch.zeros(10, 2)
    assert cut(embeds, 4, "fixed") == ((0, 4), (4, 8), (8, 10))
    assert cut(embeds[:0], 4, "fixed") == ()


@pytest.mark.parametrize("count", [0, 1, 2, 5, 40, 163])
def test_dynamic_covers_everything_in_pieces_of_allowed_length(count):
    embeds = torch.randn(count, 4, generator=torch.Generator().manual_seed(count))
    found = dynamic(embeds, 20)
    assert [i for start, end in found for i in range(start, end)] == list(range(count))
    assert all(10 <= end - start <= 20 for start, end in found[:-1])


def test_dynamic_ends_where_the_speech_changes_or_pauses():
    one, other = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    embeds = torch.stack([one] * 33 + [other] * 30)
    assert dynamic(embeds, 40)[0] == (0, 33)
    embeds[25:50] = 0
    embeds[50:] = one
    assert 25 <= dynamic(embeds, 45)[0][1] <= 50
    assert float(change(torch.stack([one] * 9)).abs().max()) == pytest.approx(0, abs=1e-6)
