"""The strategies: which of the images that nobody has should be annotated next.

Comes in: a `Pool`, and from the campaign the candidates, the images already covered and how many are wanted. Goes out:
that many candidates, the best one in front. The same pool, question and seed give the same answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
from lib.activelearning.pool import Pool
from lib.campaign.chance import shuffled
from lib.campaign.types import Strategy

Floats = npt.NDArray[np.floating]
PoolSource = Callable[[], Pool]

# So many distances to every image are in memory at a time.
_AT_ONCE = 512


def strategies(pool: PoolSource, seed: int = 0) -> dict[str, Strategy]:
    """All strategies by name. `pool` is asked at each choice, so that a new model's uncertainties count at once."""
    coverage = Coverage()

    def uncertainty(candidates: Sequence[str], covered: Sequence[str], count: int) -> list[str]:
        """The most uncertain first."""
        known, unknown = _known(pool(), candidates, seed)
        value = pool().uncertainty[[pool().row[image] for image in known]]
        order = np.argsort(-np.nan_to_num(value, nan=-1.0), kind="stable")
        return [*(known[index] for index in order), *unknown][:count]

    def spread(candidates: Sequence[str], covered: Sequence[str], count: int, by_doubt: bool) -> list[str]:
        """Farthest first; `by_doubt`: each distance times the uncertainty, 1 where no model has seen the image."""
        now = pool()
        known, unknown = _known(now, candidates, seed)
        if not known:
            return unknown[:count]
        rows = np.array([now.row[image] for image in known])
        weight = np.nan_to_num(now.uncertainty[rows], nan=1.0) if by_doubt else None
        chosen = farthest_first(now.standard[rows], count, coverage(now, covered)[rows], weight)
        return [*(known[index] for index in chosen), *unknown][:count]

    return {
        "random": random_strategy(seed),
        "uncertainty": uncertainty,
        "diversity": partial(spread, by_doubt=False),
        "hybrid": partial(spread, by_doubt=True),
    }


def random_strategy(seed: int = 0) -> Strategy:
    """Chance, as control: an order that hangs on seed and image alone, so that new images move no old ones."""
    return lambda candidates, covered, count: shuffled(candidates, seed)[:count]


def farthest_first(
    features: Floats, count: int, nearest: Floats | None = None, weight: Floats | None = None
) -> list[int]:
    """Rows of `features` (N, D), chosen one by one: each the farthest from what is covered and from all chosen.

    Greedy k-center (Gonzalez 1985; for active learning Sener and Savarese, ICLR 2018). `nearest` (N,): distance to the
    nearest covered image. Where nothing is covered, the first one is the nearest to the mean: the most typical image.
    `weight` (N,) multiplies the distance.
    """
    weight = np.ones(len(features)) if weight is None else weight
    left = np.ones(len(features), dtype=bool)
    chosen: list[int] = []
    for _ in range(min(count, len(features))):
        if chosen and nearest is not None:
            last = chosen[-1]
            nearest = np.minimum(nearest, distances(features, features[last : last + 1])[:, 0])
        if nearest is None or np.isinf(nearest).any():
            far: Floats = 1 / (1e-12 + distances(features, features.mean(axis=0, keepdims=True))[:, 0])
            nearest = np.full(len(features), np.inf)
        else:
            far = nearest
        best = int(np.argmax(np.where(left, far * weight, -np.inf)))
        left[best] = False
        chosen.append(best)
    return chosen


def distances(first: Floats, second: Floats) -> Floats:
    """Euclidean distances (N, M) of the rows of two matrices, by one matrix product."""
    squared = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1) - 2 * first @ second.T
    return np.sqrt(np.maximum(squared, 0))


class Coverage:
    """How far each image of a pool is from the nearest covered one, kept from one question to the next.

    A campaign asks once an image, and each time only a few more are covered.
    """

    def __init__(self) -> None:
        self._pool: Pool | None = None
        self._covered: frozenset[str] = frozenset()
        self._nearest: Floats = np.zeros(0)

    def __call__(self, pool: Pool, covered: Sequence[str]) -> Floats:
        """(N,) distances, infinite where nothing is covered."""
        now = frozenset(image for image in covered if image in pool.row)
        if pool is not self._pool or not self._covered <= now:
            self._pool, self._covered, self._nearest = pool, frozenset(), np.full(len(pool.images), np.inf)
        new = [pool.row[image] for image in sorted(now - self._covered)]
        for start in range(0, len(new), _AT_ONCE):
            found = distances(pool.standard, pool.standard[new[start : start + _AT_ONCE]])
            self._nearest = np.minimum(self._nearest, found.min(axis=1))
        self._covered = now
        return self._nearest


def _known(pool: Pool, candidates: Sequence[str], seed: int) -> tuple[list[str], list[str]]:
    """The candidates that the pool knows, and those it does not; by chance, so that ties fall to no folder."""
    order = shuffled(candidates, seed)
    return [image for image in order if image in pool.row], [image for image in order if image not in pool.row]
