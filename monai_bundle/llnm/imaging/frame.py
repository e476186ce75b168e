"""From the numbers of a file to a frame: grey 0-1, colour if there is some, and the limits that a frame must keep.

Comes in: an array of any type, (row, column) or (row, column, channel), and the name of its file. Goes out: checked
float32 luminance, and uint8 colour or None. Shared by the DICOM reader and the readers of all other files.
Errors name the file; warnings, which travel into results, do not, for people put patients' names into file names.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from llnm.case import SPACING_RANGE_MM, ColourImage, GreyImage, Spacing
from llnm.errors import InputError

MIN_SIZE = 32
"""Smallest number of rows or columns of a frame."""
MAX_SIZE = 8192
"""Largest number of rows or columns of a frame."""
MIN_CONTRAST = 0.02
"""Range of luminance below which a frame counts as blank."""
COLOUR_CHROMA = 40
"""Largest minus smallest channel (0-255) above which a pixel has colour; the chroma noise of a JPEG is below."""
COLOUR_SHARE = 5e-5
"""Share of coloured pixels from which a frame counts as coloured: about one small caliper mark at 800 x 600."""
BIT_DEPTHS = (8, 10, 12, 14, 16, 32)
UNIT_SPACING_TOLERANCE = 1e-6
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Rec. 601 luminance, the weighting of JPEG and of DICOM's YBR_FULL."""


def check_size(name: str, rows: int, columns: int, low: int = MIN_SIZE) -> None:
    """Raises InputError unless both sides lie in `low` to MAX_SIZE; for the header, before anything is decoded."""
    if min(rows, columns) < low:
        raise InputError(f"{name}: the image is {columns} x {rows} pixels; give one of at least {low} x {low}")
    if max(rows, columns) > MAX_SIZE:
        raise InputError(
            f"{name}: the image is {columns} x {rows} pixels, over {MAX_SIZE} on a side; give a smaller one"
        )


def choose_frame(name: str, count: int, frame: int | None) -> tuple[int, tuple[str, ...]]:
    """The frame to read, counted from 0, and a warning where the middle one was taken for want of a wish.

    Raises InputError for a frame that the file does not have.
    """
    if frame is None:
        if count == 1:
            return 0, ()
        return count // 2, (f"image file: {count} frames; the middle one ({count // 2}, counted from 0) was taken",)
    if not 0 <= frame < count:
        raise InputError(f"{name}: there is no frame {frame}; give one of 0 to {count - 1}")
    return frame, ()


def to_frame(
    name: str, values: npt.NDArray[np.generic], bits: int | None = None
) -> tuple[GreyImage, ColourImage | None, tuple[str, ...]]:
    """Luminance 0-1, colour or None, and warnings.

    `values`: (row, column), or (row, column, 3 or 4) where a fourth channel is alpha over black. `bits` is the depth
    that the file declares; without it, integers are divided by the largest value of the smallest usual depth that
    holds them (8, 10, 12, 14, 16), so a 12-bit image in 16-bit words is not black; fractions within 0-1 stay.

    Raises InputError for pixels that are neither grey nor RGB, NaN or infinite, for a blank frame, or a size outside
    MIN_SIZE to MAX_SIZE.
    """
    check_size(name, *values.shape[:2])
    if values.dtype.kind not in "buif" or values.shape[2:] not in {(), (3,), (4,)}:
        raise InputError(f"{name}: its pixels are neither grey nor RGB; export it as a grey or RGB image")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise InputError(f"{name}: it has pixels that are no number (NaN or infinite); export the image again")
    scaled, warnings = _to_unit_range(values, bits)
    colour = None
    if scaled.ndim == 3:
        if scaled.shape[2] == 4:
            scaled = scaled[..., :3] * scaled[..., 3:]
        colour = (scaled * 255 + 0.5).astype(np.uint8)
        scaled = scaled @ LUMA
        colour = colour if has_colour(colour) else None
    pixels = np.clip(scaled, 0, 1).astype(np.float32, copy=False)
    if float(pixels.max()) - float(pixels.min()) < MIN_CONTRAST:
        raise InputError(f"{name}: the image is blank (one grey all over); give another frame")
    return pixels, colour, warnings


def chroma(colour: ColourImage) -> npt.NDArray[np.uint8]:
    """Largest minus smallest of red, green and blue, (row, column), 0-255: 0 where the pixel is grey."""
    high = np.maximum(np.maximum(colour[..., 0], colour[..., 1]), colour[..., 2])
    low = np.minimum(np.minimum(colour[..., 0], colour[..., 1]), colour[..., 2])
    return high - low


def has_colour(colour: ColourImage) -> bool:
    """Whether enough pixels are coloured beyond the chroma noise of a JPEG."""
    return bool(np.count_nonzero(chroma(colour) > COLOUR_CHROMA) > COLOUR_SHARE * colour.shape[0] * colour.shape[1])


def usable_spacing(source: str, spacing: Spacing) -> tuple[Spacing | None, tuple[str, ...]]:
    """(row, column) millimetres, or None with a warning where the file's value is a placeholder or cannot be true.

    Exactly 1 x 1 is what converters write when nobody knows; no ultrasound machine has it.
    """
    remedy = "treated as unknown; give the spacing by hand (millimetres per pixel)"
    if all(abs(value - 1) < UNIT_SPACING_TOLERANCE for value in spacing):
        return None, (f"image file: {source} says 1 mm per pixel, the placeholder for unknown; {remedy}",)
    low, high = SPACING_RANGE_MM
    if not all(low <= value <= high for value in spacing):
        return None, (f"image file: {source} is outside {low:g}-{high:g} mm per pixel; {remedy}",)
    return spacing, ()


def _to_unit_range(
    values: npt.NDArray[np.generic], bits: int | None
) -> tuple[npt.NDArray[np.float32], tuple[str, ...]]:
    if values.dtype.kind == "b":
        return values.astype(np.float32), ()
    numbers = values.astype(np.float32)
    warnings: tuple[str, ...] = ()
    low = float(numbers.min())
    if low < 0:
        numbers = numbers - low
        bits = None
        warnings = ("image file: it has negative values; they were shifted so that the lowest is black",)
    high = float(numbers.max())
    if values.dtype.kind == "f" and high <= 1:
        return numbers, warnings
    if bits is None:
        bits = next((depth for depth in BIT_DEPTHS if high <= 2**depth - 1), BIT_DEPTHS[-1])
    return np.clip(numbers / np.float32(2.0**bits - 1), 0, 1), warnings
