"""What every feature asks of its input, in one place.

Comes in: an image, masks, a spacing as a caller gives them. Goes out: the same as arrays that can be measured, or an
InputError that says in one line what is wrong.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from llnm.case import GreyImage, Mask, Spacing, check_spacing
from llnm.errors import InputError


def checked_image(image: npt.ArrayLike) -> GreyImage:
    """A B-mode image (row, column), float32, 0-1. Raises InputError for another shape or range, NaN or infinity."""
    pixels = np.asarray(image)
    if pixels.ndim != 2 or pixels.size == 0:
        raise InputError(f"image: expected (row, column) pixels, got shape {pixels.shape}; give one grey frame")
    if pixels.dtype.kind not in "fiub":
        raise InputError(f"image: its pixels are {pixels.dtype}, not numbers; give one grey frame")
    low, high = float(pixels.min()), float(pixels.max())  # either is NaN if any pixel is
    if not (np.isfinite(low) and np.isfinite(high)):
        raise InputError("image: it holds pixels that are not finite numbers; read the file again or repair it")
    if low < 0 or high > 1:
        raise InputError(f"image: its values reach from {low:g} to {high:g}, not 0-1; standardise the brightness first")
    return pixels.astype(np.float32, copy=False)


def checked_mask(mask: npt.ArrayLike, name: str, shape: tuple[int, ...] | None = None) -> Mask:
    """A mask (row, column) as bool, of `shape` where one is given; whole numbers count as set where not 0.

    `name` ("nodule" or "gland") opens the error. Raises InputError for a mask that is empty, of another size, or made
    of fractions, since where to cut a probability is not decided here.
    """
    array = np.asarray(mask)
    if array.ndim != 2:
        raise InputError(f"{name} mask: expected (row, column) pixels, got shape {array.shape}; give one flat mask")
    if array.dtype.kind not in "biu":
        raise InputError(f"{name} mask: its pixels are {array.dtype}, not true or false; apply a threshold first")
    if shape is not None and array.shape != shape:
        raise InputError(
            f"{name} mask: its size {array.shape} differs from the image's {shape} (rows, columns); "
            "draw it on the same image"
        )
    pixels = array.astype(bool, copy=False)
    if not pixels.any():
        raise InputError(f"{name} mask: it is empty; draw the {name} or leave the mask out")
    return pixels


def checked_spacing(spacing_mm: Spacing | None) -> Spacing | None:
    """(row, column) millimetres per pixel, or None. Raises InputError outside the range of ultrasound machines."""
    if spacing_mm is None:
        return None
    if np.shape(spacing_mm) != (2,):
        raise InputError(f"spacing: expected (row, column) millimetres per pixel, got {spacing_mm}; give two numbers")
    row, column = spacing_mm
    return check_spacing(row, "row spacing"), check_spacing(column, "column spacing")
