"""Colour Doppler: whether a frame shows flow, and how much of it lies inside a nodule and at its margin.

Comes in: a frame with colour and a nodule mask. Goes out: a yes or no, and a Vascularity. Reported beside the
prediction, never given to the B-mode networks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from llnm.case import ColourImage, Mask, Spacing, UltrasoundImage
from llnm.errors import InputError
from llnm.imaging.frame import LUMA, chroma
from llnm.imaging.scan_area import find_scan_outline

Pattern = Literal["none", "peripheral", "central", "mixed"]

FLOW_CHROMA = 50
"""Largest minus smallest channel (0-255) of a flow pixel."""
FLOW_CORE = 40
"""How far red, or blue, leads the other two channels in the core of a flow signal."""
MIN_FLOW_SHARE = 5e-4
"""Share of the scan that must show flow cores before a frame counts as colour Doppler."""
BRIGHT = 25
"""Luminance (0-255) from which a pixel tells the tint of the frame."""
MARGIN_MM = 1.5
MARGIN_SHARE = 0.1
"""Half the ring's width where spacing is unknown, as a share of the nodule's equivalent diameter."""
NO_FLOW = 0.01
"""Coloured share below which neither margin nor centre is called vascular."""
DOMINANCE = 2.0
"""Margin or centre dominates if it is coloured this many times as densely as the other."""


@dataclass(frozen=True)
class Vascularity:
    """Flow signals of one nodule.

    `inside_fraction`: coloured share of the nodule's pixels (0-1). `margin_fraction`: coloured share of the ring along
    its contour. `centre_fraction`: coloured share of the nodule without the ring. `pattern`: `none` if margin and
    centre are coloured on less than 1 %; `peripheral` if the margin is coloured at least twice as densely as the
    centre, `central` the other way round, else `mixed`. `margin_px`: how far the ring reaches to either side of the
    contour, in pixels of the finer axis.
    """

    inside_fraction: float
    margin_fraction: float
    centre_fraction: float
    pattern: Pattern
    margin_px: float


def is_colour_doppler(image: UltrasoundImage, outline: Mask | None = None) -> bool:
    """Whether the scan shows flow in red or blue.

    False for coloured letters and calipers (thin, or neither red nor blue), for tinted B-mode and photographs of a
    screen (their tint is taken off first), and for a Doppler frame without any flow signal, which nobody can tell.
    `outline` saves finding the scan again.
    """
    if image.colour is None or (chroma(image.colour) > FLOW_CHROMA).mean() < MIN_FLOW_SHARE / 10:
        return False
    outline = find_scan_outline(image) if outline is None else outline
    core = _cores(_without_tint(image.colour, outline)) & outline
    return bool(core.sum() >= MIN_FLOW_SHARE * outline.sum())


def find_flow(image: UltrasoundImage) -> Mask:
    """Pixels with flow colours, (row, column) bool: coloured pieces that hold a red or blue core (so mosaics count)."""
    if image.colour is None:
        return np.zeros(image.shape, dtype=bool)
    outline = find_scan_outline(image)
    balanced = _without_tint(image.colour, outline)
    coloured = balanced.max(axis=2) - balanced.min(axis=2) > FLOW_CHROMA
    return ndimage.binary_propagation(_cores(balanced) & coloured, mask=coloured) & outline


def measure_vascularity(
    image: UltrasoundImage, nodule_mask: Mask, spacing_mm: float | Spacing | None = None
) -> Vascularity:
    """Flow inside a nodule and at its margin.

    The margin is the ring that reaches 1.5 mm to either side of the contour (a tenth of the equivalent diameter where
    the spacing is unknown), but never over half of the nodule's largest inner radius, so that a centre is left.
    `spacing_mm` goes before the image's own.

    Raises InputError for a frame without colour, a mask of another size, an empty mask.
    """
    if image.colour is None:
        raise InputError("colour Doppler: the frame has no colour; give the Doppler frame, or leave it out")
    if nodule_mask.shape != image.shape:
        raise InputError(
            f"colour Doppler nodule mask: its size {nodule_mask.shape} differs from the frame's {image.shape} "
            "(rows, columns); draw it on the same frame"
        )
    if not nodule_mask.any():
        raise InputError("colour Doppler nodule mask: it is empty; draw the nodule")
    spacing = image.spacing_mm if spacing_mm is None else spacing_mm
    sampling = (spacing, spacing) if isinstance(spacing, (int, float)) else spacing
    ring, centre, width = _ring_and_centre(nodule_mask, sampling)
    flow = find_flow(image)
    margin, middle = float(flow[ring].mean()), float(flow[centre].mean())
    return Vascularity(float(flow[nodule_mask].mean()), margin, middle, _pattern(margin, middle), width)


def _pattern(margin: float, centre: float) -> Pattern:
    if max(margin, centre) < NO_FLOW:
        return "none"
    if margin >= DOMINANCE * centre:
        return "peripheral"
    return "central" if centre >= DOMINANCE * margin else "mixed"


def _ring_and_centre(nodule: Mask, sampling: Spacing | None) -> tuple[Mask, Mask, float]:
    """The ring along the contour, what is left of the nodule, and the ring's half width in pixels."""
    scale = sampling or (1.0, 1.0)
    padded = np.pad(nodule, 1)  # the frame's edge is a contour too
    depth = ndimage.distance_transform_edt(padded, sampling=scale)[1:-1, 1:-1]
    outside = ndimage.distance_transform_edt(~nodule, sampling=scale)
    diameter = 2 * float(np.sqrt(nodule.sum() * scale[0] * scale[1] / np.pi))
    width = min(MARGIN_MM if sampling else MARGIN_SHARE * diameter, float(depth.max()) / 2)
    centre = nodule & (depth > width)
    ring = np.where(nodule, depth, outside) <= max(width, min(scale))
    return ring & ~centre, centre, width / min(scale)


def _without_tint(colour: ColourImage, outline: Mask) -> npt.NDArray[np.float32]:
    """Each channel divided by its median share of the scan's luminance, so that the scan's greys are grey."""
    values = colour.astype(np.float32)
    scan = values[outline]
    scan = scan[:: max(1, len(scan) // 20000)]
    luminance = scan @ LUMA
    bright = luminance > BRIGHT
    if not bright.any():
        return values
    share = np.median(scan[bright] / luminance[bright, None], axis=0)
    return values / np.maximum(share, 0.05).astype(np.float32)


def _cores(balanced: npt.NDArray[np.float32]) -> Mask:
    """Red or blue patches at least three pixels thick."""
    red, green, blue = balanced[..., 0], balanced[..., 1], balanced[..., 2]
    flow = (red - np.maximum(green, blue) > FLOW_CORE) | (blue - np.maximum(red, green) > FLOW_CORE)
    return ndimage.binary_opening(flow, np.ones((3, 3), dtype=bool))
