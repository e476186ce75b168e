"""Marks that a sonographer or the machine drew over the echo: caliper crosses, dotted lines, coloured labels.

Comes in: a frame and the outline of its scan. Goes out: the pixels that are drawn, and an image without them. White
marks are taken only by their shape (a cross, a row of equal dots), for a bright spot may be a microcalcification.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import cKDTree

from llnm.case import GreyImage, Mask, UltrasoundImage
from llnm.imaging.frame import COLOUR_CHROMA, chroma

MAX_COLOURED_SHARE = 0.03
"""Coloured marks that cover more of the scan than this are no marks (a tint, flow): they are left alone."""
MARK_RISE = 0.25
"""How much brighter than its surround, and MARK_WHITE how bright, a white mark is (0-1)."""
MARK_WHITE = 0.75
EVEN = 0.06
"""Largest range (40th to 90th percentile: its core, without the blurred rim) of a white mark's brightness."""
CROSS_SIZE = (6, 31)
"""Smallest and largest side, in pixels, of a caliper cross."""
DOT_SIZE = 4
"""Largest side, in pixels, of a dot of a dotted line."""
EIGHT = np.ones((3, 3), dtype=bool)
"""Pixels that touch at a side or a corner belong together."""
MIN_DOTS = 6
DOT_STEP = (3.0, 24.0)
DOT_TOLERANCE = 1.2


def find_overlays(image: UltrasoundImage, outline: Mask) -> Mask:
    """Pixels inside `outline` that show a drawn mark and not the echo, (row, column) bool."""
    drawn = _white_marks(image.pixels)
    if image.colour is not None:
        coloured = (chroma(image.colour) > COLOUR_CHROMA) & outline
        if coloured.sum() <= MAX_COLOURED_SHARE * outline.sum():
            drawn |= coloured
    # One pixel more: the blur of the coding around a mark, and the dark rim that some machines draw.
    return ndimage.binary_dilation(drawn, EIGHT) & outline if drawn.any() else drawn


def fill(pixels: GreyImage, holes: Mask, sigma: float = 2.0) -> GreyImage:
    """The image with `holes` filled by the Gaussian-weighted mean of what surrounds them (normalised convolution)."""
    if not holes.any():
        return pixels
    filled = pixels.copy()
    labels, _ = ndimage.label(ndimage.binary_dilation(holes, EIGHT, iterations=4))
    margin = round(4 * sigma)
    for rows, columns in ndimage.find_objects(labels):
        window = (
            slice(max(0, rows.start - margin), rows.stop + margin),
            slice(max(0, columns.start - margin), columns.stop + margin),
        )
        hole = holes[window]
        filled[window][hole] = _smooth_inside(pixels[window], hole, sigma)[hole]
    return filled


def _smooth_inside(pixels: GreyImage, hole: Mask, sigma: float) -> GreyImage:
    known = (~hole).astype(np.float32)
    if not known.any():
        return pixels
    while True:
        weight = ndimage.gaussian_filter(known, sigma)
        if weight[hole].min() > 1e-3:
            smooth = ndimage.gaussian_filter(pixels * known, sigma) / np.maximum(weight, 1e-6)
            return smooth.astype(np.float32, copy=False)
        sigma *= 2  # a hole wider than the kernel


def _white_marks(pixels: GreyImage) -> Mask:
    """Crosses and rows of dots among the small things that stand out sharply and nearly white."""
    drawn = np.zeros(pixels.shape, dtype=bool)
    white = pixels > MARK_WHITE
    if not white.any():
        return drawn
    opened = ndimage.maximum_filter(ndimage.minimum_filter(pixels, DOT_SIZE + 1), DOT_SIZE + 1)
    labels, count = ndimage.label(white & (pixels - opened > MARK_RISE), EIGHT)
    if count == 0:
        return drawn
    dots, centres = [], []
    for index, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
        if max(rows.stop - rows.start, columns.stop - columns.start) <= DOT_SIZE:
            dots.append(index)
            centres.append(((rows.start + rows.stop) / 2, (columns.start + columns.stop) / 2))
    if len(dots) >= MIN_DOTS:
        drawn |= np.isin(labels, np.array(dots)[_in_rows(np.array(centres))])
    # Some machines leave the middle of a cross open, so its arms are joined first.
    joined, _ = ndimage.label(ndimage.binary_closing(labels > 0, EIGHT), EIGHT)
    for index, window in enumerate(ndimage.find_objects(joined), start=1):
        height, width = (part.stop - part.start for part in window)
        if CROSS_SIZE[0] <= min(height, width) and max(height, width) <= CROSS_SIZE[1]:
            piece = joined[window] == index
            if _is_cross(piece) and _is_even(pixels[window][piece]):
                drawn[window] |= piece
    return drawn


def _is_cross(piece: Mask) -> bool:
    """Whether a piece is a plus or an x: about square, thin, four arms that meet in its middle."""
    height, width = piece.shape
    if not 0.7 < height / width < 1.43 or piece.mean() > 0.55:
        return False
    rows, columns = np.nonzero(piece)
    down, across = (rows + 0.5) / height - 0.5, (columns + 0.5) / width - 0.5
    half_width = max(0.12, 1.6 / min(height, width))
    for first, second in ((down, across), ((down + across), (down - across))):
        on_first, on_second = np.abs(first) <= half_width, np.abs(second) <= half_width
        reach = 0.35 if first is down else 0.6
        arms = (
            (on_second & (first < -reach)).any(),
            (on_second & (first > reach)).any(),
            (on_first & (second < -reach)).any(),
            (on_first & (second > reach)).any(),
        )
        if all(arms) and (on_first | on_second).mean() > 0.85:
            return True
    return False


def _is_even(values: GreyImage) -> bool:
    """Whether a piece has one brightness, as a drawn mark has and echo has not."""
    low, high = np.percentile(values, (40, 90))
    return bool(high - low < EVEN)


def _in_rows(centres: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Which points belong to a straight row of at least MIN_DOTS equally spaced points.

    Every point and each of its four neighbours start a row; all rows grow together, a point a round, while one lies
    where the row's mean step points to.
    """
    tree = cKDTree(centres)
    near = np.asarray(tree.query(centres, k=min(5, len(centres)))[1])
    rows = np.stack([np.repeat(near[:, 0], near.shape[1] - 1), near[:, 1:].ravel()], axis=1)
    length = np.hypot(*(centres[rows[:, 1]] - centres[rows[:, 0]]).T)
    rows = rows[(length >= DOT_STEP[0]) & (length <= DOT_STEP[1])]
    chosen = np.zeros(len(centres), dtype=bool)
    while len(rows):
        step = (centres[rows[:, -1]] - centres[rows[:, 0]]) / (rows.shape[1] - 1)
        distance, following = tree.query(centres[rows[:, -1]] + step)
        rows = np.column_stack([rows, following])[distance <= DOT_TOLERANCE]
        if rows.shape[1] >= MIN_DOTS:
            chosen[rows] = True
    return chosen
