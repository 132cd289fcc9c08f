"""From records to scores: nothing here needs a model, so that a log can be scored again."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from auricle.errors import OptionError
from auricle.evaluation.log import Record
from auricle.questions import letter, parse_letter


@dataclass(frozen=True)
class Score:
    """What a record is worth.

    Attributes:
        correct: whether the right choice was taken.
        choice: which one was taken, in the published order; None if none could be read from the answer.
    """

    correct: bool
    choice: int | None


def score(record: Record, prior: bool = True) -> Score:
    """Scores an answer; without one, or with one that names no choice, it is wrong.

    Args:
        record: the answer.
        prior: take the likelihood without speech off a choice's; of no effect on generated answers.
    """
    if record.error:
        return Score(False, None)
    if record.loglikelihoods:
        values = np.array(record.loglikelihoods)
        if prior and record.prior:
            values = values - np.array(record.prior)
        choice = int(values.argmax())
        return Score(choice == record.correct, choice)
    listed = [record.choices[i] for i in record.order]
    found = parse_letter(record.answer, listed)
    if found is None:
        return Score(False, None)
    choice = record.order[[letter(i) for i in range(len(listed))].index(found)]
    return Score(choice == record.correct, choice)


def orders(sample: str, choices: int, permute: int, seed: int) -> tuple[tuple[int, ...], ...]:
    """The orders in which a sample's choices are listed.

    They are the first `permute` rotations of an order drawn for the sample, so that with as many as there are
    choices the right one has every letter once; no sample has more orders than choices.

    Args:
        sample: its id; with `seed`, all that the draw depends on.
        choices: how many there are.
        permute: how many orders are wanted; 0 is the published one.
        seed: of the draw.

    Raises:
        OptionError: `permute` is negative.
    """
    if permute < 0:
        raise OptionError(f"permute is {permute}; expected 0 (the published order) or the number of orders.")
    if permute == 0:
        return (tuple(range(choices)),)
    rng = np.random.default_rng([seed, *sample.encode()])
    drawn = [int(i) for i in rng.permutation(choices)]
    return tuple(tuple(drawn[k:] + drawn[:k]) for k in range(min(permute, choices)))


def constant_letters(
    samples: Sequence[Record], permute: int, seed: int, published: bool = False
) -> dict[str, float]:
    """The accuracy of always answering with one letter, for each letter.

    Args:
        samples: one record of every sample.
        permute: as in the run.
        seed: as in the run.
        published: count in the published order instead.
    """
    hits: dict[str, int] = {}
    asked = 0
    for record in samples:
        for order in orders(record.sample, len(record.choices), 0 if published else permute, seed):
            right = letter(order.index(record.correct))
            hits[right] = hits.get(right, 0) + 1
            asked += 1
    most = max((len(record.choices) for record in samples), default=0)
    return {letter(i): hits.get(letter(i), 0) / asked for i in range(most)}
