"""Where a mask lies and how large it is.

Comes in: a boolean mask (row, column). Goes out: its bounding box, its margin, and its width, height, area and ratio.
Rows are depth and columns the transducer's width, so the height is the anteroposterior diameter in both planes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from llnm.case import Box, Mask, Spacing


@dataclass(frozen=True)
class Shape:
    """Extent of a nodule in pixels or, with a spacing, in millimetres; `aspect_ratio` = height / width."""

    width: float
    height: float
    area: float

    @property
    def aspect_ratio(self) -> float:
        """Above 1 the nodule is taller than wide (Kwak 2011, ACR TI-RADS 2017: three points)."""
        return self.height / self.width


def shape_of(mask: Mask, spacing_mm: Spacing | None = None) -> Shape:
    """Width, height and area of everything set in `mask` (shape feature x_s of the paper).

    The width is the extent along columns and the height the extent along rows, both from the outer edge of the first
    pixel to the outer edge of the last, on the mask at its full size. In pixels where `spacing_mm` is None; the aspect
    ratio then takes pixels to be square.
    """
    row, column = spacing_mm or (1.0, 1.0)
    rows, columns = bounding_box(mask).shape
    return Shape(width=columns * column, height=rows * row, area=int(np.count_nonzero(mask)) * row * column)


def bounding_box(mask: Mask) -> Box:
    """The smallest box that holds every pixel of a mask that is not empty."""
    rows = np.flatnonzero(mask.any(axis=1))
    columns = np.flatnonzero(mask.any(axis=0))
    return Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)


def grown(box: Box, pixels: int, shape: tuple[int, ...]) -> Box:
    """The box with `pixels` more on every side, cut off where an image of `shape` ends."""
    return Box(
        max(box.top - pixels, 0),
        max(box.left - pixels, 0),
        min(box.bottom + pixels, shape[0]),
        min(box.right + pixels, shape[1]),
    )


def interior(mask: Mask, *, image_border_is_margin: bool = True) -> Mask:
    """The pixels of `mask` whose four neighbours are set too; what is left of the mask is its one-pixel margin.

    Pixels in the outermost row or column of the image have a neighbour that nobody has seen:
    `image_border_is_margin` says whether that neighbour counts as background.
    """
    inside = np.zeros_like(mask)
    box = grown(bounding_box(mask), 1, mask.shape).slices
    inside[box] = ndimage.binary_erosion(mask[box], border_value=not image_border_is_margin)
    return inside
