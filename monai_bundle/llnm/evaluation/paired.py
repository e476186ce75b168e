"""Two models on the same patients: do they differ, and is the new one at least not worse?

Comes in: `Scores` of the first model and a second model's scores for the same rows. Goes out: the differences with
intervals and tests; a difference is always first minus second.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy import stats

from llnm.errors import InputError
from llnm.evaluation.cells import Cells, count
from llnm.evaluation.delong import PairedAreas, delong_test
from llnm.evaluation.discrimination import auc, confusion, rates
from llnm.evaluation.intervals import LEVEL, RESAMPLES, Figure, draws, figure_of
from llnm.evaluation.scores import Floats, Scores

PERMUTATIONS = 1000
# Above so many rows a permutation test takes minutes and says what DeLong's says.
MOST_PERMUTED = 200_000


@dataclass(frozen=True)
class McNemar:
    """Patients whom one model alone classifies rightly, and the exact two-sided p that this is chance."""

    first_alone: int
    second_alone: int
    p: float


@dataclass(frozen=True)
class NonInferiority:
    """Whether the first model's area is worse by less than `margin`: the one-sided 97.5 % bound tells."""

    margin: float
    lower_bound: float
    p: float
    shown: bool


@dataclass(frozen=True)
class Comparison:
    """All that is said of two models; what does not apply is None and `notes` says why."""

    areas: PairedAreas
    permutation_p: float | None
    differences: Mapping[str, Figure]
    mcnemar: McNemar | None
    non_inferiority: NonInferiority
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def compare_models(
    scores: Scores,
    second: Floats,
    threshold: float,
    *,
    margin: float = 0.05,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Compare `scores` with the `second` model's scores (n,) for the same rows, both cut at `threshold`.

    Rows that lack a usable score of either model are left out of both, and noted. Raises InputError if `second` has
    another length, or `margin` is not positive.
    """
    if len(second) != len(scores.score):
        raise InputError(f"compare: {len(second)} scores of the second model for {len(scores.score)} rows")
    if not margin > 0:
        raise InputError(f"margin: {margin:g} is no margin; give a positive difference in AUC, such as 0.05")
    usable = ~np.isnan(scores.score) & (second >= 0) & (second <= 1)
    notes = [] if usable.all() else [f"{int((~usable).sum())} rows without a usable score of both models are left out"]
    first = scores.where(usable)
    other = replace(first, score=second[usable])
    areas = delong_test(first.score, other.score, first.label, first.patient)
    permutation_p = None
    if len(first.score) > MOST_PERMUTED:
        notes.append(f"no permutation test above {MOST_PERMUTED:,} rows")
    else:
        permutation_p = permutation_test(first, other, seed=seed)
    mcnemar = None
    if first.clustered:
        notes.append("no McNemar test, since patients have several rows")
    else:
        mcnemar = mcnemar_test(first, other, threshold)
    return Comparison(
        areas,
        permutation_p,
        rate_differences(first, other, threshold, resamples, seed),
        mcnemar,
        _non_inferiority(areas, margin),
        tuple(notes),
    )


def permutation_test(first: Scores, second: Scores, permutations: int = PERMUTATIONS, seed: int = 0) -> float:
    """Two-sided p that the areas differ by chance: each patient's answers of the two models change places or do not.

    Scores are compared by their ranks, so that the models may be on different scales (Venkatraman and Begg 1996).
    """
    ranks = np.stack([stats.rankdata(model.score) for model in (first, second)])
    observed = abs(_area(ranks[0], first) - _area(ranks[1], first))
    rng = np.random.default_rng(seed)
    as_large = 0
    for _ in range(permutations):
        swapped = rng.random(first.patients)[first.patient] < 0.5
        one, other = np.where(swapped, ranks[1], ranks[0]), np.where(swapped, ranks[0], ranks[1])
        as_large += abs(_area(one, first) - _area(other, first)) >= observed - 1e-12
    return (as_large + 1) / (permutations + 1)


def mcnemar_test(first: Scores, second: Scores, threshold: float) -> McNemar:
    """Exact McNemar test of which model is right at `threshold` (statsmodels)."""
    from statsmodels.stats.contingency_tables import mcnemar

    right = [(model.score >= threshold) == model.label for model in (first, second)]
    one, other = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    p = 1.0 if one + other == 0 else float(mcnemar([[0, one], [other, 0]], exact=True).pvalue)
    return McNemar(one, other, p)


def rate_differences(
    first: Scores, second: Scores, threshold: float, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Figure]:
    """Differences in AUC and in the rates at `threshold`, by a bootstrap that draws the same patients for both."""

    def figures(cells: Cells) -> dict[str, Floats]:
        return {"auc": auc(cells), **rates(confusion(cells, threshold))}

    values = [figures(count(model)) for model in (first, second)]
    drawn = [draws(model, figures, resamples, np.random.default_rng(seed), paired=True) for model in (first, second)]
    told = f"paired percentile bootstrap over patients, {resamples} draws, {LEVEL:.0%}"
    return {
        name: figure_of(float(values[0][name] - values[1][name]), drawn[0][name] - drawn[1][name], told)
        for name in values[0]
    }


def _non_inferiority(areas: PairedAreas, margin: float) -> NonInferiority:
    difference = areas.difference
    assert difference.value is not None and difference.low is not None
    error = (difference.value - difference.low) / stats.norm.ppf((1 + LEVEL) / 2)
    p = float(stats.norm.sf((difference.value + margin) / error)) if error > 0 else float(difference.value <= -margin)
    return NonInferiority(margin, difference.low, p, bool(difference.low > -margin))


def _area(rank: Floats, scores: Scores) -> float:
    """AUC by the rank sum."""
    sick = int(scores.label.sum())
    total = stats.rankdata(rank)[scores.label].sum()
    return float((total - sick * (sick + 1) / 2) / (sick * (len(rank) - sick)))
