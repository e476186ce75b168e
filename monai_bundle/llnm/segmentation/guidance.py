"""What a user says by pointing, as a second channel beside the image.

Comes in: a click or a box in pixels of the network's canvas. Goes out: (rows, columns) float32, 0-1: a blob at the
click, or the box filled; zeros where nobody pointed.
"""

from __future__ import annotations

import numpy as np

from llnm.case import GreyImage

# Standard deviation of a click's blob, in canvas pixels: small against a nodule, large against a slip of the hand.
CLICK_SIGMA = 4.0


def guidance_map(
    shape: tuple[int, int],
    *,
    point: tuple[float, float] | None = None,
    box: tuple[float, float, float, float] | None = None,
) -> GreyImage:
    """The guidance channel of a canvas of `shape` for a click `point` (x, y), a `box` (x0, y0, x1, y1), or neither."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    channel = np.zeros(shape, dtype=np.float32)
    if box is not None:
        x0, y0, x1, y1 = box
        channel[(rows >= y0) & (rows < y1) & (columns >= x0) & (columns < x1)] = 1
    if point is not None:
        x, y = point
        blob = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * CLICK_SIGMA**2))
        channel = np.maximum(channel, blob.astype(np.float32))
    return channel
