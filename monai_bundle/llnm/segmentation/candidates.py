"""From a probability map to masks: the components that count, and which of them is meant.

Comes in: a probability map, (row, column) 0-1, and perhaps a click or a box. Goes out: masks of all candidates, and
the target among them.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from llnm.case import GreyImage, Mask, Structure
from llnm.errors import InputError

PROBABILITY_THRESHOLD = 0.5
# A connected component smaller than this share of the frame is speckle, not a nodule or a gland.
SMALLEST_SHARE = 2e-4
# The gland may be seen in parts (isthmus, two lobes); a part smaller than this share of the largest is no gland.
GLAND_PART = 0.1
# Where a user clicks, the network need not be sure; below this probability it sees nothing at all.
LEAST_AT_CLICK = 0.1


def find_candidates(
    probability: GreyImage, structure: Structure, level: float = PROBABILITY_THRESHOLD
) -> tuple[Mask, ...]:
    """Connected components above `level`, holes filled, largest first; speckle-sized ones are dropped."""
    found = components(ndimage.binary_fill_holes(probability > level))
    largest = float(found[0].sum()) if found else 0.0
    smallest = max(SMALLEST_SHARE * probability.size, GLAND_PART * largest if structure == "gland" else 0.0)
    return tuple(mask for mask in found if mask.sum() >= smallest)


def level_at(probability: GreyImage, point: tuple[float, float] | None) -> float:
    """The level at which to cut `probability`: 0.5, or lower where a user clicked on something less sure than that.

    Whoever clicks knows that something is there; cut just below the probability at the click, its component holds it.
    """
    if point is None or not (0 <= point[0] < probability.shape[1] and 0 <= point[1] < probability.shape[0]):
        return PROBABILITY_THRESHOLD
    here = float(probability[int(point[1]), int(point[0])])
    return 0.9 * here if LEAST_AT_CLICK <= here <= PROBABILITY_THRESHOLD else PROBABILITY_THRESHOLD


def components(mask: Mask) -> tuple[Mask, ...]:
    """The connected components of a mask, largest first."""
    labels, count = ndimage.label(mask)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    return tuple(labels == index + 1 for index in np.argsort(-sizes, kind="stable"))


def union(candidates: tuple[Mask, ...], shape: tuple[int, ...]) -> Mask:
    """All candidates in one mask of `shape` (rows, columns); empty where there are none."""
    return np.any(candidates, axis=0) if candidates else np.zeros(shape, dtype=bool)


def choose(
    candidates: tuple[Mask, ...],
    structure: Structure,
    shape: tuple[int, ...],
    *,
    point: tuple[float, float] | None = None,
    box: tuple[float, float, float, float] | None = None,
) -> Mask:
    """The target among `candidates`: the largest (a gland: all), or the one at `point` or in `box`; see `segment`."""
    if point is None and box is None:
        if not candidates:
            return np.zeros(shape, dtype=bool)
        return union(candidates, shape) if structure == "gland" else candidates[0]
    rows, columns = shape
    if point is not None:
        x, y = point
        if not (0 <= x < columns and 0 <= y < rows):
            raise InputError(f"point: {x:g},{y:g} is outside the image of {columns}x{rows} pixels; give X,Y inside it")
        hits = [mask[int(y), int(x)] for mask in candidates]
        what = f"point {x:g},{y:g}"
    else:
        assert box is not None
        x0, y0, x1, y1 = box
        if not (0 <= x0 < x1 <= columns and 0 <= y0 < y1 <= rows):
            raise InputError(f"box: {box} does not lie inside the image of {columns}x{rows} pixels; give X0,Y0,X1,Y1")
        hits = [mask[int(y0) : int(np.ceil(y1)), int(x0) : int(np.ceil(x1))].sum() for mask in candidates]
        what = f"box {x0:g},{y0:g},{x1:g},{y1:g}"
    if not any(hits):
        raise InputError(f"{what}: no {structure} was found there; point at another place or give a mask")
    return candidates[int(np.argmax(hits))]
