"""Records without a model."""

from auricle.evaluation.log import Record

CHOICES = ("red", "green", "blue", "grey")


def record(sample="s0", method="full", right=True, **fields) -> Record:
    """An answer by log-likelihood; `right` says whether it is the right one."""
    correct = fields.pop("correct", 1)
    taken = correct if right else (correct + 1) % 4
    scores = tuple(-1.0 if i == taken else -3.0 for i in range(4))
    given = {"recording": sample, "order": (0, 1, 2, 3), "loglikelihoods": scores, "prior": (0.0,) * 4} | fields
    return Record(sample=sample, method=method, choices=CHOICES, correct=correct, **given)


def said(answer, order=(0, 1, 2, 3), **fields) -> Record:
    """A generated answer."""
    return record(answer=answer, order=order, loglikelihoods=(), prior=(), **fields)
