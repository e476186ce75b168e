"""From places and labels to risk: voxel by voxel, region by region.

Comes in: the `Place` of each patient's nodule and whether the lateral nodes held metastases. Goes out: an `Atlas`, the
regions ranked with intervals, and which of them are hotter than chance.

- `beta`: the probability of metastasis of a nodule whose centre lies there. In each voxel patients count by a Gaussian
  around their nodule's centre (wider where its place is uncertain); their effective number, (sum w)^2 / sum w^2 (Kish
  1965) but no more than lie near, and their share of metastases update a Beta prior at the cohort's prevalence. Blank
  where that number is below MINIMUM.
- `sum`: equation 15 of Shen et al. (Nat Commun 16, 7052, 2025), sum over metastatic minus sum over the others, to 0-1.
- `class means`: the same with means, so that the larger class does not decide; both are relative and no probability.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from llnm.atlas.model import Atlas, Template, Volume
from llnm.atlas.place import BLUR_MM, Place
from llnm.errors import InputError

METHODS = ("beta", "class means", "sum")
PRIOR_STRENGTH = 2.0  # patients
MINIMUM = 3.0  # effective patients, below which a voxel or region is blank
LEVEL = 0.95
DRAWS = 2000
_REACH = 2.5  # standard deviations after which the kernel ends
_AT_ONCE, _DEALS = 500, 100  # patients and deals at a time, so that memory stays small
Labels = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RegionRisk:
    """Risk of one region: probability with 95 % interval (None where blank), effective `patients`, and how sure.

    `p_value`: that a region without any effect would stand out so much, adjusted for all regions looked at. `hot`:
    below 0.05 and above the cohort's prevalence.
    """

    name: str
    probability: float | None
    low: float | None
    high: float | None
    patients: float
    p_value: float | None
    hot: bool


def risk_atlas(
    template: Template,
    places: Sequence[Place],
    labels: Sequence[bool],
    method: str = "beta",
    *,
    bandwidth_mm: float | None = None,
    about: Mapping[str, Any] | None = None,
) -> Atlas:
    """The atlas of a cohort: one place and one label a patient.

    `bandwidth_mm`: standard deviation of the smoothing of `beta` (default: `default_bandwidth`). Raises InputError for
    an unknown method, for no patients, or where `sum` or `class means` have patients of one class only.
    """
    positive = _checked(places, labels)
    if method not in METHODS:
        raise InputError(f"method: {method!r} is not known; choose one of {', '.join(METHODS)}")
    width = default_bandwidth(len(places)) if bandwidth_mm is None else bandwidth_mm
    if not 0 <= width <= 20:
        raise InputError(f"bandwidth: {width:g} mm cannot be; give 0-20")
    weight, weight_positive, squares, near = _smoothed(template, places, positive, width)
    count = np.divide(weight**2, squares, out=np.zeros_like(squares), where=squares > 0)
    # Where patients lie evenly the two are equal; far from all of them only the second one is small.
    count = np.minimum(count, 2**1.5 * near)
    known = (count >= MINIMUM) & (template.labels > 0)
    risk, low, high = (np.full(known.shape, np.nan, np.float32) for _ in range(3))
    if method == "beta":
        share = weight_positive[known] / weight[known]
        risk[known], low[known], high[known] = beta_interval(share, count[known], float(positive.mean()))
    else:
        risk[known] = _scaled(_difference(template, places, positive, method)[known])
    settings = {"patients": len(places), "positives": int(positive.sum()), "bandwidth_mm": round(width, 3)}
    return Atlas(template, risk, low, high, count.astype(np.float32), method, {**settings, **(about or {})})


def default_bandwidth(patients: int) -> float:
    """Standard deviation (mm) of the smoothing: narrower than is best for the map, so that its intervals cover."""
    return float(np.clip(2.7 * (patients / 1000) ** (-1 / 14), 2.0, 3.5))


def beta_interval(share: Any, count: Any, prevalence: float) -> tuple[Any, Any, Any]:
    """Mean and 95 % interval of a probability of which `count` patients, `share` of them positive, are seen.

    The prior is Beta with mean `prevalence` (kept off 0 and 1) that weighs as much as PRIOR_STRENGTH patients.
    """
    centre = float(np.clip(prevalence, 0.02, 0.98))
    share = np.where(np.isfinite(share), share, 0.0)
    a = PRIOR_STRENGTH * centre + share * count
    b = PRIOR_STRENGTH * (1 - centre) + (1 - share) * count
    tail = (1 - LEVEL) / 2
    return a / (a + b), stats.beta.ppf(tail, a, b), stats.beta.ppf(1 - tail, a, b)


def region_risks(
    template: Template, places: Sequence[Place], labels: Sequence[bool], seed: int = 0
) -> list[RegionRisk]:
    """Every region of the template, the highest probability first and blank ones last.

    A patient counts in a region by the share of the nodule that lies there. Whether a region is hot is tested against
    labels dealt out at random, by the largest standardised excess over all regions (Westfall and Young 1993), so that
    a cohort without any effect of location gives a hot region in one of twenty cases only.
    """
    positive = _checked(places, labels)
    names = list(template.regions)
    shares = np.zeros((len(places), len(names)))
    for row, place in zip(shares, places, strict=True):
        held = np.bincount(template.labels[tuple(place.voxels.T)], place.weights, minlength=256)
        row[:] = held[names]
    sums, squares = shares.sum(axis=0), (shares**2).sum(axis=0)
    count = np.divide(sums**2, squares, out=np.zeros_like(sums), where=squares > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = positive @ shares / sums
    mean, low, high = beta_interval(found, count, float(positive.mean()))
    p_values = _excess_p_values(shares, positive, count >= MINIMUM, seed)
    risks = []
    for place_in_list, label in enumerate(names):
        known = count[place_in_list] >= MINIMUM
        p_value = float(p_values[place_in_list]) if known else None
        above = bool(known and found[place_in_list] > positive.mean())
        risks.append(
            RegionRisk(
                name=template.regions[label],
                probability=float(mean[place_in_list]) if known else None,
                low=float(low[place_in_list]) if known else None,
                high=float(high[place_in_list]) if known else None,
                patients=float(count[place_in_list]),
                p_value=p_value,
                hot=above and p_value is not None and p_value < 1 - LEVEL,
            )
        )
    return sorted(risks, key=lambda risk: (risk.probability is None, -(risk.probability or 0.0)))


def _excess_p_values(
    shares: npt.NDArray[np.float64], positive: Labels, known: Labels, seed: int
) -> npt.NDArray[np.float64]:
    """Share of random deals whose most outstanding region stands out as much as each region does."""
    if positive.all() or not positive.any() or not known.any():
        return np.ones(shares.shape[1])
    centred = shares[:, known] - shares[:, known].mean(axis=0)
    scale = np.sqrt((centred**2).sum(axis=0))
    centred = np.divide(centred, scale, out=np.zeros_like(centred), where=scale > 1e-9)
    rng = np.random.default_rng(seed)
    labels = positive.astype(np.float32)
    dealt = (rng.permuted(np.tile(labels, (_DEALS, 1)), axis=1) for _ in range(DRAWS // _DEALS))
    largest = np.concatenate([(deal @ centred).max(axis=1) for deal in dealt])
    values = np.ones(shares.shape[1])
    # A hair's breadth below, so that rounding does not separate equal deals.
    observed = labels @ centred - 1e-9
    values[known] = (1 + (largest[:, None] >= observed).sum(axis=0)) / (1 + DRAWS)
    return values


def _checked(places: Sequence[Place], labels: Sequence[bool]) -> Labels:
    if not places:
        raise InputError("cohort: no patient could be placed, so there is nothing to build from; see errors.csv")
    if len(places) != len(labels):
        raise InputError(f"cohort: {len(places)} places and {len(labels)} labels; give one label a patient")
    return np.asarray(labels, bool)


def _smoothed(
    template: Template, places: Sequence[Place], positive: Labels, width: float
) -> tuple[Floats, Floats, Floats, Floats]:
    """Sums over patients of their kernel, of that of metastatic ones, of its square, and of its share of its peak."""
    total, of_positive, squares, near = (np.zeros(template.labels.shape) for _ in range(4))
    centres = template.index([place.centre_mm for place in places])
    # The blur that all share is no reason to smooth more.
    extra = np.maximum(np.square([place.blur_mm for place in places]) - BLUR_MM**2, 0)
    sigma = np.sqrt(max(width, 0.1) ** 2 + extra) / np.asarray(template.spacing_mm)
    for part in np.array_split(np.arange(len(places)), 1 + len(places) // _AT_ONCE):
        axes = [_kernel(n, centres[part, axis], sigma[part, axis]) for axis, n in enumerate(template.labels.shape)]
        total += _outer_sum(axes)
        near += _outer_sum([axis * sigma[part, number, None] for number, axis in enumerate(axes)])
        squares += _outer_sum([axis**2 for axis in axes])
        of_positive += _outer_sum([axis[positive[part]] for axis in axes])
    return total, of_positive, squares, near


def _kernel(size: int, centres: Floats, sigma: Floats) -> Floats:
    """Gaussians (patient, voxel) along one axis, 0 beyond their reach."""
    away = (np.arange(size) - centres[:, None]) / sigma[:, None]
    return np.where(np.abs(away) <= _REACH, np.exp(-(away**2) / 2) / sigma[:, None], 0.0)


def _outer_sum(axes: Sequence[Floats]) -> Floats:
    """Sum over patients of the outer product of their three axes, as one matrix product."""
    x, y, z = axes
    plane = (y[:, :, None] * z[:, None, :]).reshape(len(y), y.shape[1] * z.shape[1])
    return np.asarray((x.T @ plane).reshape(x.shape[1], y.shape[1], z.shape[1]))


def _difference(template: Template, places: Sequence[Place], positive: Labels, method: str) -> Volume:
    if positive.all() or not positive.any():
        raise InputError(f"llnm: all patients are of one class, and {method!r} needs both; build with --method beta")
    total = {True: np.zeros(template.labels.shape), False: np.zeros(template.labels.shape)}
    for place, label in zip(places, positive, strict=True):
        total[bool(label)][tuple(place.voxels.T)] += place.weights
    if method == "class means":
        total = {True: total[True] / positive.sum(), False: total[False] / (~positive).sum()}
    return np.asarray(total[True] - total[False], np.float32)


def _scaled(values: Volume) -> Volume:
    """Values to 0-1; equal ones to the middle."""
    span = float(np.ptp(values)) if values.size else 0.0
    return np.asarray((values - values.min()) / span if span > 0 else np.full_like(values, 0.5))
