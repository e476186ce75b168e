"""DeLong's variance of the area under the ROC curve, and what rests on it.

Comes in: labels, the scores of one or more models for the same rows, and which rows are one patient's. Goes out: areas
with intervals, and the test of their difference. After DeLong et al. (1988) by midranks (Sun and Xu 2014); where a
patient has several rows, the variance is Obuchowski's (Biometrics 1997), which is DeLong's where nobody has.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from llnm.errors import InputError
from llnm.evaluation.intervals import LEVEL, Figure
from llnm.evaluation.scores import Bools, Floats, Scores


@dataclass(frozen=True)
class PairedAreas:
    """Two models' areas, their `difference` (first minus second), z (None if infinite) and the two-sided p."""

    first: float
    second: float
    difference: Figure
    z: float | None
    p: float


def delong_covariance(score: Floats, label: Bools, patient: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
    """(areas (k,), covariance (k, k)) of the models' `score` (k, n) for rows with `label` and `patient` (n,)."""
    areas, components = zip(*(placements(row, label) for row in score), strict=True)
    area, parts = np.array(areas), np.array(components)
    clusters = {truth: _sums(parts, area, label == truth, patient) for truth in (True, False)}
    m, n = int(label.sum()), int((~label).sum())
    covariance = np.zeros((len(area), len(area)))
    for truth, size in ((True, m), (False, n)):
        with_rows = int(np.count_nonzero(np.bincount(patient[label == truth])))
        if with_rows < 2:
            raise InputError("label: too few patients of a class for a variance; at least two of each are needed")
        covariance += clusters[truth] @ clusters[truth].T * with_rows / (with_rows - 1) / size**2
    shared = clusters[True] @ clusters[False].T / (m * n)
    people = clusters[True].shape[1]
    return area, covariance + (shared + shared.T) * people / (people - 1)


def delong_interval(scores: Scores, level: float = LEVEL) -> Figure:
    """Area with DeLong's interval on the logit scale, which keeps it within 0 to 1 (Pepe 2003, section 5.2.4)."""
    area, covariance = delong_covariance(scores.score[None], scores.label, scores.patient)
    value, error = float(area[0]), float(np.sqrt(covariance[0, 0]))
    if error == 0 or value in (0, 1):
        return Figure(value, value, value, f"DeLong, {level:.0%}: the classes do not overlap")
    reach = stats.norm.ppf((1 + level) / 2) * error / (value * (1 - value))
    logit = np.log(value / (1 - value))
    low, high = 1 / (1 + np.exp(-(logit + np.array([-reach, reach]))))
    return Figure(value, float(low), float(high), f"DeLong on the logit scale, {level:.0%}")


def delong_test(
    first: Floats, second: Floats, label: Bools, patient: npt.NDArray[np.int64], level: float = LEVEL
) -> PairedAreas:
    """Whether two models' areas on the same rows differ. Identical scores differ by 0 with p of 1."""
    area, covariance = delong_covariance(np.stack([first, second]), label, patient)
    difference = float(area[0] - area[1])
    error = float(np.sqrt(max(0.0, covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])))
    z = difference / error if error > 1e-12 else 0.0 if abs(difference) < 1e-12 else np.copysign(np.inf, difference)
    reach = stats.norm.ppf((1 + level) / 2) * error
    low, high = float(difference - reach), float(difference + reach)
    figure = Figure(difference, low, high, f"DeLong, {level:.0%}")
    return PairedAreas(
        float(area[0]), float(area[1]), figure, float(z) if np.isfinite(z) else None, float(2 * stats.norm.sf(abs(z)))
    )


def placements(score: Floats, label: Bools) -> tuple[float, Floats]:
    """The area, and for each row the share of the other class that it is placed on the right side of (n,)."""
    m, n = int(label.sum()), int((~label).sum())
    everyone = stats.rankdata(score)
    parts = np.empty(len(score))
    parts[label] = (everyone[label] - stats.rankdata(score[label])) / n
    parts[~label] = 1 - (everyone[~label] - stats.rankdata(score[~label])) / m
    return float(parts[label].mean()), parts


def _sums(parts: Floats, area: Floats, chosen: Bools, patient: npt.NDArray[np.int64]) -> Floats:
    """Each patient's sum of what its `chosen` rows lie above the area, (k, patients)."""
    people = int(patient.max()) + 1
    above = parts - area[:, None]
    return np.array([np.bincount(patient[chosen], row[chosen], people) for row in above])
