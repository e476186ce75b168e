"""What the inputs of a simulated patient contribute to the true risk, so that explanations can be judged.

Comes in: a patient's `Truth`, other patients, and which input shows which finding. Goes out: exact Shapley values over
the eight inputs. The value of a set of inputs is the mean true probability where every finding that one of them tells
is this patient's and every other finding is that of the other patients. What a detailed report describes can be told
from the report and from the image alike, and is shared between them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import expit

from llnm.explain.shapley import Coalitions, Floats, exact_shapley
from llnm.simulate.patients import Truth
from llnm.simulate.risk import CAUSES, INTERCEPT, RiskModel

Shown = Mapping[str, Mapping[str, float]]


def true_contributions(
    truth: Truth, others: Sequence[Truth], model: RiskModel | None = None, shown: Shown | None = None
) -> dict[str, float]:
    """Contribution of each input to the true probability, in points; they add up to it minus the mean of the others.

    `shown`: {effect: {input: share}} for effects that are shown otherwise than `EFFECTS` states; an input tells a
    finding in this share of the patients and says nothing of it in the others, independently of other inputs. Of one
    that is seen with a certain AUC, 2 AUC - 1 is that share: who knows so many and guesses the rest has this AUC.
    """
    effects = (model or RiskModel()).effects
    terms = np.array([truth.terms[name] for name in effects])
    background = np.array([[other.terms[name] for name in effects] for other in others])
    known = (np.arange(2 ** len(effects))[:, None] >> np.arange(len(effects))) & 1 == 1
    worth = expit(INTERCEPT + (known @ terms)[:, None] + ~known @ background.T).mean(axis=1)
    told = [told_by(truth, name, model, shown) for name in effects]
    hidden = 1 - np.array([[inputs.get(name, 0.0) for name in CAUSES] for inputs in told])

    def value(coalitions: Coalitions) -> Floats:
        chance = np.ones((len(coalitions), len(known)))
        for column, misses in enumerate(hidden):
            missed = np.where(coalitions, misses, 1.0).prod(axis=1)[:, None]
            chance *= np.where(known[:, column], 1 - missed, missed)
        return np.asarray(chance @ worth)

    return dict(zip(CAUSES, map(float, exact_shapley(value, len(CAUSES))), strict=True))


def told_by(truth: Truth, effect: str, model: RiskModel | None = None, shown: Shown | None = None) -> dict[str, float]:
    """The inputs of a patient that tell of an effect, each with the share of patients in whom it does."""
    stated = (model or RiskModel()).effects[effect]
    found = dict((shown or {}).get(effect, dict.fromkeys(stated.shown_by, 1.0)))
    return found | ({"report": 1.0} if stated.described and truth.detailed else {})
