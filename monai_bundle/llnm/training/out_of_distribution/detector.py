"""Fits the numbers of an `OutOfDistributionDetector`.

Comes in: features of thyroid images by source and of organs that are no thyroid by name. Goes out: a detector whose
thresholds are set on thyroid frames that it was not fitted with (cross-fitting by patient).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

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
CROSS_FITS = 5

Array = npt.NDArray[np.float64]


def fit_detector(thyroid: Mapping[str, Sample], organs: Mapping[str, Sample]) -> OutOfDistributionDetector:
    """Detector of what is no `thyroid` (samples by the names of SOURCES), with `organs` as examples of what is not."""
    patients = sorted({group for sample in thyroid.values() for group in sample.groups})
    fold_of = {group: index % CROSS_FITS for index, group in enumerate(patients)}
    folds = {name: np.array([fold_of[group] for group in sample.groups]) for name, sample in thyroid.items()}
    judged: dict[str, list[Array]] = {name: [] for name in REFERENCE}
    for fold in range(CROSS_FITS):
        rest = {name: sample.part(folds[name] != fold) for name, sample in thyroid.items()}
        detector = _fit(rest, organs)
        for name in REFERENCE:
            judged[name].append(detector.margins(thyroid[name].part(folds[name] == fold).features))
    scores = [np.concatenate(parts) for parts in judged.values()]
    levels = [[np.quantile(source[:, k], 1 - FALSE_ALARMS[k]) for k in range(2)] for source in scores]
    thresholds = np.max(levels, axis=0)
    spreads = thresholds - np.mean([np.median(source, axis=0) for source in scores], axis=0)
    return replace(_fit(thyroid, organs), thresholds=_single(thresholds), spreads=_single(spreads))


def _fit(thyroid: Mapping[str, Sample], organs: Mapping[str, Sample]) -> OutOfDistributionDetector:
    """All but the thresholds, which stay 0 (and the spreads 1)."""
    inside = np.concatenate([thyroid[name].features for name in SOURCES]).astype(np.float64)
    share = np.concatenate([np.full(len(thyroid[n].groups), w / len(thyroid[n].groups)) for n, w in SOURCES.items()])
    centre = share @ inside
    scale = np.sqrt(share @ (inside - centre) ** 2) + 1e-6
    standard = (inside - centre) / scale
    values, vectors = np.linalg.eigh((standard * share[:, None]).T @ standard)  # smallest first
    direction, offset = _discriminant(standard, share, centre, scale, organs)
    return OutOfDistributionDetector(
        centre=_single(centre),
        scale=_single(scale),
        components=_single(vectors[:, -COMPONENTS:].T),
        variances=_single(values[-COMPONENTS:]),
        residual_variance=_single(values[:-COMPONENTS].mean()),
        direction=_single(direction),
        offset=_single(offset),
        thresholds=np.zeros(2, np.float32),
        spreads=np.ones(2, np.float32),
    )


def _discriminant(
    standard: Array, share: Array, centre: Array, scale: Array, organs: Mapping[str, Sample]
) -> tuple[Array, float]:
    """Ridge regression of 0 (thyroid) and 1 (organ); both sides, and every organ, count the same."""
    outside = [((sample.features - centre) / scale).astype(np.float64) for sample in organs.values()]
    values = np.clip(np.concatenate([standard, *outside]), -CLIP, CLIP)
    weight = np.concatenate([share / 2, *(np.full(len(part), 0.5 / len(outside) / len(part)) for part in outside)])
    target = np.concatenate([np.zeros(len(standard)), np.ones(len(values) - len(standard))])
    mean = weight @ values
    centred = values - mean
    covariance = (centred * weight[:, None]).T @ centred
    direction = np.linalg.solve(covariance + RIDGE * np.eye(len(mean)), (centred * weight[:, None]).T @ (target - 0.5))
    return direction, 0.5 - float(mean @ direction)


def _single(values: npt.ArrayLike) -> npt.NDArray[np.float32]:
    return np.atleast_1d(np.asarray(values, dtype=np.float32))
