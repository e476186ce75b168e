"""From a frame as it is stored to the frame that networks and features see: echo alone, brightness standardised.

Comes in: an UltrasoundImage. Goes out: a PreparedImage of the same size, so that masks still fit; nothing is resized.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from llnm.case import Box, GreyImage, Mask, Spacing, UltrasoundImage
from llnm.errors import InputError
from llnm.imaging.doppler import is_colour_doppler
from llnm.imaging.dual_view import find_seam
from llnm.imaging.frame import COLOUR_CHROMA, chroma
from llnm.imaging.overlays import fill, find_overlays
from llnm.imaging.scan_area import bounding_box, find_scan_outline

PERCENTILES = (1.0, 99.0)
TARGET_RANGE = (0.1, 0.9)
MIN_CONTRAST = 0.02
SATURATED = 254 / 255
LOW_CONTRAST = 0.15
MANY_SATURATED = 0.05
SMALL_SCAN = 0.2


@dataclass(frozen=True)
class PreparedImage:
    """One frame, ready for networks and features.

    `bmode`: (row, column) float32, 0-1, the size of the frame it came from, 0 outside the scan. `scan_area`: the
    rectangle of the scan. `spacing_mm`: (row, column) millimetres per pixel or None. `quality`: `scan_area_fraction`
    (of the frame), `contrast` (99th minus 1st percentile before standardising), `saturated_fraction` and
    `colour_fraction` (of the scan's pixels), `overlay_fraction` (of the scan's pixels, filled in).
    """

    bmode: GreyImage
    scan_area: Box
    spacing_mm: Spacing | None = None
    warnings: tuple[str, ...] = ()
    quality: dict[str, float] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.bmode.shape[0], self.bmode.shape[1]


def prepare(image: UltrasoundImage) -> PreparedImage:
    """The B-mode echo of a frame without what surrounds it or is drawn on it, brightness standardised.

    Outside the scan's outline (sector scans: their slanted sides) all is 0. Small drawn marks are filled in from around
    them. Warnings name what makes the frame a doubtful B-mode view.

    Raises InputError where the scan has no contrast.
    """
    outline = find_scan_outline(image)
    area = image.region or bounding_box(outline)
    doppler = is_colour_doppler(image, outline)
    overlays = np.zeros_like(outline) if doppler else find_overlays(image, outline)
    echo = fill(image.pixels, overlays)
    inside = echo[outline]
    low, high = np.percentile(inside, PERCENTILES)
    coloured = 0.0 if image.colour is None else float((chroma(image.colour)[outline] > COLOUR_CHROMA).mean())
    quality = {
        "scan_area_fraction": area.shape[0] * area.shape[1] / outline.size,
        "contrast": float(high - low),
        "saturated_fraction": float((inside >= SATURATED).mean()),
        "colour_fraction": coloured,
        "overlay_fraction": float(overlays.sum() / outline.sum()),
    }
    bmode = np.where(outline, _stretch(echo, float(low), float(high)), np.float32(0))
    notes = image.warnings + _notes(quality, doppler, find_seam(image, area) is not None)
    return PreparedImage(bmode, area, image.spacing_mm, notes, quality)


def standardise_brightness(pixels: GreyImage, inside: Mask | Box) -> GreyImage:
    """Percentiles 1 and 99 of the pixels `inside` go to 10 % and 90 % of the range: the paper's standardisation.

    `out = clip(0.1 + 0.8 (pixels - p1) / (p99 - p1), 0, 1)`, with `p1`, `p99` by linear interpolation. All pixels are
    mapped, those outside too.

    Raises InputError where nothing is inside or p1 equals p99.
    """
    values = pixels[inside.slices] if isinstance(inside, Box) else pixels[inside]
    if values.size == 0:
        raise InputError("image: no pixel lies inside the scan area; give another frame")
    low, high = np.percentile(values, PERCENTILES)
    return _stretch(pixels, float(low), float(high))


def _stretch(pixels: GreyImage, low: float, high: float) -> GreyImage:
    if high - low < MIN_CONTRAST:
        raise InputError("image: the scan has no contrast; give another frame")
    bottom, top = TARGET_RANGE
    scale = np.float32((top - bottom) / (high - low))
    return np.clip(bottom + (pixels - np.float32(low)) * scale, 0, 1).astype(np.float32, copy=False)


def _notes(quality: dict[str, float], doppler: bool, dual: bool) -> tuple[str, ...]:
    found = (
        (doppler, "image: it is colour Doppler; give a B-mode frame for the prediction"),
        (dual, "image: it looks like two views side by side; split it and give each view alone"),
        (quality["contrast"] < LOW_CONTRAST, "image: its contrast is low"),
        (quality["saturated_fraction"] > MANY_SATURATED, "image: much of the scan is saturated (white)"),
        (quality["scan_area_fraction"] < SMALL_SCAN, "image: the scan fills little of the frame"),
    )
    return tuple(text for holds, text in found if holds)
