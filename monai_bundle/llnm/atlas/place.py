"""Where in the template a patient's nodule lies: two plane views become one place in three dimensions.

Comes in: the masks of both planes and the side. Goes out: a `Place`, the nodule's density over the template's
voxels, as blurred as its registration is uncertain.

The transverse view tells left-right and depth, the longitudinal one height and depth. Each view's nodule becomes a
density on the two axes that it tells; their product on the three axes, within the gland and scaled to 1, is the place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from llnm.atlas.model import Template
from llnm.atlas.registration import Registration, register
from llnm.atlas.template import SIDES, Floats, Section, section
from llnm.case import PLANES, Mask, Plane, Spacing
from llnm.errors import InputError
from llnm.pipeline import MeasuredView

# The blur that is always there: how far places of simulated patients miss (root mean square, one axis).
BLUR_MM = 1.2
# The depths of both views agree if their densities overlap at least so much (Bhattacharyya coefficient).
LEAST_AGREEMENT = 0.05
_NEGLIGIBLE = 1e-3  # of the densest voxel


@dataclass(frozen=True)
class PlaneMasks:
    """What is drawn in one view: bool masks (row, column) of nodule and gland, None where unknown; spacing in mm."""

    nodule: Mask
    gland: Mask | None
    spacing_mm: Spacing | None

    @classmethod
    def of(cls, views: Mapping[Plane, MeasuredView]) -> dict[Plane, PlaneMasks]:
        """Those of measured views."""
        return {plane: cls(view.nodule, view.gland, view.spacing_mm) for plane, view in views.items()}


@dataclass(frozen=True)
class Place:
    """One nodule in the template: `voxels` (n, 3) with `weights` (n,) that sum to 1.

    `centre_mm` (RAS) of that density; `blur_mm` (x, y, z): how uncertain that centre is, one standard deviation.
    `quality`: figures of each view's registration.
    """

    voxels: npt.NDArray[np.int16]
    weights: npt.NDArray[np.float32]
    centre_mm: tuple[float, float, float]
    blur_mm: tuple[float, float, float]
    quality: Mapping[str, float]

    def density(self, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """The place as a volume (i, j, k)."""
        volume = np.zeros(shape, np.float32)
        volume[tuple(self.voxels.T)] = self.weights
        return volume


def place_patient(views: Mapping[Plane, PlaneMasks], side: str | None, template: Template) -> Place:
    """The place of a patient's nodule; raises InputError where a plane, a gland or the side is missing.

    Raises RegistrationError where a gland does not fit the template or the two views contradict each other, and
    MissingExtraError without ANTs.
    """
    known = check_side(side)
    for plane in PLANES:
        if plane not in views:
            raise InputError(f"{plane}: no view of this plane; the place in 3D needs both planes, give the other one")
        if views[plane].gland is None:
            raise InputError(f"{plane}: no gland mask, so the place in the gland is not known; give a gland mask")
    # The height that the longitudinal view tells decides at which height the transverse view is matched.
    lengthwise = _registered(views["longitudinal"], section(template, "longitudinal", known))
    pixels = np.argwhere(views["longitudinal"].nodule)
    height = float(lengthwise.to_ras(pixels)[:, 2].mean())
    across = _registered(views["transverse"], section(template, "transverse", known, height))
    return combine(template, across, views["transverse"].nodule, lengthwise, views["longitudinal"].nodule)


def combine(
    template: Template, across: Registration, transverse: Mask, lengthwise: Registration, longitudinal: Mask
) -> Place:
    """The place from the registrations of both planes and the nodule masks (row, column) of their views."""
    xy = _density(template, across, transverse, (0, 1))
    zy = _density(template, lengthwise, longitudinal, (2, 1))
    agreement = float(np.sqrt(xy.sum(axis=0) * zy.sum(axis=0)).sum())
    if agreement < LEAST_AGREEMENT:
        raise InputError(
            "transverse, longitudinal: the nodule lies at different depths of the gland in the two views; check that "
            "both show the same nodule"
        )
    quality = {
        f"{name}_{figure}": float(getattr(registration, figure))
        for name, registration in (("transverse", across), ("longitudinal", lengthwise))
        for figure in ("dice", "folding", "inverse_consistency_mm")
    }
    # Depth is told twice, so its blur is that of two measurements together.
    (depth_a, x), (depth_b, z) = across.sd_mm, lengthwise.sd_mm
    depth = 1 / np.hypot(1 / np.hypot(depth_a, BLUR_MM), 1 / np.hypot(depth_b, BLUR_MM))
    blur = (float(np.hypot(x, BLUR_MM)), float(depth), float(np.hypot(z, BLUR_MM)))
    return place_of(template, np.einsum("ij,kj->ijk", xy, zy), blur, quality | {"depth_agreement": agreement})


def place_of(
    template: Template,
    density: Floats,
    blur_mm: tuple[float, float, float] = (BLUR_MM, BLUR_MM, BLUR_MM),
    quality: Mapping[str, float] | None = None,
    first: tuple[int, int, int] = (0, 0, 0),
) -> Place:
    """A place from a density (i, j, k) over the template, or over a box of it that begins at the voxel `first`.

    Only what lies in the gland counts. Raises InputError where nothing does.
    """
    box = tuple(slice(a, a + n) for a, n in zip(first, density.shape, strict=True))
    inside = np.argwhere((density > _NEGLIGIBLE * density.max()) & (template.labels[box] > 0))
    weights, voxels = density[tuple(inside.T)], inside + first
    if not weights.size:
        raise InputError("nodule: it lies outside the template's gland; check that nodule and gland masks fit")
    weights = weights / weights.sum()
    x, y, z = (weights @ template.position(voxels)).tolist()
    return Place(voxels.astype(np.int16), weights.astype(np.float32), (x, y, z), blur_mm, dict(quality or {}))


def check_side(side: str | None) -> str:
    """`left` or `right`; raises InputError for anything else, since a side is never guessed."""
    if not side:
        raise InputError("side: it is not known; say in which lobe the nodule lies, left or right")
    if side not in SIDES:
        raise InputError(f"side: {side!r} is not left or right; correct it")
    return side


def _registered(view: PlaneMasks, shown: Section) -> Registration:
    assert view.gland is not None
    return register(view.gland, shown, view.spacing_mm, view.nodule)


def _density(template: Template, found: Registration, nodule: Mask, axes: tuple[int, int]) -> Floats:
    """Density of a nodule on two axes of the template's grid, sum 1; the second axis is depth."""
    index = template.index(found.to_ras(np.argwhere(nodule)))[:, list(axes)]
    shape = [template.labels.shape[axis] for axis in axes]
    # What a bulging nodule brings beyond the grid counts at its edge.
    index = np.clip(np.round(index).astype(int), 0, np.array(shape) - 1)
    counts = np.bincount(np.ravel_multi_index(tuple(index.T), shape), minlength=int(np.prod(shape)))
    depth_sd, other_sd = found.sd_mm
    sigma = [
        float(np.hypot(sd, BLUR_MM)) / template.spacing_mm[axis]
        for axis, sd in zip(axes, (other_sd, depth_sd), strict=True)
    ]
    blurred = ndimage.gaussian_filter(counts.reshape(shape).astype(float), sigma, mode="constant")
    return np.asarray(blurred / blurred.sum())
