import pytest
import torch

from auricle.errors import OptionError
from auricle.pruning.recall import evidence_recall, kept_share
from fakes import token_times

TIMES = token_times(100, 25.0)  # 4 s; midpoints 0.02, 0.06 ... 3.98


def test_recall_by_hand() -> None:
    keep = torch.tensor([0, 24, 25, 30, 49, 50, 99])
    assert evidence_recall(keep, TIMES, [(1.0, 2.0)]) == 3 / 25  # tokens 25 to 49
    assert evidence_recall(keep, TIMES, [(1.0, 2.0), (3.91, 4.0)]) == 4 / 27  # and 98, 99
    assert kept_share(keep, TIMES) == 0.07


def test_a_span_holds_its_start_and_not_its_end() -> None:
    times = token_times(10, 2.0)  # midpoints 0.25, 0.75 ...
    assert evidence_recall(torch.tensor([0]), times, [(0.25, 0.75)]) == 1.0
    assert evidence_recall(torch.tensor([1]), times, [(0.25, 0.75)]) == 0.0


def test_overlapping_spans_count_once() -> None:
    keep = torch.arange(25, 30)
    assert evidence_recall(keep, TIMES, [(1.0, 2.0), (1.5, 2.0)]) == 5 / 25


def test_nothing_and_everything_kept() -> None:
    spans = [(0.5, 1.5)]
    assert evidence_recall(torch.arange(0), TIMES, spans) == 0.0
    assert evidence_recall(torch.arange(100), TIMES, spans) == 1.0
    assert kept_share(torch.arange(0), TIMES) == 0.0


@pytest.mark.parametrize("spans", [[], [(4.0, 9.0)], [(1.0, 1.0)], [(1.03, 1.05)]])
def test_evidence_without_tokens_is_refused(spans: list[tuple[float, float]]) -> None:
    with pytest.raises(OptionError, match="None of the 100 speech tokens"):
        evidence_recall(torch.arange(10), TIMES, spans)


@pytest.mark.parametrize("keep", [[3, 2], [2, 2], [99, 100], [-1, 3]])
def test_what_is_no_selection_is_refused(keep: list[int]) -> None:
    with pytest.raises(OptionError, match="rise strictly"):
        evidence_recall(torch.tensor(keep), TIMES, [(1.0, 2.0)])
