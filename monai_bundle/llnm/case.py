"""What one examination is: the images, masks, report, age and sex of one patient.

Comes in: arrays and values that a reader, a cohort or a user gives. Goes out: frozen, checked value objects that every
room passes on. Arrays are (row, column); spacings are (row, column) in millimetres per pixel; masks are boolean and as
large as the image they belong to. Nothing here holds an identifier of the patient.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from llnm.errors import InputError

Plane = Literal["transverse", "longitudinal"]
Structure = Literal["nodule", "gland"]
Sex = Literal["F", "M"]
PLANES: tuple[Plane, ...] = get_args(Plane)
STRUCTURES: tuple[Structure, ...] = get_args(Structure)
# What a TI-RADS reading says of a nodule, yes or no. Infiltrative: ill-defined or spiculated.
FINDINGS = ("microcalcification", "infiltrative_margin", "markedly_hypoechoic", "taller_than_wide")
# What the LLNM network is taught to see: these, and what the program measures by itself where masks and spacing are
# known, that the capsule is nearer than 2.5 mm (where the published rate of metastasis passes 72 %).
NEAR_CAPSULE_MM = 2.5
SEEN = (*FINDINGS, "near_capsule")

GreyImage = npt.NDArray[np.float32]
ColourImage = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Spacing = tuple[float, float]

AGE_RANGE = (1.0, 120.0)
SPACING_RANGE_MM = (0.005, 2.0)


@dataclass(frozen=True)
class Box:
    """A rectangle of pixels; `bottom` and `right` are one past the last row and column."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.bottom - self.top, self.right - self.left

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the rectangle in an image."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


@dataclass(frozen=True)
class UltrasoundImage:
    """One frame as its file stores it, before anything is cut or standardised.

    `pixels`: (row, column) float32 luminance, 0-1. `colour`: (row, column, 3) uint8, only if the frame really has
    colour. `spacing_mm`: (row, column) millimetres per pixel, or None where nobody knows. `spacing_source` says who
    does. `region`: the B-mode rectangle that a DICOM file declares, if it does.
    """

    pixels: GreyImage
    colour: ColourImage | None = None
    spacing_mm: Spacing | None = None
    spacing_source: str = "none"
    region: Box | None = None
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.pixels.ndim != 2:
            raise InputError(f"image: expected (row, column) pixels, got shape {self.pixels.shape}; give one frame")
        if self.spacing_mm is not None:
            for value in self.spacing_mm:
                check_spacing(value, "spacing")

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.pixels.shape[0], self.pixels.shape[1]

    def with_spacing(self, spacing_mm: float) -> UltrasoundImage:
        """The same frame with square pixels of `spacing_mm`, as given by hand."""
        value = check_spacing(spacing_mm, "spacing")
        return replace(self, spacing_mm=(value, value), spacing_source="given by hand")


@dataclass(frozen=True)
class View:
    """One plane of the nodule: the frame and, where somebody drew them, its masks (bool, the frame's size)."""

    plane: Plane
    image: UltrasoundImage
    masks: Mapping[Structure, Mask] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for structure, mask in self.masks.items():
            name = f"{self.plane} {structure} mask"
            if mask.shape != self.image.shape:
                raise InputError(
                    f"{name}: its size {mask.shape} differs from the image's {self.image.shape} (rows, columns); "
                    "draw it on the same image"
                )
            if not mask.any():
                raise InputError(f"{name}: it is empty; draw the {structure} or leave the mask out")


@dataclass(frozen=True)
class Case:
    """All that is known of one patient before the operation. One view at least; everything else may be missing.

    `age` in years, `doppler` a colour Doppler frame with its nodule mask (measured, never given to the networks).
    """

    views: Mapping[Plane, View]
    report: str | None = None
    age: float | None = None
    sex: Sex | None = None
    patient: str = "anonymous"
    doppler: View | None = None

    def __post_init__(self) -> None:
        if not self.views:
            raise InputError("views: none given; give a transverse or a longitudinal view")
        if self.age is not None:
            check_age(self.age)
        if self.sex is not None:
            check_sex(self.sex)

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of the inputs that were not given, in the order of the fields."""
        absent: list[str] = [plane for plane in PLANES if plane not in self.views]
        absent += [name for name in ("report", "age", "sex") if getattr(self, name) is None]
        return tuple(absent)


def check_age(value: float | str) -> float:
    """Age in years as a number.

    Raises InputError for anything that is no age of a patient (text, 0, over 120).
    """
    number = _number(value, "age", "give years, or leave it out if unknown")
    if not AGE_RANGE[0] <= number <= AGE_RANGE[1]:
        raise InputError(
            f"age: {value} is outside {AGE_RANGE[0]:g}-{AGE_RANGE[1]:g} years; correct it or leave it out if unknown"
        )
    return number


def check_sex(value: str) -> Sex:
    """Sex as `F` or `M`; accepts the words and lower case. Raises InputError for anything else."""
    names: dict[str, Sex] = {"f": "F", "female": "F", "女": "F", "m": "M", "male": "M", "男": "M"}
    sex = names.get(str(value).strip().lower())
    if sex is None:
        raise InputError(f"sex: {value!r} is not known; write F or M, or leave it out if unknown")
    return sex


def check_spacing(value: float | str, field_name: str) -> float:
    """Millimetres per pixel as a number; raises InputError outside the range of ultrasound machines."""
    number = _number(value, field_name, "give millimetres per pixel")
    low, high = SPACING_RANGE_MM
    if not low <= number <= high:
        raise InputError(
            f"{field_name}: {number:g} mm per pixel is outside {low:g}-{high:g}; check the unit (millimetres per pixel)"
        )
    return number


def _number(value: float | str, field_name: str, remedy: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{field_name}: {value!r} is not a number; {remedy}")
    return number
