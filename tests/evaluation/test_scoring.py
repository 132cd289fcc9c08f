from collections import Counter

import numpy as np
import pytest

from auricle.errors import OptionError
from auricle.evaluation.scoring import Score, constant_letters, orders, score
from evaluation.records import record, said


def test_the_likeliest_choice_is_taken_with_and_without_the_prior():
    asked = record(loglikelihoods=(-1.0, -2.0, -5.0, -9.0), prior=(-1.0, -4.0, -5.0, -9.0), correct=1)
    assert score(asked) == Score(True, 1)
    assert score(asked, prior=False) == Score(False, 0)


@pytest.mark.parametrize(
    ("answer", "order", "expected"),
    [
        ("B", (0, 1, 2, 3), Score(True, 1)),
        ("B", (1, 0, 2, 3), Score(False, 0)),
        ("A", (1, 0, 2, 3), Score(True, 1)),
        ("(d) green", (3, 2, 0, 1), Score(True, 1)),
        ("green", (3, 2, 0, 1), Score(True, 1)),
        ("Because it rained", (0, 1, 2, 3), Score(False, None)),
        ("", (0, 1, 2, 3), Score(False, None)),
    ],
)
def test_a_letter_is_read_in_the_order_in_which_it_was_listed(answer, order, expected):
    assert score(said(answer, order)) == expected


def test_without_an_answer_it_is_wrong():
    assert score(record(error="too long")) == Score(False, None)


def test_rotations_put_the_right_choice_on_every_letter_once():
    for sample in ("a", "b", "lecture_12"):
        found = orders(sample, 4, 4, 0)
        assert all(sorted(order) == [0, 1, 2, 3] for order in found)
        for right in range(4):
            assert sorted(order.index(right) for order in found) == [0, 1, 2, 3]


def test_orders_depend_on_sample_and_seed_alone():
    assert orders("a", 4, 2, 0) == orders("a", 4, 4, 0)[:2]
    drawn = {orders(str(i), 4, 1, 0)[0] for i in range(500)}
    assert len(drawn) == 24
    assert orders("a", 4, 1, 0) == orders("a", 4, 1, 0)
    assert any(orders(str(i), 4, 1, 0) != orders(str(i), 4, 1, 1) for i in range(5))
    assert orders("a", 4, 0, 0) == ((0, 1, 2, 3),)
    assert len(orders("a", 3, 4, 0)) == 3
    with pytest.raises(OptionError, match="permute is -1"):
        orders("a", 4, -1, 0)


def test_a_skew_of_the_letters_is_shown_and_permuted_away():
    samples = [record(str(i), correct=1 if i % 10 < 6 else 2) for i in range(400)]
    published = constant_letters(samples, 4, 0, published=True)
    assert published == {"A": 0.0, "B": 0.6, "C": 0.4, "D": 0.0}
    assert constant_letters(samples, 4, 0) == {"A": 0.25, "B": 0.25, "C": 0.25, "D": 0.25}
    one = constant_letters(samples, 1, 0)
    assert max(abs(value - 0.25) for value in one.values()) < 0.07


def test_one_draw_a_sample_is_even_over_letters():
    counts = Counter(orders(str(i), 4, 1, 3)[0].index(1) for i in range(4000))
    assert np.ptp(list(counts.values())) < 200
