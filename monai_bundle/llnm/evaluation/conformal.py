"""Sets of answers that hold the true one as often as is stated: split conformal prediction.

Comes in: probabilities of patients whose truth is known, and who of them lacks an input. Goes out: thresholds for
`llnm.pipeline.calibration.Conformal`, and how often sets hold the truth. The score of an answer is one minus its
probability (Sadinle et al. 2019); patients with and without every input have a threshold of their own (Mondrian
conformal prediction, Vovk et al. 2005), so that the stated coverage holds for each of the two.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from llnm.errors import InputError
from llnm.evaluation.scores import Bools, Floats, Scores
from llnm.pipeline.calibration import Conformal

COVERAGE = 0.9
_FEWEST = 10


def conformal_threshold(nonconformity: Floats, coverage: float) -> float:
    """The smallest threshold with at least `coverage` for a further patient: the ceil((n + 1) coverage)-th least of n.

    1, which rules nothing out, where n patients are too few for any other. Raises InputError for a coverage that is
    not between 0 and 1.
    """
    if not 0 < coverage < 1:
        raise InputError(f"coverage: {coverage} is not between 0 and 1; give a share such as 0.9")
    rank = math.ceil((len(nonconformity) + 1) * coverage)
    return 1.0 if rank > len(nonconformity) else float(np.sort(nonconformity)[rank - 1])


def fit_conformal(scores: Scores, complete: Bools | None = None, coverage: float = COVERAGE) -> Conformal:
    """Thresholds from calibrated `scores`; `complete` (n,) says who has every input, all if it is None.

    Where fewer than ten patients lack an input, theirs is the threshold of all patients.
    """
    known = ~np.isnan(scores.score)
    complete = np.ones(len(scores.score), bool) if complete is None else complete
    truth = np.where(scores.label, scores.score, 1 - scores.score)

    def threshold(group: Bools) -> float:
        chosen = known & group
        return conformal_threshold(1 - truth[chosen if chosen.sum() >= _FEWEST else known], coverage)

    return Conformal(coverage, threshold(complete), threshold(~complete))


def set_figures(scores: Scores, complete: Bools, sets: Conformal) -> Mapping[str, Mapping[str, float]]:
    """Of the complete, the incomplete and all patients: how many, whose set holds the truth, and has one answer."""
    truth = np.where(scores.label, scores.score, 1 - scores.score)
    most = np.where(complete, sets.complete, sets.incomplete)
    holds = 1 - truth <= most
    single = holds != (truth <= most)
    groups = {"complete": complete, "incomplete": ~complete, "all": np.ones(len(complete), bool)}
    return {
        name: {
            "patients": int(group.sum()),
            "coverage": float(holds[group].mean()),
            "one_answer": float(single[group].mean()),
        }
        for name, group in groups.items()
        if group.any()
    }
