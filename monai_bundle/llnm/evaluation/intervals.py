"""Figures with intervals: a patient-level bootstrap of anything that can be computed from counted scores.

Comes in: `Scores` and a function of `Cells`. Goes out: one `Figure` for each of its values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from scipy import stats

from llnm.errors import InputError
from llnm.evaluation.cells import Cells, count, resampled, without_blocks
from llnm.evaluation.scores import Floats, Scores

LEVEL = 0.95
RESAMPLES = 1000
Method = Literal["percentile", "bca"]
Statistics = Callable[[Cells], Mapping[str, Floats]]
# Patients are left out in so many blocks to learn how skewed a figure is; one by one would cost a pass a patient.
_BLOCKS = 200
# So many values are drawn at once.
_CHUNK = 4_000_000


@dataclass(frozen=True)
class Figure:
    """A value with its interval and how that was found; without an interval, `low`, `high` and `method` are None."""

    value: float | None
    low: float | None = None
    high: float | None = None
    method: str | None = None

    def __str__(self) -> str:
        if self.value is None:
            return "not available"
        if self.low is None or self.high is None:
            return f"{self.value:.3f}"
        between = "-" if self.low >= 0 else " to "
        return f"{self.value:.3f} ({self.low:.3f}{between}{self.high:.3f})"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def rounded(self) -> dict[str, float | None]:
        """Value and bounds to three decimals; a figure without an interval has its value for both."""
        bounds = {"value": self.value, "low": self.low, "high": self.high}
        known = {name: self.value if bound is None else bound for name, bound in bounds.items()}
        return {name: None if bound is None else round(bound, 3) for name, bound in known.items()}


def bootstrap(
    scores: Scores,
    statistics: Statistics,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    method: Method = "percentile",
    seed: int = 0,
) -> dict[str, Figure]:
    """Each of `statistics` with its interval: patients are drawn with replacement, each with all rows.

    `percentile`: the quantiles of the draws. `bca`: bias-corrected and accelerated (Efron 1987), the acceleration by
    a jackknife over blocks of patients. A draw in which a figure does not exist (a class is missing) does not count
    for it. Raises InputError for an unknown method.
    """
    if method not in ("percentile", "bca"):
        raise InputError(f"method: {method!r} is not known; choose percentile or bca")
    rng = np.random.default_rng(seed)
    values = {name: float(value) for name, value in statistics(count(scores)).items()}
    found = draws(scores, statistics, resamples, rng)
    left: Mapping[str, Floats] = {}
    if method == "bca":
        left = statistics(without_blocks(scores, min(_BLOCKS, scores.patients), rng))
    told = f"{'BCa' if method == 'bca' else 'percentile'} bootstrap over patients, {resamples} draws, {level:.0%}"
    return {name: figure_of(value, found[name], told, level, left.get(name)) for name, value in values.items()}


def figure_of_values(
    values: Floats, *, median: bool = False, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = 0
) -> Figure:
    """Mean (or median) of the `values` (n,) of as many patients with its percentile bootstrap interval.

    One patient says nothing about others and gives no interval.
    """
    average = np.median if median else np.mean
    if len(values) < 2:
        return Figure(float(average(values)))
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK // len(values))
    drawn = [
        average(values[rng.integers(len(values), size=(min(step, resamples - start), len(values)))], axis=1)
        for start in range(0, resamples, step)
    ]
    told = f"percentile bootstrap over patients, {resamples} draws, {level:.0%}"
    return figure_of(float(average(values)), np.concatenate(drawn), told, level)


def draws(
    scores: Scores, statistics: Statistics, resamples: int, rng: np.random.Generator, paired: bool = False
) -> dict[str, Floats]:
    """Each of `statistics` for each bootstrap draw, (resamples,); `paired` as `cells.resampled` has it."""
    chunks = [statistics(cells) for cells in resampled(scores, resamples, rng, paired)]
    return {name: np.concatenate([np.atleast_1d(chunk[name]) for chunk in chunks]) for name in chunks[0]}


def figure_of(value: float, drawn: Floats, told: str, level: float = LEVEL, left: Floats | None = None) -> Figure:
    """`value` with the interval that its bootstrap draws give; by BCa if its values without each block are `left`."""
    drawn = drawn[np.isfinite(drawn)]
    if not np.isfinite(value):
        return Figure(None)
    if len(drawn) == 0:
        return Figure(value)
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    if left is not None:
        tails = _corrected(value, drawn, left[np.isfinite(left)], tails)
    low, high = np.quantile(drawn, tails)
    return Figure(value, float(low), float(high), told)


def _corrected(value: float, drawn: Floats, left: Floats, tails: Floats) -> Floats:
    """The quantiles that BCa takes instead of `tails` (Efron and Tibshirani 1993, eq. 14.9 to 14.15)."""
    # Half of what is equal counts as below: a figure made of counts has many equal draws.
    below = np.clip(((drawn < value).mean() + (drawn <= value).mean()) / 2, 1e-6, 1 - 1e-6)
    bias = stats.norm.ppf(below)
    away = left.mean() - left
    spread = np.sum(away**2) ** 1.5
    acceleration = np.sum(away**3) / (6 * spread) if spread > 0 else 0.0
    shifted = bias + stats.norm.ppf(tails)
    return np.asarray(stats.norm.cdf(bias + shifted / (1 - acceleration * shifted)))
