"""The strategies: which of the images that nobody has should be annotated next.

Comes in: a `Pool`, and from the campaign the candidates, the images already covered and how many are wanted. Goes out:
that many candidates, the best one in front. The same pool, question and seed give the same answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from lib.activelearning.pool import Pool
from lib.campaign.chance import shuffled
from lib.campaign.types import Strategy
from scipy.spatial.distance import cdist

Floats = npt.NDArray[np.floating]
PoolSource = Callable[[], Pool]


def strategies(pool: PoolSource, seed: int = 0) -> dict[str, Strategy]:
    """All strategies by name. `pool` is asked at each choice, so that a new model's uncertainties count at once."""

    def by(choose: Callable[[Pool, Sequence[str], Sequence[str], int, int], list[str]]) -> Strategy:
        return lambda candidates, covered, count: choose(pool(), candidates, covered, count, seed)

    return {
        "random": random_strategy(seed),
        "uncertainty": by(_uncertain),
        "diversity": by(_diverse),
        "hybrid": by(_hybrid),
    }


def random_strategy(seed: int = 0) -> Strategy:
    """Chance, as control: an order that hangs on seed and image alone, so that new images move no old ones."""
    return lambda candidates, covered, count: shuffled(candidates, seed)[:count]


def farthest_first(features: Floats, covered: Floats, count: int, weight: Floats | None = None) -> list[int]:
    """Rows of `features` (N, D), chosen one by one: each the farthest from all chosen and `covered` (M, D) ones.

    Greedy k-center (Gonzalez 1985; for active learning Sener and Savarese, ICLR 2018). `weight` (N,) multiplies the
    distance. Where nothing is covered yet, the first one is the nearest to the mean: the most typical image.
    """
    weight = np.ones(len(features)) if weight is None else weight
    left = np.ones(len(features), dtype=bool)
    chosen: list[int] = []
    if len(covered):
        nearest = cdist(features, covered).min(axis=1)
    else:
        nearest = 1 / (1e-12 + cdist(features, features.mean(axis=0, keepdims=True))[:, 0])
    while len(chosen) < min(count, len(features)):
        best = int(np.argmax(np.where(left, nearest * weight, -np.inf)))
        distance = cdist(features, features[best : best + 1])[:, 0]
        nearest = np.minimum(nearest, distance) if chosen or len(covered) else distance
        left[best] = False
        chosen.append(best)
    return chosen


def _uncertain(pool: Pool, candidates: Sequence[str], covered: Sequence[str], count: int, seed: int) -> list[str]:
    known, unknown = _known(pool, candidates, seed)
    value = pool.uncertainty[[pool.row[image] for image in known]]
    order = np.argsort(-np.nan_to_num(value, nan=-1.0), kind="stable")
    return [*(known[index] for index in order), *unknown][:count]


def _diverse(pool: Pool, candidates: Sequence[str], covered: Sequence[str], count: int, seed: int) -> list[str]:
    known, unknown = _known(pool, candidates, seed)
    return [*_spread(pool, known, covered, count), *unknown][:count]


def _hybrid(pool: Pool, candidates: Sequence[str], covered: Sequence[str], count: int, seed: int) -> list[str]:
    """Farthest first, each distance times the uncertainty: unsure, and unlike what is there and what is chosen."""
    known, unknown = _known(pool, candidates, seed)
    value = np.nan_to_num(pool.uncertainty[[pool.row[image] for image in known]], nan=1.0)
    return [*_spread(pool, known, covered, count, value), *unknown][:count]


def _spread(
    pool: Pool, known: Sequence[str], covered: Sequence[str], count: int, weight: Floats | None = None
) -> list[str]:
    if not known:
        return []
    near = pool.standard[[pool.row[image] for image in covered if image in pool.row]]
    chosen = farthest_first(pool.standard[[pool.row[image] for image in known]], near, count, weight)
    return [known[index] for index in chosen]


def _known(pool: Pool, candidates: Sequence[str], seed: int) -> tuple[list[str], list[str]]:
    """The candidates that the pool knows, and those it does not; by chance, so that ties fall to no folder."""
    order = shuffled(candidates, seed)
    return [image for image in order if image in pool.row], [image for image in order if image not in pool.row]
