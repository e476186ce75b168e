"""Two atlases side by side.

Comes in: two atlases of the same template or of two. Goes out: their correlation with an interval, and a map of the
difference on the first one's grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llnm.atlas.model import Atlas, Volume
from llnm.errors import InputError

BLOCK_MM = 8.0
_DRAWS = 1000


@dataclass(frozen=True)
class Comparison:
    """`correlation` (Pearson, over voxels that both know) with its 95 % `interval`; `difference` = first - second.

    The interval comes from a bootstrap over blocks of BLOCK_MM, since neighbouring voxels are no independent evidence;
    None where there are fewer than five blocks. `mean_difference` over the same `voxels`.
    """

    correlation: float | None
    interval: tuple[float, float] | None
    mean_difference: float
    voxels: int
    difference: Volume


def compare(first: Atlas, second: Atlas, seed: int = 0) -> Comparison:
    """Compare two atlases in RAS millimetres; the second is looked up at the first one's voxels.

    Raises InputError where they have no voxel with evidence in common. The correlation is None where one is constant.
    """
    inside = np.argwhere(np.isfinite(first.risk))
    there = np.round(second.template.index(first.template.position(inside))).astype(int)
    held = ((there >= 0) & (there < second.risk.shape)).all(axis=1)
    inside, there = inside[held], there[held]
    a, b = first.risk[tuple(inside.T)].astype(float), second.risk[tuple(there.T)].astype(float)
    both = np.isfinite(b)
    inside, a, b = inside[both], a[both], b[both]
    if not len(a):
        raise InputError("atlases: they have no place with evidence in common; compare atlases of the same template")
    difference = np.full(first.risk.shape, np.nan, np.float32)
    difference[tuple(inside.T)] = a - b
    correlation, interval = None, None
    if np.ptp(a) > 1e-9 and np.ptp(b) > 1e-9:
        correlation = float(np.corrcoef(a, b)[0, 1])
        blocks = np.floor(first.template.position(inside) / BLOCK_MM).astype(int)
        interval = _interval(a, b, np.unique(blocks, axis=0, return_inverse=True)[1].ravel(), seed)
    return Comparison(correlation, interval, float((a - b).mean()), len(a), difference)


def _interval(a: np.ndarray, b: np.ndarray, block: np.ndarray, seed: int) -> tuple[float, float] | None:
    """The correlation's 95 % interval from sums over blocks that are drawn with replacement."""
    count = int(block.max()) + 1
    if count < 5:
        return None
    sums = np.stack([np.bincount(block, values, count) for values in (np.ones_like(a), a, b, a * a, b * b, a * b)])
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=_DRAWS)
    n, sa, sb, saa, sbb, sab = sums @ drawn.T
    with np.errstate(invalid="ignore", divide="ignore"):
        values = (n * sab - sa * sb) / np.sqrt((n * saa - sa**2) * (n * sbb - sb**2))
    low, high = np.nanquantile(values, (0.025, 0.975)).tolist()
    return low, high
