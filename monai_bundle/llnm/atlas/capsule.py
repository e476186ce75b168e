"""Risk against the distance from nodule to capsule (Shen et al., Nat Commun 16, 7052, 2025, Fig. 4b).

Comes in: each patient's distance in mm and label. Goes out: the share of metastases by distance with 95 % intervals,
and the distance within which a given share (published: 72 % within 2.5 mm) is exceeded.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from llnm.errors import InputError

PUBLISHED_SHARE, PUBLISHED_MM = 0.72, 2.5
EDGES_MM = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.0, np.inf)
_DRAWS = 500


@dataclass(frozen=True)
class Bin:
    """Patients with a distance from `low_mm` to below `high_mm`: share of metastases with its Wilson interval.

    `within`: the share of all patients nearer than `high_mm`. Shares are None where nobody is.
    """

    low_mm: float
    high_mm: float | None
    patients: int
    share: float | None
    low: float | None
    high: float | None
    within: float | None


@dataclass(frozen=True)
class CapsuleCurve:
    """The bins, and `limit_mm`: the largest distance within which the mean share is at least `level`.

    None where it is nowhere; `limit_interval_mm` by the bootstrap over patients, None where most draws have no limit.
    """

    bins: tuple[Bin, ...]
    level: float
    limit_mm: float | None
    limit_interval_mm: tuple[float, float] | None
    patients: int


def capsule_curve(
    distances_mm: Sequence[float], labels: Sequence[bool], level: float = PUBLISHED_SHARE, seed: int = 0
) -> CapsuleCurve:
    """Share of metastases by capsule distance; raises InputError for values that are no distances or no patients."""
    distance, positive = np.asarray(distances_mm, float), np.asarray(labels, bool)
    if distance.size == 0 or distance.shape != positive.shape:
        raise InputError("capsule distance: no patient has one; give gland masks and the spacing")
    if not np.isfinite(distance).all() or (distance < 0).any():
        raise InputError("capsule distance: some are negative or no numbers; leave those patients out")
    rng = np.random.default_rng(seed)
    draws = [rng.integers(len(distance), size=len(distance)) for _ in range(_DRAWS)]
    limits = np.array([_limit(distance[draw], positive[draw], level) for draw in draws])
    limit = _limit(distance, positive, level)
    known = limits[np.isfinite(limits)]
    interval = None
    if np.isfinite(limit) and len(known) > _DRAWS / 2:
        low, high = np.quantile(known, (0.025, 0.975)).tolist()
        interval = (low, high)
    return CapsuleCurve(
        bins=tuple(_bin(distance, positive, a, b) for a, b in itertools.pairwise(EDGES_MM)),
        level=level,
        limit_mm=float(limit) if np.isfinite(limit) else None,
        limit_interval_mm=interval,
        patients=len(distance),
    )


def _limit(distance: npt.NDArray[np.float64], positive: npt.NDArray[np.bool_], level: float) -> float:
    """The largest distance up to which the mean share reaches the level; NaN if none does."""
    order = np.argsort(distance, kind="stable")
    nearest = distance[order]
    share = np.cumsum(positive[order]) / np.arange(1, len(order) + 1)
    # Of equal distances all patients count, or none.
    last = np.append(nearest[1:] != nearest[:-1], True)
    reached = last & (share >= level)
    return float(nearest[reached].max()) if reached.any() else float("nan")


def _bin(distance: npt.NDArray[np.float64], positive: npt.NDArray[np.bool_], low: float, high: float) -> Bin:
    inside = (distance >= low) & (distance < high)
    nearer = distance < high
    count, successes = int(inside.sum()), int(positive[inside].sum())
    end = None if np.isinf(high) else high
    within = float(positive[nearer].mean()) if nearer.any() else None
    if count == 0:
        return Bin(low, end, 0, None, None, None, within)
    interval = stats.binomtest(successes, count).proportion_ci(0.95, method="wilson")
    return Bin(low, end, count, successes / count, float(interval.low), float(interval.high), within)
