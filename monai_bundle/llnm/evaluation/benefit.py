"""What it would mean to act on the scores: decision curve and clinical impact.

Comes in: `Scores` and a range of thresholds. Goes out: one row a threshold. "Treated" is whoever scores at or above the
threshold; for LLNM that is fine-needle aspiration of lateral nodes, or dissection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from llnm.errors import InputError
from llnm.evaluation.cells import Cells, count
from llnm.evaluation.discrimination import confusion, rates
from llnm.evaluation.intervals import LEVEL, RESAMPLES, bootstrap
from llnm.evaluation.scores import Floats, Scores

# 0 to 0.9 by 0.01, as published.
THRESHOLDS = tuple(round(0.01 * step, 2) for step in range(91))
PAPER_COLUMNS = {
    "threshold": "cutoffs",
    "share_treated": "Accept LLN FNA",
    "share_treated_in_vain": "False negative LLNM",
}
"""The paper's names of its clinical impact (Fig. 6d); what it calls false negatives are the false alarms, 1 - PPV."""
# Figures are given for so many patients.
_PER = 1000


def net_benefit(cells: Cells, threshold: float) -> Floats:
    """True positives less false positives weighed by the odds of `threshold`, per patient (Vickers and Elkin 2006)."""
    counts = confusion(cells, threshold)
    return (counts["tp"] - counts["fp"] * _odds(threshold)) / _patients(counts)


def decision_curve(
    scores: Scores, thresholds: Sequence[float] = THRESHOLDS, resamples: int = RESAMPLES, seed: int = 0
) -> pd.DataFrame:
    """Net benefit of the model with its interval, of treating all and of treating none, one row a threshold.

    `net_reduction`: how many of 1,000 patients are spared treatment at no more missed cases than if all were treated
    (its interval is that of the difference to treating all). `cost_ratio`: how many needless treatments one found case
    is worth to who acts at this threshold. Raises InputError for a threshold that lies not in 0 to 1, 1 excluded.
    """
    cells = count(scores)

    def benefits(some: Cells) -> Mapping[str, Floats]:
        figures = {}
        for threshold in thresholds:
            model, everyone = net_benefit(some, threshold), _treat_all(some, threshold)
            figures[f"model {threshold}"] = model
            figures[f"reduction {threshold}"] = _reduction(model - everyone, threshold)
        return figures

    intervals = bootstrap(scores, benefits, resamples=resamples, level=LEVEL, seed=seed)
    rows = []
    for threshold in thresholds:
        model, reduction = intervals[f"model {threshold}"], intervals[f"reduction {threshold}"]
        rows.append(
            {
                "threshold": threshold,
                "model": model.value,
                "model_low": model.low,
                "model_high": model.high,
                "treat_all": float(_treat_all(cells, threshold)),
                "treat_none": 0.0,
                "net_reduction_per_1000": reduction.value,
                "net_reduction_low": reduction.low,
                "net_reduction_high": reduction.high,
                "cost_ratio": float(1 / _odds(threshold)) if threshold > 0 else np.inf,
            }
        )
    return pd.DataFrame(rows)


def clinical_impact(scores: Scores, thresholds: Sequence[float] = THRESHOLDS) -> pd.DataFrame:
    """What happens to 1,000 patients like these, one row a threshold.

    `share_treated_in_vain` is 1 - PPV and `share_missed` is 1 - sensitivity; `number_needed_to_test` is how many are
    treated for each case found. A share of nobody is empty. `PAPER_COLUMNS` has the names the paper gives.
    """
    cells = count(scores)
    rows = []
    for threshold in thresholds:
        found = confusion(cells, threshold)
        counts = {name: float(value) for name, value in found.items()}
        shares = {name: float(value) for name, value in rates(found).items()}
        everyone = _patients(counts)
        treated = counts["tp"] + counts["fp"]
        rows.append(
            {
                "threshold": threshold,
                "share_treated": treated / everyone,
                "treated_per_1000": _PER * treated / everyone,
                "found_per_1000": _PER * counts["tp"] / everyone,
                "missed_per_1000": _PER * counts["fn"] / everyone,
                "share_treated_in_vain": 1 - shares["ppv"],
                "share_missed": 1 - shares["sensitivity"],
                "number_needed_to_test": treated / counts["tp"] if counts["tp"] else np.nan,
            }
        )
    return pd.DataFrame(rows)


def _treat_all(cells: Cells, threshold: float) -> Floats:
    sick = cells.positive.sum(axis=-1) + cells.unscored[..., 1]
    healthy = cells.negative.sum(axis=-1) + cells.unscored[..., 0]
    return (sick - healthy * _odds(threshold)) / (sick + healthy)


def _reduction(gain: Floats, threshold: float) -> Floats:
    """Treatments spared per 1,000 patients for a gain in net benefit over treating all; none exist at threshold 0."""
    return np.full(np.shape(gain), np.nan) if threshold == 0 else _PER * gain / _odds(threshold)


def _odds(threshold: float) -> float:
    if not 0 <= threshold < 1:
        raise InputError(
            f"threshold: {threshold:g} is no threshold of a decision curve; give 0 or more and less than 1"
        )
    return threshold / (1 - threshold)


def _patients(counts: Mapping[str, Floats] | Mapping[str, float]) -> Floats:
    return np.asarray(np.sum([np.asarray(value) for value in counts.values()], axis=0))
