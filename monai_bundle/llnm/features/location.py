"""Where the nodule lies in the gland: the CPDT image, and the way to the nearest point of the capsule.

Comes in: masks (row, column) of nodule and gland, the spacing where it is known. Goes out: the central point distance
transform (Shen et al., Nat Commun 16, 7052, 2025, equations 1-3), the location image x_l that the network sees, and the
minimum distance from nodule to capsule with its direction.

The capsule on a pixel grid: those gland pixels that have background, or the end of the image, as one of their four
neighbours. Distances run between pixel centres. Every component of the gland counts, and a hole has a capsule too, so a
gland mask must not leave the nodule out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import KDTree

from llnm.case import PLANES, GreyImage, Mask, Plane, Spacing
from llnm.errors import InputError
from llnm.features.checks import checked_mask, checked_spacing
from llnm.features.shape import bounding_box, interior

FloatImage = npt.NDArray[np.float64]
Side = Literal["left", "right"]
Vector = tuple[float, float]
Pixel = tuple[int, int]

# The usual display: image left is the patient's right (transverse) and the head's end (longitudinal).
_COLUMN_NAMES: dict[tuple[Plane, Side | None], tuple[str, str]] = {
    ("transverse", "right"): ("lateral", "medial"),
    ("transverse", "left"): ("medial", "lateral"),
    ("transverse", None): ("left of image", "right of image"),
}
_LONGITUDINAL_NAMES = ("superior", "inferior")


@dataclass(frozen=True)
class CapsuleDistance:
    """The shortest way from a nodule to the capsule.

    `distance` in `unit` ("mm", or "px" where the spacing is unknown); 0 where the nodule touches or crosses the
    capsule. `point_nodule`, `point_capsule`: the (row, column) pixels at its ends. `direction`: unit vector (row,
    column), taken in `unit`, towards the capsule; where they touch, from the centroid of the nodule to that of the
    contact, and None if the two coincide. `at_image_border`: the capsule's pixel lies where the image ends, so the
    gland may go on there and the true distance may be larger.
    """

    distance: float
    unit: Literal["mm", "px"]
    point_nodule: Pixel
    point_capsule: Pixel
    direction: Vector | None
    at_image_border: bool

    @property
    def distance_px(self) -> float:
        """The length of the same way in pixels."""
        return math.dist(self.point_nodule, self.point_capsule)


def central_point_distance_transform(gland: Mask, spacing_mm: Spacing | None = None) -> GreyImage:
    """CPDT image: phi = 1 - d / d_max, (row, column) float32, 0-1, the size of `gland`.

    `d` is a pixel's distance to the nearest capsule pixel (equation 1), `d_max` its maximum in the gland, at the
    central point C (equation 2). So phi is 0 at C, and 1 on the capsule and beyond (equation 3). A gland so thin that
    all of it is capsule gives 1 everywhere. With `spacing_mm` (row, column) distances are millimetres, which matters
    where pixels are not square. Raises InputError for an empty gland or an impossible spacing.
    """
    distance = distance_to_capsule(gland, spacing_mm)
    furthest = distance.max()
    return (1 - distance / furthest).astype(np.float32) if furthest > 0 else np.ones(distance.shape, np.float32)


def distance_to_capsule(gland: Mask, spacing_mm: Spacing | None = None) -> FloatImage:
    """Each pixel's distance `d` to the nearest pixel of the capsule (equation 1), 0 on it and beyond; (row, column).

    In millimetres with `spacing_mm` (row, column), else in pixels. Raises InputError as the CPDT does.
    """
    gland = checked_mask(gland, "gland")
    spacing_mm = checked_spacing(spacing_mm)
    distance = np.zeros(gland.shape)
    box = bounding_box(gland).slices
    # The pixel nearest to an inner one that is not itself an inner one is always capsule, so one transform suffices.
    distance[box] = ndimage.distance_transform_edt(interior(gland)[box], sampling=spacing_mm)
    return distance


def location_image(nodule: Mask, gland: Mask, spacing_mm: Spacing | None = None) -> GreyImage:
    """Location feature x_l: CPDT of the gland on the nodule's pixels, 0 elsewhere; (row, column) float32, 0-1.

    Raises InputError for an empty mask, masks of two sizes or an impossible spacing.
    """
    gland = checked_mask(gland, "gland")
    nodule = checked_mask(nodule, "nodule", gland.shape)
    return np.where(nodule, central_point_distance_transform(gland, spacing_mm), np.float32(0))


def capsule_distance(nodule: Mask, gland: Mask, spacing_mm: Spacing | None = None) -> CapsuleDistance:
    """The minimum distance from nodule to capsule; below 2.5 mm the published mean LLNM rate exceeds 72 %.

    It is the least of `d` (equation 1) over the nodule's pixels, and 0 where one of them lies on or beyond the capsule.
    Of several equal ways the first from the top left is given. Raises InputError for an empty mask, masks of two sizes,
    an impossible spacing, or a nodule that shares no pixel with the gland.
    """
    gland = checked_mask(gland, "gland")
    nodule = checked_mask(nodule, "nodule", gland.shape)
    spacing_mm = checked_spacing(spacing_mm)
    if not (nodule & gland).any():
        raise InputError(
            "nodule mask: it lies wholly outside the gland; draw both on the same image, nodule within gland"
        )
    inner = interior(gland)
    contact = nodule & ~inner
    if contact.any():
        start, end, offset = _touching(nodule, contact, gland)
    else:
        start, end, offset = _apart(nodule & ~interior(nodule), gland & ~inner, spacing_mm or (1.0, 1.0))
    scale = np.asarray(spacing_mm or (1.0, 1.0))
    length = float(np.hypot(*(offset * scale)))
    return CapsuleDistance(
        distance=float(np.hypot(*((end - start) * scale))),
        unit="px" if spacing_mm is None else "mm",
        point_nodule=(int(start[0]), int(start[1])),
        point_capsule=(int(end[0]), int(end[1])),
        direction=None
        if length < 1e-6
        else (float(offset[0] * scale[0] / length), float(offset[1] * scale[1] / length)),
        at_image_border=bool((end == 0).any() or (end == np.asarray(gland.shape) - 1).any()),
    )


def direction_name(direction: Vector, plane: Plane, side: Side | None = None) -> str:
    """The anatomical name of a (row, column) direction in an image shown the usual way.

    Up is anterior and down posterior. Across, a longitudinal view has superior on the left and inferior on the right; a
    transverse view has medial and lateral once `side`, the lobe that holds the nodule, is known, and otherwise only
    "left of image" and "right of image". The larger component decides; of two equal ones, the vertical.
    Raises InputError for an unknown plane or side.
    """
    check_orientation(plane, side)
    down, across = direction
    if abs(down) >= abs(across):
        return "anterior" if down < 0 else "posterior"
    names = _LONGITUDINAL_NAMES if plane == "longitudinal" else _COLUMN_NAMES[plane, side]
    return names[int(across > 0)]


def check_orientation(plane: Plane, side: Side | None) -> None:
    """Raises InputError unless plane and side are names that `direction_name` knows."""
    if plane not in PLANES:
        raise InputError(f"plane: {plane!r} is not known; write transverse or longitudinal")
    if side not in (*get_args(Side), None):
        raise InputError(f"side: {side!r} is not known; write left or right, or leave it out if unknown")


def _touching(nodule: Mask, contact: Mask, gland: Mask) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One point that nodule and capsule share, in the middle of the contact, and the way there from the nodule's."""
    middle = np.argwhere(contact).mean(axis=0)
    shared = np.argwhere(contact & gland)
    if shared.size == 0:  # part of the nodule lies beyond the capsule, none of it on the capsule
        shared = np.argwhere(contact)
    point = shared[np.argmin(((shared - middle) ** 2).sum(axis=1))]
    return point, point, middle - np.argwhere(nodule).mean(axis=0)


def _apart(margin: Mask, capsule: Mask, scale: Vector) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The nearest pair of a margin pixel and a capsule pixel, and the way from the one to the other."""
    starts, ends = np.argwhere(margin), np.argwhere(capsule)
    distances, nearest = KDTree(ends * scale).query(starts * scale)
    best = np.argmin(distances)
    start, end = starts[best], ends[np.asarray(nearest)[best]]
    return start, end, end - start
