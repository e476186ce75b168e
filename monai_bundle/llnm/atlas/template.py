"""The template: one thyroid in millimetres that every patient is brought to.

Comes in: nothing (a thyroid of published size is built), or a segmentation of your own as NIfTI or NRRD. Goes out: a
`Template` with the name of the region of every voxel, and the two-dimensional `Section` of it that a transverse or a
longitudinal ultrasound view shows.

Axes are RAS: x positive to the patient's right, y to the front, z to the head; 0 is the middle of the isthmus. Regions
are found by geometry, in the same way for the built thyroid and for a user's: see `label_gland`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from llnm.atlas.model import Labels, Template, read_volume
from llnm.case import PLANES, Mask, Plane
from llnm.errors import InputError

Floats = npt.NDArray[np.float64]
SIDES = ("left", "right")
THIRDS = ("upper", "middle", "lower")
QUARTERS = ("medial", "lateral", "anterior", "posterior")
REGIONS: dict[int, str] = {
    1 + 12 * s + 4 * t + q: f"{side} lobe, {third} third, {quarter}"
    for s, side in enumerate(SIDES)
    for t, third in enumerate(THIRDS)
    for q, quarter in enumerate(QUARTERS)
} | {25: "isthmus", 26: "pyramidal lobe"}
ISTHMUS, PYRAMIDAL = 25, 26

SOURCE = (
    "built by code from textbook dimensions of the adult thyroid (lobe 40-60 mm high, 15-20 mm wide, 13-18 mm deep, "
    "isthmus about 3 mm thick, as in Rumack and Levine, Diagnostic Ultrasound; isthmus about 12.5 mm high and the "
    "pyramidal lobe rising from it, usually left of the midline, as in Gray's Anatomy); the middle of each range"
)
LOBE_MM = (17.5, 15.5, 50.0)
ISTHMUS_MM = (3.0, 12.5)  # thickness, height
PYRAMID_MM = (20.0, 6.0)  # height above the isthmus, width at its foot
TRACHEA_RADIUS_MM = 9.0
MARGIN_MM = 6.0
_LEAN = 0.06  # the upper poles lie further apart than the lower ones
_TAPER = 0.14  # the upper poles are slimmer


@dataclass(frozen=True)
class Section:
    """What one ultrasound plane through the template shows, as an image of the usual display.

    `mask`, `regions` (row, column): the gland and the label of each pixel. Row 0 is in front; column 0 is the patient's
    right in a transverse section and the head's end in a longitudinal one. `spacing_mm` (row, column). `origin`: RAS
    of the first pixel's centre; `rows`, `columns`: RAS directions of growing row and column.
    """

    plane: Plane
    side: str
    mask: Mask
    regions: Labels
    spacing_mm: tuple[float, float]
    origin: Floats
    rows: Floats
    columns: Floats

    def position(self, pixel: npt.ArrayLike) -> Floats:
        """RAS millimetres (..., 3) of (row, column) pixels (..., 2), whole or not."""
        row, column = np.moveaxis(np.asarray(pixel, float) * self.spacing_mm, -1, 0)
        return np.asarray(self.origin + row[..., None] * self.rows + column[..., None] * self.columns)


def thyroid_template(spacing_mm: float = 1.0, pyramidal: bool = True) -> Template:
    """A thyroid of average size on a grid of cubic voxels; `pyramidal`: with the pyramidal lobe that half of us have.

    Raises InputError for a spacing that cannot show the isthmus (over 1.5 mm) or needs too much memory (under 0.2 mm).
    """
    if not 0.2 <= spacing_mm <= 1.5:
        raise InputError(f"spacing: {spacing_mm:g} mm cannot be; give 0.2-1.5, so that the isthmus is seen")
    half = np.array([LOBE_MM[0] + TRACHEA_RADIUS_MM, LOBE_MM[1], 0.75 * LOBE_MM[2]]) + MARGIN_MM
    axes = [spacing_mm * np.arange(-np.ceil(h / spacing_mm), np.ceil(h / spacing_mm) + 1) for h in half]
    # The gland lies behind the front of the isthmus, and more of it above than below.
    axes[1] = axes[1] - 7.0
    axes[2] = axes[2] + 4.0
    x, y, z = np.meshgrid(*axes, indexing="ij")
    mask = _gland(x, y, z, pyramidal)
    affine = np.diag([spacing_mm] * 3 + [1.0])
    affine[:3, 3] = [axis[0] for axis in axes]
    return template_of(mask, affine, SOURCE + ("" if pyramidal else "; without pyramidal lobe"))


def read_template(path: Path, spacing_mm: float = 1.0) -> Template:
    """A template from a segmentation of both lobes (NIfTI or NRRD in mm, everything above 0 is gland).

    It is brought to cubic voxels of `spacing_mm` on axes of the body, and its regions are found by geometry. Raises
    InputError where the file is no volume, is empty, is no thyroid in millimetres, or does not show two lobes.
    """
    values, affine = read_volume(path)
    mask = np.asarray(values > 0)
    if not mask.any():
        raise InputError(f"{path}: the segmentation is empty; give one in which the gland is above 0")
    corners = np.argwhere(mask) @ affine[:3, :3].T + affine[:3, 3]
    extent = np.ptp(corners, axis=0)
    if extent.max() > 200 or extent.max() < 20:
        raise InputError(f"{path}: the gland is {extent.max():.0f} mm large; check that its spacing is in millimetres")
    low, high = corners.min(axis=0) - MARGIN_MM, corners.max(axis=0) + MARGIN_MM
    grid = np.diag([spacing_mm] * 3 + [1.0])
    grid[:3, 3] = low
    size = np.ceil((high - low) / spacing_mm).astype(int) + 1
    # Voxels of the new grid looked up in the old one.
    to_old = np.linalg.inv(affine) @ grid
    moved = ndimage.affine_transform(mask.astype(np.float32), to_old[:3, :3], to_old[:3, 3], tuple(size), order=1) > 0.5
    try:
        return template_of(moved, grid, f"a user's segmentation ({path.name})")
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def template_of(mask: npt.NDArray[np.bool_], affine: Floats, source: str) -> Template:
    """A template from a gland mask (i, j, k) on the axes of the body; 0 mm is moved to the middle of the isthmus."""
    labels = label_gland(mask)
    template = Template(labels, affine.copy(), {n: REGIONS[n] for n in np.unique(labels).tolist() if n}, source)
    part = labels == ISTHMUS if (labels == ISTHMUS).any() else labels > 0
    template.affine[:3, 3] -= template.position(np.argwhere(part).mean(axis=0))
    return template


def label_gland(mask: npt.NDArray[np.bool_]) -> Labels:
    """The region of every voxel (i to the right, j to the front, k to the head) of a gland with two lobes.

    The midline lies half-way between the lobes' centres. In the transverse sections that show the lobes apart, their
    inner edges bound the middle. What connects both lobes is there the isthmus, and what lies there alone, above it,
    the pyramidal lobe. A lobe's thirds are equal in height; in each section a diagonal cross through its centre, scaled
    by its width and depth, parts medial, lateral, anterior and posterior. Raises InputError without two lobes.
    """
    mask = np.asarray(mask, bool)
    across = np.argwhere(mask)[:, 0]
    if across.size == 0:
        raise InputError("gland: it is empty; draw both lobes")
    middle = float(across.mean())
    for _ in range(50):
        right, left = across[across > middle], across[across <= middle]
        middle = (right.mean() + left.mean()) / 2 if right.size and left.size else middle
    inner, owners = _inner_edge(mask, middle)
    labels = np.zeros(mask.shape, np.uint8)
    offset = np.arange(mask.shape[0]) - middle
    for k, (components, spanning, central) in owners.items():
        labels[:, :, k] = np.where(np.isin(components, central), PYRAMIDAL, 0)
        bridge = np.isin(components, spanning) & (np.abs(offset) < inner)[:, None]
        labels[:, :, k][bridge] = ISTHMUS
    isthmus = np.flatnonzero((labels == ISTHMUS).any(axis=(0, 1)))
    if isthmus.size:
        # Crumbs in the middle below the isthmus are its own.
        low = labels[:, :, : isthmus[0]]
        low[low == PYRAMIDAL] = ISTHMUS
    for s, sign in enumerate((-1, 1)):  # left is towards smaller i
        lobe = mask & (labels == 0) & (sign * offset > 0)[:, None, None]
        _label_lobe(labels, lobe, 12 * s, sign)
    return labels


def section(template: Template, plane: Plane, side: str, through_mm: float | None = None) -> Section:
    """The section of the template that a view of this plane shows.

    Transverse: at the height z = `through_mm` (default: middle of the lobe), both sides and isthmus. Longitudinal: at
    x = `through_mm` (default: middle of the lobe), that lobe alone. Raises InputError for an unknown plane or side.
    """
    if plane not in PLANES or side not in SIDES:
        raise InputError(f"section: {plane!r}, {side!r} is not known; give transverse or longitudinal, left or right")
    lobe = lobe_mask(template, side)
    axis = 2 if plane == "transverse" else 0
    planes = np.flatnonzero(lobe.any(axis=tuple({0, 1, 2} - {axis})))
    middle = np.argwhere(lobe).mean(axis=0)
    if through_mm is not None:
        position = template.position(middle)
        position[axis] = through_mm
        middle = template.index(position)
    # Beyond the poles, the last section that shows the lobe.
    at = int(np.clip(round(float(middle[axis])), planes[0], planes[-1]))
    # Rows run backwards, columns to the left or to the feet: against the voxels' axes.
    shown = np.where(lobe, template.labels, 0) if plane == "longitudinal" else template.labels
    regions = np.ascontiguousarray(np.take(shown, at, axis)[::-1, ::-1] if axis == 0 else shown[::-1, ::-1, at].T)
    i, j, k = template.spacing_mm
    first = np.array(template.labels.shape) - 1
    first[axis] = at
    columns = np.array([-1.0, 0, 0]) if axis == 2 else np.array([0, 0, -1.0])
    return Section(
        plane=plane,
        side=side,
        mask=regions > 0,
        regions=regions,
        spacing_mm=(j, i if axis == 2 else k),
        origin=template.position(first),
        rows=np.array([0, -1.0, 0]),
        columns=columns,
    )


def lobe_mask(template: Template, side: str) -> npt.NDArray[np.bool_]:
    """The voxels of one lobe, without isthmus; raises InputError where the template has no such lobe."""
    names = [label for label, name in template.regions.items() if name.startswith(f"{side} lobe")]
    lobe = np.isin(template.labels, names)
    if not lobe.any():
        raise InputError(f"template: it has no {side} lobe; give one with both lobes")
    return np.asarray(lobe)


def _gland(x: Floats, y: Floats, z: Floats, pyramidal: bool) -> npt.NDArray[np.bool_]:
    """The thyroid as a mask at points in mm; 0 is the middle of the isthmus, in front of the trachea."""
    thickness, height = ISTHMUS_MM
    trachea_y = -(TRACHEA_RADIUS_MM + 0.5 + thickness / 2)
    semi = np.asarray(LOBE_MM) / 2
    # The isthmus joins the lower halves of the lobes.
    up = (z - 5.0) / semi[2]
    slim = 1.0 - _TAPER * np.clip(up, -1, 1)
    wide = np.abs(x) - TRACHEA_RADIUS_MM - 0.75 * semi[0] - _LEAN * (z - 5.0)
    deep = y - trachea_y - 5.0
    lobes = (wide / (semi[0] * slim)) ** 2 + (deep / (semi[1] * slim)) ** 2 + up**2 < 1
    ring = np.hypot(x, y - trachea_y) - TRACHEA_RADIUS_MM - 0.5
    front = (ring > 0) & (ring < thickness) & (y > trachea_y)
    isthmus = front & (np.abs(z) < height / 2) & (np.abs(x) < TRACHEA_RADIUS_MM + semi[0])
    gland = (lobes & (ring > 0)) | isthmus
    if pyramidal:
        above = (z - height / 2) / PYRAMID_MM[0]
        # It leans to the left and thins out towards its tip.
        width = np.abs(x + 1.0 + above) - PYRAMID_MM[1] / 2 * (1.0 - 0.6 * above)
        gland |= front & (above > -0.1) & (above < 1) & (width < 0)
    return np.asarray(gland)


Components = tuple[npt.NDArray[Any], list[int], list[int]]


def _inner_edge(mask: npt.NDArray[np.bool_], middle: float) -> tuple[float, dict[int, Components]]:
    """How far (voxels) from the midline the lobes begin, and each section's parts: (numbers, bridging, central)."""
    edges, sections = [], {}
    for k in np.flatnonzero(mask.any(axis=(0, 1))).tolist():
        numbers, _ = ndimage.label(mask[:, :, k], np.ones((3, 3)))
        spans = [(box[0].start - middle, box[0].stop - 1 - middle) for box in ndimage.find_objects(numbers)]
        sections[k] = (numbers, spans)
        # A lobe is the largest part on its side; the pyramidal lobe is smaller, and what spans the midline is none.
        sizes = np.bincount(numbers.ravel())[1:]
        lobes = {low > 0: n for n, (low, high) in sorted(enumerate(spans), key=lambda s: sizes[s[0]]) if low * high > 0}
        if len(lobes) == 2 and sizes.argmax() in lobes.values():
            edges.append(min(min(abs(end) for end in spans[n]) for n in lobes.values()))
    if not edges:
        raise InputError("gland: no transverse section shows two lobes apart; draw both lobes, at a spacing below 2 mm")
    inner = float(np.median(edges))
    owners = {}
    for k, (numbers, spans) in sections.items():
        spanning = [n for n, (low, high) in enumerate(spans, start=1) if low < -inner and high > inner]
        central = [n for n, (low, high) in enumerate(spans, start=1) if low >= -inner and high <= inner]
        owners[k] = (numbers, spanning, central)
    return inner, owners


def _label_lobe(labels: Labels, lobe: npt.NDArray[np.bool_], first: int, sign: int) -> None:
    """Write thirds and quarters of one lobe into `labels`."""
    heights = np.flatnonzero(lobe.any(axis=(0, 1)))
    for k in heights.tolist():
        i, j = np.nonzero(lobe[:, :, k])
        third = 2 - min(int(3 * (k - heights[0]) / len(heights)), 2)
        out = sign * (i - i.mean()) / max(i.std(), 1e-6)
        forward = (j - j.mean()) / max(j.std(), 1e-6)
        beside = np.abs(out) >= np.abs(forward)
        quarter = np.where(beside, np.where(out < 0, 0, 1), np.where(forward > 0, 2, 3))
        labels[i, j, k] = 1 + first + 4 * third + quarter
