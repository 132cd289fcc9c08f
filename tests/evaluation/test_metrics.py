import numpy as np
import pytest
from sklearn.metrics import accuracy_score

from auricle.evaluation import metrics
from auricle.evaluation.scoring import score
from evaluation.records import record, said


def drawn(count, rate, method="full", per_recording=1, seed=0, **fields):
    rng = np.random.default_rng(seed)
    return [
        record(f"s{i}", method, bool(rng.random() < rate), **{"recording": f"r{i // per_recording}", **fields})
        for i in range(count)
    ]


def test_accuracy_is_that_of_scikit_learn():
    records = drawn(50, 0.6, correct=2)
    row = metrics.row("full", records)
    assert row.accuracy.value == accuracy_score(
        [each.correct for each in records], [score(r).choice for r in records]
    )
    assert (row.accuracy.samples, row.accuracy.recordings, row.unparsed, row.failed) == (50, 50, 0, 0)


def test_the_interval_holds_the_truth_in_95_of_100_sets():
    held = [metrics.row("full", drawn(60, 0.4, seed=i)).accuracy for i in range(100)]
    assert 88 <= sum(each.low <= 0.4 <= each.high for each in held) <= 100


def test_samples_of_one_recording_widen_the_interval():
    alone = metrics.estimate(drawn(80, 0.5), lambda each: score(each).correct)
    eight = [record(f"s{i}", right=(i // 8) % 2 == 0, recording=f"r{i // 8}") for i in range(80)]
    together = metrics.estimate(eight, lambda each: score(each).correct)
    assert together.recordings == 10
    assert together.high - together.low > 2 * (alone.high - alone.low)


@pytest.mark.parametrize("right", [True, False])
def test_all_alike_still_has_an_interval(right):
    found = metrics.row("full", [record(f"s{i}", right=right) for i in range(48)]).accuracy
    assert found.value == float(right)
    assert 0.05 < found.high - found.low < 0.1


def test_what_is_counted_beside_accuracy():
    records = [said("B"), said("because", sample="s1"), said("", sample="s2", error="too long")]
    row = metrics.row("full", records)
    assert (row.unparsed, row.failed, row.reasons) == (1, 1, ("too long",))
    assert row.accuracy.value == pytest.approx(1 / 3)
    assert row.kept is None
    assert row.without_prior is None
    read = [
        record(audio_tokens=100, kept_tokens=25, recall=0.5),
        record("s1", audio_tokens=50, kept_tokens=50, recall=1.0),
    ]
    assert metrics.row("full", read).kept == pytest.approx(0.625)
    assert metrics.row("full", read).recall.value == pytest.approx(0.75)


def test_a_difference_is_paired():
    first = [record(f"s{i}", "a", i % 3 != 0) for i in range(60)]
    second = [record(f"s{i}", "b", i % 3 == 1) for i in range(60)]
    found = metrics.difference(first, second)
    assert found.difference.value == pytest.approx(1 / 3)
    assert found.difference.low > 0.2
    assert found.p < 0.001
    same = metrics.difference(first, [record(f"s{i}", "b", i % 3 != 0) for i in range(60)])
    assert (same.difference.value, same.p) == (0.0, 1.0)
    assert metrics.difference(first, [record("other", "b")]) is None


def test_a_difference_is_over_recordings_of_any_number_of_questions():
    """One recording of eight questions is one piece of evidence."""
    first = [record(f"s{i}", "a", i < 8, recording="long" if i < 8 else f"r{i}") for i in range(16)]
    second = [record(f"s{i}", "b", False, recording="long" if i < 8 else f"r{i}") for i in range(16)]
    found = metrics.difference(first, second)
    assert found.difference.value == pytest.approx(0.5)  # over samples, not over recordings
    assert found.difference.low < 0.5 < found.difference.high
    assert found.difference.recordings == 9
    assert found.p == 1.0


def test_one_recording_proves_nothing():
    first, second = ([record(f"s{i}", m, m == "a", recording="r") for i in range(4)] for m in "ab")
    found = metrics.difference(first, second)
    assert (found.difference.value, found.p) == (1.0, 1.0)
    assert found.difference.low < 0.1


def test_a_difference_compares_the_same_order():
    orders = [(0, 1, 2, 3), (1, 0, 2, 3)]
    first = [said("B", order, sample=f"s{i}", method="a") for i in range(6) for order in orders]
    second = [said("B", order, sample=f"s{i}", method="b") for i in range(6) for order in reversed(orders)]
    found = metrics.difference(first, second)
    assert (found.difference.value, found.p) == (0.0, 1.0)


def test_ties_have_an_interval_that_shrinks():
    def ties(count):
        first, second = ([record(f"s{i}", m) for i in range(count)] for m in "ab")
        return metrics.difference(first, second).difference

    assert ties(10).low < -0.2
    assert ties(10).high > 0.2
    assert ties(100).high < 0.05


def test_agreement_is_no_certainty_unless_it_is_by_construction():
    quarter = [record(f"s{i}", right=k == 0, recording=f"r{i}") for i in range(10) for k in range(4)]
    found = metrics.estimate(quarter, lambda each: score(each).correct)
    assert found.value == 0.25
    assert found.low < 0.25 < found.high
    everything = [record(f"s{i}", audio_tokens=9, kept_tokens=9, recall=1.0) for i in range(10)]
    assert str(metrics.row("full", everything).recall) == "1.000 (1.000 to 1.000)"


def test_chance_differences_are_not_found():
    p = [metrics.difference(drawn(40, 0.5, "a", seed=i), drawn(40, 0.5, "b", seed=1000 + i)).p for i in range(40)]
    assert sum(each < 0.05 for each in p) <= 6


def test_parts_of_the_samples():
    records = [
        record("s0", position=0.1, groups={"kind": "b"}),
        record("s1", position=0.5, groups={"kind": "a"}),
        record("s2", position=1.0),
        record("s2", "text-free"),
    ]
    assert list(metrics.groups(records, "kind")) == ["a", "b"]
    parts = metrics.by_position(records, metrics.positions_of(records))
    assert {name: [each.sample for each in those] for name, those in parts.items()} == {
        "first third": ["s0"],
        "middle third": ["s1"],
        "last third": ["s2", "s2"],
    }


def test_the_hard_subset_is_what_first30_gets_wrong():
    records = [
        record("s0", "first30", True),
        record("s1", "first30", False),
        record("s0", "full", True),
        record("s1", "full", True),
        record("s2", "full", True),  # never asked of first30
        record("s3", "first30", False, error="too long"),
        said("B", sample="s4", method="first30"),
        said("B", (1, 0, 2, 3), sample="s4", method="first30"),  # right in one order of two
    ]
    assert {(each.sample, each.method) for each in metrics.hard(records)} == {("s1", "first30"), ("s1", "full")}
