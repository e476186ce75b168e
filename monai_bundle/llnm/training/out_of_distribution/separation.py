"""How well a score tells two kinds of frames apart, with intervals that respect which frames belong together.

Comes in: scores, and the group (patient, sweep, photograph) of every frame. Goes out: the area under the ROC curve and
shares, each with a 95 % percentile interval from resampled groups.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

RESAMPLES = 2000

Array = npt.NDArray[np.float64]


def comparisons(low: npt.ArrayLike, high: npt.ArrayLike) -> Array:
    """(len(low), len(high)): 1 where a score of `high` is above one of `low`, 0.5 where equal; its mean is the AUROC.

    Mann and Whitney, Ann. Math. Stat. 18, 50 (1947).
    """
    first, second = np.asarray(low, dtype=float)[:, None], np.asarray(high, dtype=float)[None, :]
    return (second > first) + 0.5 * (second == first)


def auroc(compared: Array, low_groups: Sequence[str], high_groups: Sequence[str], seed: int = 0) -> dict[str, float]:
    """Mean of `comparisons` as {value, low, high}; both sides' groups are drawn again."""
    rng = np.random.default_rng(seed)
    rows, columns = _drawn(low_groups, rng), _drawn(high_groups, rng)
    drawn = ((rows @ compared) * columns).sum(axis=1) / (rows.sum(axis=1) * columns.sum(axis=1))
    return _figure(float(compared.mean()), drawn)


def share(hits: npt.ArrayLike, groups: Sequence[str], seed: int = 0) -> dict[str, float]:
    """Share of true values as {value, low, high}."""
    values = np.asarray(hits, dtype=float)
    times = _drawn(groups, np.random.default_rng(seed))
    return _figure(float(values.mean()), times @ values / times.sum(axis=1))


def _drawn(groups: Sequence[str], rng: np.random.Generator) -> Array:
    """(RESAMPLES, len(groups)): how often each frame is in each resample of whole groups."""
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    return rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=RESAMPLES)[:, index].astype(float)


def _figure(value: float, drawn: Array) -> dict[str, float]:
    low, high = np.percentile(drawn, [2.5, 97.5])
    return {"value": round(value, 3), "low": round(float(low), 3), "high": round(float(high), 3)}
