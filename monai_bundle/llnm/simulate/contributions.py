"""What the inputs of a simulated patient contribute to the true risk, so that explanations can be judged.

Comes in: a patient's `Truth`, and other patients. Goes out: exact Shapley values over the eight inputs. The value of a
set of inputs is the mean true probability where every finding that one of them shows is this patient's and every other
finding is that of the other patients. Which input shows which finding stands in `llnm.simulate.risk.EFFECTS`; what a
detailed report describes can be told from the report and from the image alike, and is shared between them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import expit

from llnm.explain.shapley import Coalitions, Floats, exact_shapley
from llnm.simulate.patients import Truth
from llnm.simulate.risk import CAUSES, INTERCEPT, RiskModel


def true_contributions(truth: Truth, others: Sequence[Truth], model: RiskModel | None = None) -> dict[str, float]:
    """Contribution of each input to the true probability, in points; they add up to it minus the mean of the others."""
    effects = (model or RiskModel()).effects
    terms = np.array([truth.terms[name] for name in effects])
    background = np.array([[other.terms[name] for name in effects] for other in others])
    shown = np.zeros((len(CAUSES), len(effects)), bool)
    for column, effect in enumerate(effects.values()):
        inputs = {*effect.shown_by, *(("report",) if effect.described and truth.detailed else ())}
        shown[:, column] = [name in inputs for name in CAUSES]

    def value(coalitions: Coalitions) -> Floats:
        patterns, place = np.unique(coalitions.astype(int) @ shown > 0, axis=0, return_inverse=True)
        worth = [expit(INTERCEPT + terms[p].sum() + background[:, ~p].sum(axis=1)).mean() for p in patterns]
        return np.array(worth)[place.ravel()]

    return dict(zip(CAUSES, map(float, exact_shapley(value, len(CAUSES))), strict=True))
