"""A template of the shape that glands have on average: segmentations in 3D, from CT or swept ultrasound, become one.

Comes in: two or more segmentations of whole thyroids (NIfTI or NRRD, in millimetres). Goes out: a `Template`.

With the middle of the isthmus at 0, each gland is stretched along the axes to the cohort's mean width, depth and
height; the capsule of the mean is where the mean signed distance to the capsules is 0 (shape-based averaging, Rohlfing
and Maurer, IEEE Trans. Inf. Technol. Biomed. 11, 101, 2007). So no single gland decides, and sizes are those of the
cohort. ANTs' own template building was tried: on distances of scaled copies of one gland its mean was 70 % too large.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from llnm.atlas.model import Template
from llnm.atlas.template import MARGIN_MM, Floats, read_template, template_of
from llnm.errors import InputError


def mean_template(paths: Sequence[Path], spacing_mm: float = 1.0) -> Template:
    """The mean shape of the glands in the files, on cubic voxels.

    Raises InputError for fewer than two files, or as `read_template` for what is no thyroid in millimetres.
    """
    if len(paths) < 2:
        raise InputError(f"segmentations: {len(paths)} given; a mean needs two or more, one is a template by itself")
    glands = [read_template(path, spacing_mm) for path in paths]
    ends = np.array([_ends(gland) for gland in glands])
    extents = ends[:, 1] - ends[:, 0]
    low, high = ends.mean(axis=0)
    affine = np.diag([spacing_mm] * 3 + [1.0])
    affine[:3, 3] = low - MARGIN_MM
    shape = tuple(np.ceil((high - low + 2 * MARGIN_MM) / spacing_mm).astype(int) + 1)
    stretches = extents.mean(axis=0) / extents
    mean = np.mean([_distance(*each, affine, shape) for each in zip(glands, stretches, strict=True)], axis=0)
    numbers, _ = ndimage.label(mean > 0)
    largest = numbers == 1 + np.bincount(numbers.ravel())[1:].argmax()
    return template_of(largest, affine, f"mean of {len(paths)} glands")


def _ends(gland: Template) -> Floats:
    """Least and largest position (2, 3) in mm of the gland's voxels, with the voxels' own halves."""
    positions = gland.position(np.argwhere(gland.labels > 0))
    half = np.asarray(gland.spacing_mm) / 2
    return np.stack((positions.min(axis=0) - half, positions.max(axis=0) + half))


def _distance(gland: Template, stretch: Floats, affine: Floats, shape: tuple[int, ...]) -> Floats:
    """Signed distance (mm, positive inside) to the capsule of a stretched gland, on the given grid."""
    to_gland = np.linalg.inv(gland.affine) @ np.diag([*(1 / stretch), 1.0]) @ affine
    soft = (gland.labels > 0).astype(float)
    mask = ndimage.affine_transform(soft, to_gland[:3, :3], to_gland[:3, 3], shape, order=1) >= 0.5
    spacing = np.diag(affine)[:3]
    inside, outside = (ndimage.distance_transform_edt(part, spacing) for part in (mask, ~mask))
    return np.asarray(np.where(mask, inside, -outside))
