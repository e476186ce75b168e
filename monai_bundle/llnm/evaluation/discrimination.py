"""How well scores tell patients with the condition from those without it.

Comes in: `Cells`, counts of any number of draws. Goes out: figures, one for each draw; where one does not exist (no
patient is called positive, say) it is NaN.
"""

from __future__ import annotations

import numpy as np

from llnm.errors import InputError
from llnm.evaluation.cells import Cells
from llnm.evaluation.scores import Floats

COUNTS = ("tp", "tn", "fp", "fn")


def auc(cells: Cells) -> Floats:
    """Area under the ROC curve: how often a patient with the condition scores higher; an equal score counts half."""
    below = np.cumsum(cells.negative, axis=-1) - 0.5 * cells.negative
    pairs = cells.positive.sum(axis=-1) * cells.negative.sum(axis=-1)
    return _ratio(np.einsum("...m,...m->...", cells.positive, below), pairs)


def average_precision(cells: Cells) -> Floats:
    """Average precision: the mean, over the patients with the condition, of the precision at their score."""
    above = _from_above(cells.positive)
    precision = _ratio(above, above + _from_above(cells.negative))
    found = np.einsum("...m,...m->...", cells.positive, np.nan_to_num(precision))
    return _ratio(found, cells.positive.sum(axis=-1))


def confusion(cells: Cells, threshold: float) -> dict[str, Floats]:
    """How many are truly and falsely positive and negative, a score at or above `threshold` being positive.

    Who has no usable score counts as wrongly classified.
    """
    at = np.searchsorted(cells.score, threshold, side="left")
    positive, negative = cells.positive, cells.negative
    return {
        "tp": positive[..., at:].sum(axis=-1),
        "tn": negative[..., :at].sum(axis=-1),
        "fp": negative[..., at:].sum(axis=-1) + cells.unscored[..., 0],
        "fn": positive[..., :at].sum(axis=-1) + cells.unscored[..., 1],
    }


def rates(counts: dict[str, Floats]) -> dict[str, Floats]:
    """What the four counts say: sensitivity, specificity, accuracy, NPV, PPV and F1."""
    tp, tn, fp, fn = (counts[name] for name in COUNTS)
    return {
        "sensitivity": _ratio(tp, tp + fn),
        "specificity": _ratio(tn, tn + fp),
        "accuracy": _ratio(tp + tn, tp + tn + fp + fn),
        "npv": _ratio(tn, tn + fn),
        "ppv": _ratio(tp, tp + fp),
        "f1": _ratio(2 * tp, 2 * tp + fp + fn),
    }


def discrimination(cells: Cells, threshold: float) -> dict[str, Floats]:
    """All figures of this module at `threshold`."""
    return {"auc": auc(cells), **rates(confusion(cells, threshold)), "average_precision": average_precision(cells)}


def roc_curve(cells: Cells) -> dict[str, Floats]:
    """Columns `threshold`, `sensitivity` and `specificity`, (m + 1,), from calling nobody positive to everybody."""
    zero = np.zeros(1)
    found = np.concatenate([zero, _from_above(cells.positive)[::-1]])
    called = np.concatenate([zero, _from_above(cells.negative)[::-1]])
    return {
        "threshold": np.concatenate([[np.inf], cells.score[::-1]]),
        "sensitivity": found / found[-1],
        "specificity": 1 - called / called[-1],
    }


def precision_recall_curve(cells: Cells) -> dict[str, Floats]:
    """Columns `threshold`, `recall` and `precision`, (m,), from the highest score down."""
    found, false = (_from_above(counts)[::-1] for counts in (cells.positive, cells.negative))
    return {"threshold": cells.score[::-1], "recall": found / found[-1], "precision": found / (found + false)}


def youden_threshold(cells: Cells) -> float:
    """The score at which sensitivity + specificity is largest (Youden 1950), the highest one if several are."""
    curve = roc_curve(cells)
    return float(curve["threshold"][1:][np.argmax((curve["sensitivity"] + curve["specificity"])[1:])])


def sensitivity_threshold(cells: Cells, sensitivity: float) -> float:
    """The highest score at which at least `sensitivity` of the patients with the condition are found.

    Raises InputError for a share that lies not between 0 and 1.
    """
    if not 0 < sensitivity <= 1:
        raise InputError(f"sensitivity: {sensitivity:g} is no share; give more than 0 and at most 1")
    curve = roc_curve(cells)
    # A share such as 0.9 of 10 must not fail for the last bit of a floating-point number.
    reached = curve["sensitivity"] >= sensitivity - 1e-12
    return float(curve["threshold"][np.argmax(reached)])


def _from_above(counts: Floats) -> Floats:
    """How many have a score or a higher one."""
    return np.cumsum(counts[..., ::-1], axis=-1)[..., ::-1]


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=np.asarray(whole) > 0)
