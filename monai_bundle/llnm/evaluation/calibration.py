"""Whether a score of 0.2 means one patient in five, and what to do where it does not.

Comes in: `Scores` or `Cells`. Goes out: the calibration line, calibration error, Brier score with its parts,
reliability curve, and recalibrations that are measured on patients they were not fitted to.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special, stats

from llnm.errors import InputError, MissingExtraError
from llnm.evaluation.cells import MOST_CELLS, Cells, count
from llnm.evaluation.discrimination import confusion, rates
from llnm.evaluation.intervals import LEVEL, Figure, bootstrap
from llnm.evaluation.scores import Floats, Scores

BINS = 10
# Scores of exactly 0 or 1 have no logit; they are taken as this far from it, which is as far as float32 tells.
NEAREST = 1e-6
Recalibration = Literal["platt", "temperature", "isotonic"]


def logit(score: Floats) -> Floats:
    """Log odds of scores, those of 0 and 1 at a distance of NEAREST."""
    return np.asarray(special.logit(np.clip(score, NEAREST, 1 - NEAREST)))


def brier_score(cells: Cells) -> Floats:
    """Mean squared difference of score and truth."""
    lost = np.einsum("...m,m->...", cells.positive, (1 - cells.score) ** 2)
    lost = lost + np.einsum("...m,m->...", cells.negative, cells.score**2)
    return np.asarray(lost / cells.total.sum(axis=-1))


def calibration_error(cells: Cells, bins: int = BINS) -> Floats:
    """Expected calibration error over `bins` of equal width (Naeini et al. 2015): mean distance of score and share."""
    patients, scored, sick = _binned(cells, bins)
    return np.asarray(np.abs(scored - sick).sum(axis=-1) / patients.sum(axis=-1))


def calibration_error_by_chance(scores: Floats, draws: int = 1000, seed: int = 0) -> tuple[float, float, float]:
    """Calibration error of scores (n,) that are true: mean, and the range of 95 % of `draws` of their labels.

    Few patients fill a bin, so their share of positives misses even a true score; an error in this range says nothing.
    """
    draw, patients = np.random.default_rng(seed), np.arange(len(scores))
    drawn = (Scores(scores, draw.random(len(scores)) < scores, patients) for _ in range(draws))
    errors = [float(calibration_error(count(labelled))) for labelled in drawn]
    low, high = np.quantile(errors, [0.025, 0.975])
    return float(np.mean(errors)), float(low), float(high)


@dataclass(frozen=True)
class BrierParts:
    """Murphy's (1973) parts of the Brier score over bins of equal width, and what the bins hide.

    Brier score = reliability - resolution + uncertainty + within_bins.
    """

    reliability: float
    resolution: float
    uncertainty: float
    within_bins: float


def brier_parts(cells: Cells, bins: int = BINS) -> BrierParts:
    """The parts of the Brier score of `cells` (m,); small reliability and large resolution are good."""
    patients, scored, sick = _binned(cells, bins)
    held = patients > 0
    patients, scored, sick = patients[held], scored[held], sick[held]
    mean, share, prevalence = scored / patients, sick / patients, sick.sum() / patients.sum()
    reliability = np.average((mean - share) ** 2, weights=patients)
    resolution = np.average((share - prevalence) ** 2, weights=patients)
    uncertainty = prevalence * (1 - prevalence)
    within = float(brier_score(cells) - (reliability - resolution + uncertainty))
    return BrierParts(float(reliability), float(resolution), float(uncertainty), within)


def calibration_line(scores: Scores, level: float = LEVEL) -> dict[str, Figure]:
    """Slope and intercept of the logistic regression of the label on the logit of the score; 1 and 0 are ideal.

    Also `in_the_large`: the intercept where the slope is held at 1 (Van Calster et al. 2019). Intervals are Wald's;
    where a patient has several rows, their variance is clustered by patient. Without an answer (None) where the
    classes do not overlap or all scores are equal.
    """
    sm = _statsmodels()
    scores = scores.answered
    x, y, weight, groups = _for_regression(scores)
    cluster = {} if groups is None else {"cov_type": "cluster", "cov_kwds": {"groups": groups}}
    told = f"Wald{'' if groups is None else ', clustered by patient'}, {level:.0%}"
    none = Figure(None)
    if len(np.unique(x)) < 2 or _separable(scores):
        return {"calibration_slope": none, "calibration_intercept": none, "in_the_large": none}
    binomial = {"family": sm.families.Binomial(), "freq_weights": weight}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        line = sm.GLM(y, sm.add_constant(x), **binomial).fit(**cluster)
        shift = sm.GLM(y, np.ones((len(y), 1)), offset=x, **binomial).fit(**cluster)
    (intercept_low, intercept_high), (slope_low, slope_high) = line.conf_int(1 - level)
    ((low, high),) = shift.conf_int(1 - level)
    return {
        "calibration_slope": Figure(float(line.params[1]), float(slope_low), float(slope_high), told),
        "calibration_intercept": Figure(float(line.params[0]), float(intercept_low), float(intercept_high), told),
        "in_the_large": Figure(float(shift.params[0]), float(low), float(high), told),
    }


def reliability_curve(cells: Cells, bins: int = BINS, level: float = LEVEL) -> pd.DataFrame:
    """One row a bin that holds patients: its edges, `patients`, `mean_score`, `share` and its Wilson interval."""
    patients, scored, sick = _binned(cells, bins)
    rows = []
    for index in np.flatnonzero(patients > 0):
        n, share = patients[index], sick[index] / patients[index]
        interval = stats.binomtest(round(sick[index]), round(n)).proportion_ci(level, method="wilson")
        rows.append((index / bins, (index + 1) / bins, int(n), scored[index] / n, share, interval.low, interval.high))
    return pd.DataFrame(rows, columns=["from", "to", "patients", "mean_score", "share", "low", "high"])


class Recalibrated(Protocol):
    """A fitted recalibration: scores (n,) in, probabilities (n,) out."""

    def __call__(self, score: Floats) -> Floats:
        """Recalibrated probabilities."""
        ...


@dataclass(frozen=True)
class LogitLine:
    """Probability = sigmoid(slope x logit(score) + intercept): Platt's scaling, or temperature where intercept is 0."""

    slope: float
    intercept: float

    def __call__(self, score: Floats) -> Floats:
        """Recalibrated probabilities."""
        return np.asarray(special.expit(self.slope * logit(score) + self.intercept))


def fit_recalibration(scores: Scores, method: Recalibration) -> Recalibrated:
    """Fit `platt` (slope and intercept), `temperature` (slope alone) or `isotonic` (any rising curve) to `scores`.

    Raises InputError for another method, and where a line cannot be fitted or would turn the order of scores round.
    """
    if method not in get_args(Recalibration):
        raise InputError(f"method: {method!r} is not known; choose {', '.join(get_args(Recalibration))}")
    scores = scores.answered
    if method == "isotonic":
        try:
            from sklearn.isotonic import IsotonicRegression
        except ImportError as error:
            raise MissingExtraError("scikit-learn", "evaluation") from error
        curve = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(scores.score, scores.label)
        return cast(Recalibrated, curve.predict)
    sm = _statsmodels()
    if _separable(scores) or len(np.unique(scores.score)) < 2:
        raise InputError("label: scores of the two classes do not overlap, or are all equal; nothing can be fitted")
    x, y, weight, _ = _for_regression(scores)
    design = sm.add_constant(x) if method == "platt" else x[:, None]
    found = sm.GLM(y, design, family=sm.families.Binomial(), freq_weights=weight).fit().params
    intercept, slope = found if method == "platt" else (0.0, found[0])
    if not slope > 0:
        raise InputError(
            "score: patients with the condition score lower than those without; is the label turned round?"
        )
    return LogitLine(float(slope), float(intercept))


def cross_fitted(scores: Scores, method: Recalibration, folds: int = 5, seed: int = 0) -> Scores:
    """`scores` recalibrated, each patient by a fit to the others, in `folds` parts with equal shares of labels."""
    fold = patient_folds(scores, folds, seed)
    score = scores.score.copy()
    for part in range(folds):
        fitted = fit_recalibration(scores.where(fold != part), method)
        rows = (fold == part) & ~np.isnan(score)
        score[rows] = fitted(score[rows])
    return Scores(score, scores.label, scores.patient, scores.table)


def patient_folds(scores: Scores, folds: int, seed: int = 0) -> npt.NDArray[np.int64]:
    """The part (0 to `folds` - 1) of each row: patients shuffled, those with and without the condition dealt out apart.

    Raises InputError where a class has fewer patients than there are folds.
    """
    sick = np.bincount(scores.patient, scores.label) > 0
    if min(sick.sum(), (~sick).sum()) < folds:
        raise InputError(f"label: fewer than {folds} patients of a class cannot be split into {folds} parts")
    shuffled = np.random.default_rng(seed).permutation(scores.patients)
    part = np.empty(scores.patients, dtype=np.int64)
    for status in (True, False):
        chosen = shuffled[sick[shuffled] == status]
        part[chosen] = np.arange(len(chosen)) % folds
    return part[scores.patient]


def compare_recalibrations(
    scores: Scores,
    threshold: float,
    methods: Sequence[Recalibration] = get_args(Recalibration),
    folds: int = 5,
    seed: int = 0,
) -> pd.DataFrame:
    """Calibration and accuracy, one row before and one after each recalibration, cross-fitted."""
    rows = []
    for name in ("none", *methods):
        ours = scores if name == "none" else cross_fitted(scores, cast(Recalibration, name), folds, seed)
        cells, line = count(ours), calibration_line(ours)
        figures = {"brier": brier_score(cells), "ece": calibration_error(cells)}
        figures["accuracy"] = rates(confusion(cells, threshold))["accuracy"]
        rows.append(
            {
                "recalibration": name,
                **{key: figure.value for key, figure in line.items()},
                **{key: float(value) for key, value in figures.items()},
            }
        )
    return pd.DataFrame(rows)


def calibration_figures(scores: Scores, resamples: int, seed: int = 0) -> dict[str, Figure]:
    """Brier score and calibration error with intervals: BCa, since a draw's error is larger than the error itself."""

    def figures(cells: Cells) -> dict[str, Floats]:
        return {"brier": brier_score(cells), "ece": calibration_error(cells)}

    return bootstrap(scores.answered, figures, resamples=resamples, method="bca", seed=seed)


def _statsmodels() -> Any:
    try:
        import statsmodels.api as sm
    except ImportError as error:
        raise MissingExtraError("statsmodels", "evaluation") from error
    return sm


def _binned(cells: Cells, bins: int) -> tuple[Floats, Floats, Floats]:
    """Patients, their scores' sum and how many have the condition, in each bin, (..., bins)."""
    edges = np.searchsorted(cells.score, np.arange(1, bins) / bins, side="left")
    found = []
    for counts in (cells.total, cells.total * cells.score, cells.positive):
        running = np.concatenate([np.zeros((*counts.shape[:-1], 1)), np.cumsum(counts, axis=-1)], axis=-1)
        found.append(np.diff(running[..., [0, *edges, counts.shape[-1]]], axis=-1))
    return found[0], found[1], found[2]


def _for_regression(scores: Scores) -> tuple[Floats, Floats, Floats, npt.NDArray[np.int64] | None]:
    """Logits, labels, weights and, where patients have several rows, patients; equal rows are counted together."""
    if scores.clustered:
        return logit(scores.score), scores.label.astype(float), np.ones(len(scores.score)), scores.patient
    cells = count(scores, MOST_CELLS)
    weight = np.concatenate([cells.positive, cells.negative])
    x, y = np.tile(logit(cells.score), 2), np.repeat([1.0, 0.0], len(cells.score))
    return x[weight > 0], y[weight > 0], weight[weight > 0], None


def _separable(scores: Scores) -> bool:
    """Whether a cut-off tells the classes apart, so that the best line is infinitely steep."""
    sick, healthy = scores.score[scores.label], scores.score[~scores.label]
    return bool(sick.min() >= healthy.max() or sick.max() <= healthy.min())
