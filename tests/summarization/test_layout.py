"""Which tokens are read of an interval, which of them stay, and where intervals end."""

import pytest
import torch

from auricle.summarization.intervals import change, cut, dynamic
from auricle.summarization.layout import distinctness, ends, marks, pooled, read, spans, spoken, ssts


@pytest.mark.parametrize(
    ("count", "ends", "placement", "expected"),
    [
        (6, [2, 4, 6], "interleave", "001001001"),
        (7, [3, 6, 7], "interleave", "0001000101"),
        (3, [1, 2, 3], "interleave", "010101"),
        (6, [3, 6], "anchor", "001001"),
        (7, [2, 3, 7], "anchor", "0110001"),
        (7, [3, 5, 7], "end", "0000000111"),
        (7, [3, 5, 7], "pool", "111"),
        (4, [2, 4], "all", "1111"),
        (0, [], "interleave", ""),
        (0, [], "anchor", ""),
    ],
)
def test_marks(count, ends, placement, expected):
    at = torch.tensor(ends, dtype=torch.long)
    assert "".join(str(int(each)) for each in marks(at, count, placement)) == expected
    speech = torch.arange(1.0, count + 1)[:, None].expand(count, 2)
    embeds, marked = read(speech, torch.full((2,), -1.0), at, placement)
    assert torch.equal(marked, marks(at, count, placement))
    assert len(embeds) == len(marked)
    if placement in ("interleave", "end"):
        assert embeds[marked].eq(-1).all()
        assert torch.equal(embeds[~marked], speech)
    if placement == "anchor":
        assert torch.equal(embeds, speech - marked[:, None].float())
    if placement == "pool":
        assert torch.equal(embeds, pooled(speech, at))


@pytest.mark.parametrize("count", [1, 8, 13, 480])
@pytest.mark.parametrize("ratio", [1, 2, 3, 8, 500])
def test_tokens_are_shared_evenly(count, ratio):
    speech, summaries = torch.randn(count, 2), ssts(count, ratio)
    at = ends(speech, summaries, "interleave")
    shares = at.diff(prepend=at.new_zeros(1))
    assert len(at) == summaries
    assert int(shares.max()) <= ratio
    assert int(shares.max() - shares.min()) <= 1
    assert int(at[-1]) == count
    if count % ratio == 0:
        assert at.tolist() == list(range(ratio, count + 1, ratio))


def test_anchors_are_the_tokens_least_like_the_others_and_the_last_one():
    common, rare, other = torch.tensor([[1.0, 0.1, 0.0], [0.0, 5.0, 0.0], [0.0, 0.0, 0.1]])
    speech = torch.stack([common, rare, common, common, other, common, common])
    assert ends(speech, 3, "anchor").tolist() == [2, 5, 7]
    assert ends(speech, 7, "anchor").tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert ends(speech, 1, "anchor").tolist() == [7]
    assert ends(speech[:0], 0, "anchor").tolist() == []
    cosines = torch.nn.functional.cosine_similarity(speech[:, None], speech[None], dim=2)
    torch.testing.assert_close(distinctness(speech), -cosines.mean(1))


def test_pooled():
    speech = torch.tensor([[1.0], [3.0], [5.0], [7.0], [10.0]])
    assert pooled(speech, torch.tensor([2, 4, 5])).flatten().tolist() == [2, 6, 10]


def test_spans():
    starts = torch.arange(5) * 0.5
    times = torch.stack([starts, starts + 0.5], 1)
    assert spans(times, torch.tensor([2, 4, 5]), "interleave").tolist() == [[0, 1], [1, 2], [2, 2.5]]
    assert torch.equal(spans(times, torch.tensor([5]), "all"), times)
    assert spans(times[:0], torch.tensor([], dtype=torch.long), "anchor").shape == (0, 2)


def test_silence():
    speech = torch.tensor([[0.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    assert spoken(speech, "skip").tolist() == [False, True, False]
    assert spoken(speech, "read").all()


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
