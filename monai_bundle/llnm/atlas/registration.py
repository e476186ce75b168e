"""Brings the gland in one ultrasound view to the matching section of the template, and measures how well that went.

Comes in: the gland's mask (row, column) with its spacing where known, and a `Section`. Goes out: a `Registration`: the
way of any pixel to the template's millimetres, with Dice, folding and inverse consistency; or RegistrationError.

Both masks become signed distances to the capsule, clipped some millimetres away from it. An affine map is found by
least squares with what is known of the sizes of thyroids, and then a diffeomorphism by SyN (Avants et al. 2008, ANTs)
with mean squares. What lies beyond the image counts for neither, since most longitudinal views cut the lobe off. The
isthmus is taken off a transverse view, since how much of it is seen depends on the probe alone.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.optimize import least_squares

from llnm.atlas.template import Floats, Section
from llnm.case import Mask, Spacing
from llnm.errors import InputError, MissingExtraError
from llnm.features.shape import bounding_box

SIZE = 128
CLIP_MM = 4.0
# Size of thyroids: standard deviation of each element of the affine map's matrix around 1, and of its shift (mm) from
# the middle of what is seen to the middle of the lobe.
MATRIX_SD, SHIFT_SD_MM = 0.12, 12.0
LEAST_DICE, MOST_FOLDING = 0.9, 0.0
_MARGIN_MM = 5.0
_FINE, _SMOOTH = 4, 0.7  # the template's sections in finer pixels, smoothed by this share of a voxel
_COARSE = 4  # every so-manieth pixel of the grid is used for the affine map
_NOISE_MM = 0.6  # how far capsules of two people differ after the best affine map
_INDEPENDENT = 40.0  # residuals that are worth as much as all (neighbours say nearly the same)


class RegistrationError(InputError):
    """A view that could not be brought to the template; says by how much it failed."""


@dataclass(frozen=True)
class Registration:
    """A view's way to the template.

    `dice`: overlap of the lobe with the template's lobe brought to it, within the image. `folding`: share of pixels
    whose Jacobian is 0 or less. `inverse_consistency_mm`: mean distance by which way and way back miss, in the lobe.
    `sd_mm` (rows, columns): how far the affine part may be off along the template's section, large where the image cuts
    the lobe off. `lobe`: the part of the gland that was registered, (row, column) of the view.
    """

    section: Section
    dice: float
    folding: float
    inverse_consistency_mm: float
    sd_mm: tuple[float, float]
    lobe: Mask
    _grid_origin: Floats
    _grid_step: Floats
    _displacement: Floats
    _matrix: Floats
    _shift: Floats

    def to_section(self, pixels: npt.ArrayLike) -> Floats:
        """Pixels (..., 2) (row, column) of the section at which pixels (..., 2) of the view lie; neither is whole."""
        grid = (np.asarray(pixels, float) - self._grid_origin) / self._grid_step
        axes = np.moveaxis(grid, -1, 0)
        moved = [ndimage.map_coordinates(part, axes, order=1, mode="nearest") for part in self._displacement]
        return np.asarray((grid + np.stack(moved, axis=-1)) @ self._matrix.T + self._shift)

    def to_ras(self, pixels: npt.ArrayLike) -> Floats:
        """RAS millimetres (..., 3) in the plane of the section, of pixels (..., 2) of the view."""
        return self.section.position(self.to_section(pixels))


def register(
    gland: Mask, section: Section, spacing_mm: Spacing | None = None, nodule: Mask | None = None, syn: bool = True
) -> Registration:
    """Bring a gland (row, column) to a section of the template.

    `nodule`: which lobe is meant where the mask shows two; else the largest. Without spacing the depth of the lobe is
    taken for the template's. `syn=False` stops after the affine map. The same input gives the same bits. Raises
    InputError for an empty mask, RegistrationError where the result cannot be trusted, MissingExtraError without ANTs.
    """
    gland = np.asarray(gland, bool)
    if not gland.any():
        raise InputError(f"{section.plane} gland mask: it is empty; draw the gland")
    own = isolate_lobe(gland, section.plane, nodule)
    lobe_there = _lobe_of(section)
    scale = np.asarray(spacing_mm or _assumed_spacing(own, lobe_there, section), float)
    fixed, origin, step, seen = _grid(own, scale)
    moving = _smooth_distance(lobe_there, section.spacing_mm)
    matrix, shift, sd_mm = _affine(fixed, seen, step * scale, moving, section)
    warped = _sampled(moving, _FINE * (_points(fixed.shape) @ matrix.T + shift))
    displacement = np.zeros((2, *fixed.shape))
    back = displacement
    if syn:
        displacement, back = _syn(fixed, warped, seen, float((step * scale)[0]))
        moved = _points(fixed.shape) + np.moveaxis(displacement, 0, -1)
        warped = _sampled(moving, _FINE * (moved @ matrix.T + shift))
    result = Registration(
        section=section,
        dice=_dice(fixed > 0, warped > 0, seen),
        folding=_folding(displacement, seen),
        inverse_consistency_mm=_inconsistency(displacement, back, fixed > 0) * float((step * scale)[0]),
        sd_mm=sd_mm,
        lobe=own,
        _grid_origin=origin,
        _grid_step=step,
        _displacement=displacement,
        _matrix=matrix,
        _shift=shift,
    )
    _check(result)
    return result


def isolate_lobe(gland: Mask, plane: str, near: Mask | None = None) -> Mask:
    """The lobe of a gland mask: in a transverse view without isthmus and other lobe.

    What is thinner than two fifths of the thickest place is opened away; of what is left, the part that overlaps most
    with `near`, or the part closest to it, or else the largest. Beyond the image the gland is taken to go on.
    """
    opened = ndimage.binary_fill_holes(gland)
    if plane == "transverse":
        edge = 1 + max(gland.shape) // 8
        padded = np.pad(opened, edge, mode="edge")
        inside = _distance(padded)
        radius = 0.4 * float(inside[edge:-edge, edge:-edge].max())
        opened = (_distance(inside <= radius) <= radius)[edge:-edge, edge:-edge] & opened
    numbers, count = ndimage.label(opened)
    if count <= 1:
        return np.asarray(opened)
    sizes = np.bincount(numbers.ravel())[1:].astype(float)
    if near is not None and near.any():
        overlap = np.bincount(numbers[near], minlength=count + 1)[1:]
        if overlap.any():
            sizes = overlap.astype(float)
        else:
            away = ndimage.distance_transform_edt(~near)
            sizes = -np.asarray(ndimage.minimum(away, numbers, np.arange(1, count + 1)))
    return np.asarray(numbers == 1 + int(np.argmax(sizes)))


def signed_distance(mask: Mask, spacing_mm: Spacing) -> Floats:
    """Distance to the mask's edge in mm, positive inside, clipped; the end of the image is no edge."""
    if mask.all():
        return np.full(mask.shape, CLIP_MM)
    half = min(spacing_mm) / 2
    inside = ndimage.distance_transform_edt(mask, spacing_mm)
    outside = ndimage.distance_transform_edt(~mask, spacing_mm)
    return np.clip(np.where(mask, inside - half, half - outside), -CLIP_MM, CLIP_MM)


def _smooth_distance(mask: Mask, spacing_mm: Spacing) -> Floats:
    """`signed_distance` at a finer spacing, of the mask without the steps of its voxels."""
    points = _points(tuple(_FINE * (n - 1) + 1 for n in mask.shape)) / _FINE
    smooth = _sampled(ndimage.gaussian_filter(mask.astype(float), _SMOOTH), points) > 0.5
    return signed_distance(smooth, (spacing_mm[0] / _FINE, spacing_mm[1] / _FINE))


def _distance(mask: Mask) -> Floats:
    """Distance to the background in pixels, endless where there is none."""
    return np.asarray(ndimage.distance_transform_edt(mask)) if not mask.all() else np.full(mask.shape, np.inf)


def _lobe_of(section: Section) -> Mask:
    first = 1 if section.side == "left" else 13
    return isolate_lobe(section.mask, section.plane, (section.regions >= first) & (section.regions < first + 12))


def _assumed_spacing(own: Mask, lobe: Mask, section: Section) -> Spacing:
    """The spacing at which the view's lobe is as deep as the template's."""
    there = np.count_nonzero(lobe, axis=0).max() * section.spacing_mm[0]
    pixel = float(there / np.count_nonzero(own, axis=0).max())
    return pixel, pixel


def _grid(own: Mask, scale: Floats) -> tuple[Floats, Floats, Floats, Mask]:
    """Signed distance on a square grid around the lobe; the pixel of its first point, pixels a step, what was seen."""
    box = bounding_box(own)
    low = np.array([box.top, box.left]) * scale
    high = np.array([box.bottom - 1, box.right - 1]) * scale
    width = float((high - low).max()) + 2 * _MARGIN_MM
    step = width / (SIZE - 1) / scale
    origin = (low + high) / 2 / scale - step * (SIZE - 1) / 2
    points = origin + _points((SIZE, SIZE)) * step
    own_distance = signed_distance(own, (float(scale[0]), float(scale[1])))
    seen = np.all((points >= 0) & (points <= np.array(own.shape) - 1), axis=-1)
    return _sampled(own_distance, points), origin, step, seen


def _points(shape: tuple[int, ...]) -> Floats:
    return np.stack(np.meshgrid(*(np.arange(n, dtype=float) for n in shape), indexing="ij"), axis=-1)


def _sampled(image: Floats, points: Floats) -> Floats:
    return np.asarray(ndimage.map_coordinates(image, np.moveaxis(points, -1, 0), order=1, mode="nearest"))


def _affine(
    fixed: Floats, seen: Mask, step_mm: Floats, moving: Floats, section: Section
) -> tuple[Floats, Floats, tuple[float, float]]:
    """Matrix and shift from grid points to section pixels, and how far off (mm) its middle may be."""
    points = _points(fixed.shape)[::_COARSE, ::_COARSE]
    used = seen[::_COARSE, ::_COARSE]
    wanted = fixed[::_COARSE, ::_COARSE][used]
    points = points[used] * step_mm
    middle = points[wanted > 0].mean(axis=0)
    there = np.asarray(section.spacing_mm)
    target = np.argwhere(moving > 0).mean(axis=0) * there / _FINE
    weight = np.sqrt(_INDEPENDENT / len(wanted)) / _NOISE_MM

    def moved(values: Floats) -> Floats:
        return (points - middle) @ (np.eye(2) + values[:4].reshape(2, 2)).T + target + values[4:] * SHIFT_SD_MM

    def residuals(scaled: Floats) -> Floats:
        values = np.concatenate([scaled[:4] * MATRIX_SD, scaled[4:]])
        found = _sampled(moving, _FINE * moved(values) / there)
        return np.concatenate([weight * (found - wanted), scaled])

    # Where the image cuts the lobe off, the middle of what is seen may lie towards either end.
    starts = [np.array([0, 0, 0, 0, 0, along]) for along in (-1.0, 0.0, 1.0)]
    tried = [least_squares(residuals, start, diff_step=[1e-2], max_nfev=60) for start in starts]
    best = min(tried, key=lambda result: result.cost)
    values = np.concatenate([best.x[:4] * MATRIX_SD, best.x[4:]])
    matrix_mm = np.eye(2) + values[:4].reshape(2, 2)
    jacobian = np.asarray(best.jac)
    covariance = np.linalg.inv(jacobian.T @ jacobian)
    sd = np.sqrt(np.diag(covariance)[4:]) * SHIFT_SD_MM
    matrix = matrix_mm * step_mm / there[:, None]
    shift = (target + values[4:] * SHIFT_SD_MM - matrix_mm @ middle) / there
    return matrix, shift, (float(sd[0]), float(sd[1]))


def _syn(fixed: Floats, moving: Floats, seen: Mask, step_mm: float) -> tuple[Floats, Floats]:
    """Displacements (2, row, column) in grid steps: from the view to the template, and back."""
    ants = _ants()
    from ants.internal import get_pointer_string as pointer

    spacing = (step_mm, step_mm)
    target, source, mask = (ants.from_numpy(v.astype(np.float32), spacing=spacing) for v in (fixed, moving, seen))
    with tempfile.TemporaryDirectory(prefix="llnm-") as folder:
        # In ANTs' own words, since its Python function matches histograms, which moves the edges of distance images.
        words = ["-d", "2", "--float", "1", "-u", "0", "-z", "1", "-o", f"{folder}/", "-x", f"[{pointer(mask)},NA]"]
        words += ["-m", f"meansquares[{pointer(target)},{pointer(source)},1,0]", "-t", "SyN[0.2,3,0]"]
        words += ["-c", "[40x20x10,1e-7,8]", "-s", "2x1x0", "-f", "4x2x1"]
        ants.registration(words, None)
        there, back = (ants.image_read(f"{folder}/0{way}Warp.nii.gz").numpy() for way in ("", "Inverse"))
    return np.moveaxis(there, -1, 0) / step_mm, np.moveaxis(back, -1, 0) / step_mm


def _ants() -> Any:
    """ANTs with everything set, before its first import, that makes its results the same bits."""
    os.environ.setdefault("ANTS_RANDOM_SEED", "1")
    os.environ.setdefault("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "1")
    try:
        import ants
    except ImportError as error:
        raise MissingExtraError("antspyx", "atlas") from error
    return ants


def _dice(a: Mask, b: Mask, seen: Mask) -> float:
    a, b = a & seen, b & seen
    return float(2 * (a & b).sum() / max(a.sum() + b.sum(), 1))


def _folding(displacement: Floats, seen: Mask) -> float:
    (rr, rc), (cr, cc) = (np.gradient(part) for part in displacement)
    return float((((1 + rr) * (1 + cc) - rc * cr)[seen] <= 0).mean())


def _inconsistency(there: Floats, back: Floats, inside: Mask) -> float:
    """Mean steps by which going there and back misses."""
    points = _points(inside.shape)[inside]
    arrived = points + np.stack([part[inside] for part in there], axis=-1)
    returned = arrived + np.stack([_sampled(part, arrived) for part in back], axis=-1)
    return float(np.linalg.norm(returned - points, axis=-1).mean())


def _check(result: Registration) -> None:
    plane = result.section.plane
    if result.dice < LEAST_DICE:
        raise RegistrationError(
            f"{plane} gland mask: it does not fit the template (Dice {result.dice:.2f}, least {LEAST_DICE}); check the "
            "mask, the plane and the side"
        )
    if result.folding > MOST_FOLDING:
        raise RegistrationError(
            f"{plane} gland mask: bringing it to the template folds {result.folding:.2%} of it; check the mask"
        )


__all__ = ["Registration", "RegistrationError", "isolate_lobe", "register", "signed_distance"]
