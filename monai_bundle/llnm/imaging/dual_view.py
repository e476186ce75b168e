"""Two views stored side by side in one frame: where they meet, and each of them alone.

Comes in: a frame. Goes out: the columns of the seam, or the left and the right half as frames of their own.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from llnm.case import Box, UltrasoundImage
from llnm.errors import InputError
from llnm.imaging.scan_area import find_scan_area

CENTRAL = (0.45, 0.55)
"""Share of the scan area's width within which the seam of a dual view lies."""
NEIGHBOURHOOD = 0.06
"""Share of that width around the seam that belongs to it: the gap between the views."""
MIN_RATIO = 1.4
"""Seam against the next sharpest column (ddti: dual views 1.5-8.5, single views 0.9-1.2)."""
GAP_EDGE = 0.5
"""The other edge of a gap is at least this sharp, relative to the seam, and the gap this dark, relative to the scan."""
ECHO = 0.06
"""Luminance above which a pixel takes part: black tells nothing of a seam."""


def split_dual_view(image: UltrasoundImage) -> tuple[UltrasoundImage, UltrasoundImage]:
    """The left and the right view of a side-by-side frame, with the frame's spacing.

    Raises InputError where no seam is found.
    """
    seam = find_seam(image)
    if seam is None:
        raise InputError("dual view: no seam is found in the middle of the frame; use the frame as a single view")
    return _columns(image, 0, seam[0]), _columns(image, seam[1], image.shape[1])


def find_seam(image: UltrasoundImage, area: Box | None = None) -> tuple[int, int] | None:
    """The columns where the left view ends and the right one begins (equal without a gap), or None for a single view.

    The seam is the column, near the middle of the scan area, across which the luminance jumps on average over the rows
    far more than across any other: speckle is smooth from column to column, two unrelated views are not.
    """
    area = area or find_scan_area(image)
    pixels = image.pixels[area.slices]
    height, width = pixels.shape
    jump = np.abs(np.diff(pixels, axis=1))
    echo = np.maximum(pixels[:, 1:], pixels[:, :-1]) > ECHO
    count = echo.sum(axis=0)
    sharpness = np.where(count > 0.2 * height, (jump * echo).sum(axis=0) / np.maximum(count, 1), 0)
    first, last = (round(share * width) for share in CENTRAL)
    if last - first < 2:
        return None
    seam = first + int(sharpness[first:last].argmax())
    reach = round(NEIGHBOURHOOD * width)
    elsewhere = sharpness[width // 10 : -(width // 10) or None].copy()
    elsewhere[max(0, seam - width // 10 - reach) : seam - width // 10 + reach + 1] = 0
    if sharpness[seam] <= MIN_RATIO * elsewhere.max():
        return None
    edges = [seam]
    near = np.arange(max(0, seam - reach), min(width - 1, seam + reach + 1))
    for column in near[sharpness[near] > GAP_EDGE * sharpness[seam]]:
        low, high = sorted((seam, int(column)))
        if high - low > 2 and pixels[:, low + 2 : high].mean() < GAP_EDGE * pixels.mean():
            edges.append(int(column))
    return area.left + min(edges) + 1, area.left + max(edges) + 1


def _columns(image: UltrasoundImage, left: int, right: int) -> UltrasoundImage:
    region = image.region
    if region is not None:
        region = replace(region, left=max(region.left, left) - left, right=min(region.right, right) - left)
        region = region if min(region.shape) > 0 else None
    return replace(
        image,
        pixels=np.ascontiguousarray(image.pixels[:, left:right]),
        colour=None if image.colour is None else np.ascontiguousarray(image.colour[:, left:right]),
        region=region,
    )
