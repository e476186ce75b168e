"""Where on the frame the B-mode echo is: without rulers, logos, burnt-in text, grey bars and the edge of the screen.

Comes in: a frame as `load_image` gives it. Goes out: the rectangle (`find_scan_area`) or the tighter outline
(`find_scan_outline`) that holds the echo; both are generous where echo and surround look alike (a shadow at the side).

The echo differs from what surrounds it in two ways that survive any gain, any background grey and a photograph of the
screen: it has speckle, the surround has none; and it is brighter than the surround's slowly varying grey. What
shows either and hangs together is the scan; text, ticks and icons are small or thin, so an opening parts them from it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.morphology import convex_hull_image

from llnm.case import Box, GreyImage, Mask, UltrasoundImage

Array = npt.NDArray[np.float32]

WORK_SIZE = 320
"""Longest side, in pixels, of the reduced image on which the outline is found."""
DARK = 64
"""Grey levels (of 256) that a scanner's surround may have."""
FLAT_SHARE = 0.02
"""Share of the frame that one dark grey level must cover to be a drawn surround."""
FLATNESS = 0.7
"""Share of that level's pixels that must equal their neighbours (drawn 0.84-0.96, photographs 0-0.62 on our data)."""
SCREENSHOT_DIFFERENCE = 5 / 255
"""Mean difference from an even surround that makes a place echo; coding noise of a JPEG stays mostly below it."""
SOLID = 0.6
"""Share of a 3 x 3 neighbourhood that must differ from the surround."""
PHOTOGRAPH_DIFFERENCE = 0.2
"""How much brighter than the surround's median a smooth place on a photograph must be; uneven light stays below it."""
SURROUND_CONTRAST = 0.015
"""Local standard deviation (of 0-1) below which a place on a photograph of a screen is surround."""
OPENING = 0.05
"""Things thinner than this share of the shorter side are no scan: text, ticks, grey bars."""
PIECE_SHARE = 0.3
"""A second piece of echo counts if it is at least this large, relative to the largest."""
MIN_SHARE = 0.05
"""An echo that covers less of the frame than this is not believed: the whole frame is taken instead."""


def find_scan_area(image: UltrasoundImage) -> Box:
    """The rectangle of the B-mode echo.

    A region that the DICOM file declares (`image.region`) is taken as it stands. Otherwise the rectangle around
    `find_scan_outline`. The whole frame where no surround can be told from the echo.
    """
    if image.region is not None:
        return image.region
    return bounding_box(find_scan_outline(image))


def find_scan_outline(image: UltrasoundImage) -> Mask:
    """The convex outline of the echo, (row, column) bool, the frame's size.

    Tighter than the rectangle for sector and trapezoid scans, whose corners hold rulers and body marks. Inside
    `image.region` where the file declares one.
    """
    outline = np.zeros(image.shape, dtype=bool)
    window = (image.region or Box(0, 0, *image.shape)).slices
    outline[window] = _outline(image.pixels[window])
    return outline


def bounding_box(mask: Mask) -> Box:
    """The smallest rectangle around the true pixels of a mask that has some."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)


def _outline(pixels: GreyImage) -> Mask:
    factor = max(1, -(-max(pixels.shape) // WORK_SIZE))
    small = _reduce(pixels, factor)
    surround = _flat_surround(pixels)
    echo = _echo_on_screenshot(small, surround) if surround is not None else _echo_on_photograph(small)
    pieces = _large_pieces(echo)
    if pieces.mean() < MIN_SHARE:
        return np.ones(pixels.shape, dtype=bool)
    hull = convex_hull_image(ndimage.maximum_filter(pieces, 3))
    full = np.repeat(np.repeat(hull, factor, axis=0), factor, axis=1)
    missing = [(0, max(0, size - have)) for size, have in zip(pixels.shape, full.shape, strict=True)]
    return np.pad(full, missing, mode="edge")[: pixels.shape[0], : pixels.shape[1]]


def _reduce(pixels: GreyImage, factor: int) -> Array:
    """Block means."""
    rows, columns = (size // factor for size in pixels.shape)
    blocks = pixels[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor)
    return blocks.mean(axis=(1, 3)) if factor > 1 else pixels


def _flat_surround(pixels: GreyImage) -> float | None:
    """The dark grey that a scanner draws around its scan; None on a photograph of a screen.

    Drawn grey is flat: most pixels of that value equal their neighbours. In the noise of a photograph, and in a deep
    part of the scan without echo, they do not.
    """
    grey = (pixels * 255 + 0.5).astype(np.uint8)
    corner = grey[:-1, :-1]
    flat = (corner == grey[1:, :-1]) & (corner == grey[:-1, 1:]) & (corner == grey[1:, 1:])
    flat_counts = np.bincount(corner[flat], minlength=256)[:DARK]
    counts = np.bincount(grey.ravel(), minlength=256)[:DARK]
    flat_counts[(flat_counts < FLAT_SHARE * pixels.size) | (flat_counts < FLATNESS * counts)] = 0
    level = int(flat_counts.argmax())
    return level / 255 if flat_counts[level] else None


def _echo_on_screenshot(small: Array, surround: float) -> Mask:
    """Where nearly all pixels of a neighbourhood differ from the drawn surround, so that lines of text fall apart."""
    differs = (np.abs(small - surround) > SCREENSHOT_DIFFERENCE).astype(np.float32)
    return ndimage.uniform_filter(differs, 3) > SOLID


def _echo_on_photograph(small: Array) -> Mask:
    """Where the image has speckle or is clearly brighter than the smooth dark surround."""
    mean = ndimage.uniform_filter(small, 5)
    contrast = np.sqrt(np.maximum(ndimage.uniform_filter(small * small, 5) - mean * mean, 0))
    smooth = (contrast < SURROUND_CONTRAST) & (mean < DARK / 255)
    surround = float(np.median(mean[smooth])) if smooth.any() else 0.0
    speckle = ndimage.minimum_filter(contrast, 3) > SURROUND_CONTRAST
    return speckle | (mean > surround + PHOTOGRAPH_DIFFERENCE)


def _large_pieces(echo: Mask) -> Mask:
    """The largest connected piece, and others of its order (the second half of a dual view).

    Thin and small things are opened away first, small gaps are closed.
    """
    size = max(3, round(OPENING * min(echo.shape)))
    padded = np.pad(echo, size, mode="edge").astype(np.uint8)
    closed = ndimage.minimum_filter(ndimage.maximum_filter(padded, 3), 3)
    opened = ndimage.maximum_filter(ndimage.minimum_filter(closed, size), size, origin=-(1 - size % 2))
    labels, count = ndimage.label(opened[size:-size, size:-size])
    if count == 0:
        return labels > 0
    areas = np.bincount(labels.ravel())[1:]
    return np.isin(labels, np.flatnonzero(areas > PIECE_SHARE * areas.max()) + 1)
