"""Fits the numbers of an `OutOfDistributionDetector`.

Comes in: features of thyroid images by source and of organs that are no thyroid by name. Goes out: a detector whose
thresholds are set on thyroid frames that it was not fitted with (cross-fitting by patient).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy import linalg

from llnm.segmentation.out_of_distribution import CLIP, OutOfDistributionDetector
from llnm.training.out_of_distribution.features import Sample

# How much each source of thyroid images counts in the fit; the augmented ones most, for they vary as scanners do.
SOURCES = {"images": 0.2, "augmented": 0.4, "simulated": 0.2, "randomised": 0.2}
# The sources that imitate other scanners, at which the thresholds are set: the higher of the two counts.
REFERENCE = ("augmented", "randomised")
# Share of the reference's frames that may be over the threshold of distance and of discriminant.
FALSE_ALARMS = (0.01, 0.04)
COMPONENTS = 32
RIDGE = 0.1
# Variance that a standardised feature has in any direction, however few images there are.
LEAST_VARIANCE = 1e-3
CROSS_FITS = 5

Array = npt.NDArray[np.float64]


def fit_detector(thyroid: Mapping[str, Sample], organs: Mapping[str, Sample]) -> OutOfDistributionDetector:
    """Detector of what is no `thyroid` (samples by the names of SOURCES), with `organs` as examples of what is not."""
    return fit_detectors(thyroid, organs, [()])[0]


def fit_detectors(
    thyroid: Mapping[str, Sample], organs: Mapping[str, Sample], left_out: Sequence[Sequence[str]]
) -> list[OutOfDistributionDetector]:
    """A detector for each entry of `left_out`, fitted without the organs it names."""
    patients = sorted({group for sample in thyroid.values() for group in sample.groups})
    fold_of = {group: index % CROSS_FITS for index, group in enumerate(patients)}
    folds = {name: np.array([fold_of[group] for group in sample.groups]) for name, sample in thyroid.items()}
    whole, parts = _Fit(thyroid, organs), []
    for fold in range(CROSS_FITS):
        rest = {name: sample.part(folds[name] != fold) for name, sample in thyroid.items()}
        held = [thyroid[name].part(folds[name] == fold).features for name in REFERENCE]
        parts.append((_Fit(rest, organs), held))
    detectors = []
    for names in left_out:
        margins = [[part.without(names).margins(features) for features in held] for part, held in parts]
        scores = [np.concatenate(source) for source in zip(*margins, strict=True)]
        levels = [[np.quantile(source[:, k], 1 - FALSE_ALARMS[k]) for k in range(2)] for source in scores]
        thresholds = np.max(levels, axis=0)
        spreads = thresholds - np.mean([np.median(source, axis=0) for source in scores], axis=0)
        detectors.append(replace(whole.without(names), thresholds=_single(thresholds), spreads=_single(spreads)))
    return detectors


class _Fit:
    """What one set of thyroid images gives; organs can be left out afterwards, for only their moments are kept."""

    def __init__(self, thyroid: Mapping[str, Sample], organs: Mapping[str, Sample]) -> None:
        inside = np.concatenate([thyroid[name].features for name in SOURCES]).astype(np.float64)
        counts = {name: len(thyroid[name].groups) for name in SOURCES}
        share = np.concatenate([np.full(counts[name], SOURCES[name] / counts[name]) for name in SOURCES])
        self.centre = share @ inside
        self.scale = np.sqrt(share @ (inside - self.centre) ** 2) + 1e-6
        standard = (inside - self.centre) / self.scale
        covariance = (standard * share[:, None]).T @ standard
        size = len(self.centre)
        self.variances, self.components = linalg.eigh(covariance, subset_by_index=[size - COMPONENTS, size - 1])
        self.rest = (np.trace(covariance) - self.variances.sum()) / (size - COMPONENTS)
        self.thyroid = _moments(standard, share)
        self.organs = {name: _moments((sample.features - self.centre) / self.scale) for name, sample in organs.items()}

    def without(self, names: Sequence[str]) -> OutOfDistributionDetector:
        """The detector without these organs; its thresholds are 0 and its spreads 1.

        The discriminant is the ridge regression of 0 (thyroid) and 1 (organ), where both sides, and every organ, count
        the same.
        """
        organs = [moments for name, moments in self.organs.items() if name not in names]
        mean, square = (np.mean([moments[k] for moments in organs], axis=0) for k in range(2))
        middle = (self.thyroid[0] + mean) / 2
        covariance = (self.thyroid[1] + square) / 2 - np.outer(middle, middle)
        ridge = covariance + RIDGE * np.eye(len(middle))
        direction = linalg.solve(ridge, (mean - self.thyroid[0]) / 4, assume_a="pos")
        return OutOfDistributionDetector(
            centre=_single(self.centre),
            scale=_single(self.scale),
            components=_single(self.components.T),
            variances=_single(np.maximum(self.variances, LEAST_VARIANCE)),
            residual_variance=_single(max(self.rest, LEAST_VARIANCE)),
            direction=_single(direction),
            offset=_single(0.5 - middle @ direction),
            thresholds=np.zeros(2, np.float32),
            spreads=np.ones(2, np.float32),
        )


def _moments(standard: Array, share: Array | None = None) -> tuple[Array, Array]:
    """Weighted mean and mean outer product of clipped features."""
    clipped = np.clip(standard, -CLIP, CLIP)
    weight = np.full(len(clipped), 1 / len(clipped)) if share is None else share
    return weight @ clipped, (clipped * weight[:, None]).T @ clipped


def _single(values: npt.ArrayLike) -> npt.NDArray[np.float32]:
    return np.atleast_1d(np.asarray(values, dtype=np.float32))
