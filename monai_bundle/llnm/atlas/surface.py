"""What is drawn of an atlas, on the page and in the scene: its voxels around the gland, and the gland's surface.

Comes in: an `Atlas`. Goes out: a `Grid`, and vertices and triangles in RAS millimetres.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from llnm.atlas.model import Atlas
from llnm.errors import InputError

# Larger grids are thinned: a page is to stay below 8 MB, and a browser to turn it.
_MOST_VOXELS = 1_500_000
_SMOOTH_MM, _TRIANGLE_MM = 0.8, 1.6


@dataclass(frozen=True)
class Grid:
    """What is drawn: arrays (i, j, k) cut to the gland, with axes to the right, front and head.

    `origin`: RAS mm of the first voxel; `spacing`: mm. Large grids are thinned.
    """

    labels: npt.NDArray[np.uint8]
    risk: npt.NDArray[np.float32]
    low: npt.NDArray[np.float32]
    high: npt.NDArray[np.float32]
    origin: npt.NDArray[np.float64]
    spacing: npt.NDArray[np.float64]

    def around(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Values (i, j, k) that outside the gland are those of its nearest voxel, so that its edge has them too."""
        nearest = ndimage.distance_transform_edt(self.labels == 0, return_distances=False, return_indices=True)
        return np.asarray(values[tuple(nearest)])


def grid_of(atlas: Atlas) -> Grid:
    """What is drawn of an atlas; raises InputError without gland, or where its grid is not along the body's axes."""
    affine = atlas.template.affine
    steps = np.diag(affine[:3, :3])
    if not np.allclose(affine[:3, :3], np.diag(steps), atol=1e-4 * np.abs(affine[:3, :3]).max()):
        raise InputError("atlas: its grid is not along the axes of the body; build it on a template of llnm")
    if not (atlas.template.labels > 0).any():
        raise InputError("atlas: labels.nii.gz names no voxel of a gland; build the atlas again")
    (box,) = ndimage.find_objects((atlas.template.labels > 0).astype(np.uint8))
    box = tuple(slice(max(0, part.start - 3), part.stop + 3) for part in box)
    stride = int(np.ceil((np.prod([part.stop - part.start for part in box]) / _MOST_VOXELS) ** (1 / 3)))
    first = atlas.template.position([part.start for part in box])
    turn = tuple(slice(None, None, -1 if step < 0 else 1) for step in steps)

    def cut(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return values[box][::stride, ::stride, ::stride][turn]

    labels = cut(atlas.template.labels)
    last = first + steps * stride * (np.array(labels.shape) - 1)
    risk, low, high = (cut(values) for values in (atlas.risk, atlas.low, atlas.high))
    return Grid(labels, risk, low, high, np.minimum(first, last), np.abs(steps) * stride)


def surface_of(grid: Grid) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint32]]:
    """The gland's surface, a little smoothed: vertices (n, 8) and triangles (m, 3), counter-clockwise from outside.

    A vertex is its RAS mm, its normal, and (risk where known, known), each 0-1, whose quotient is the risk.
    """
    from skimage.measure import marching_cubes

    # Coarser than the voxels: triangles are what costs time in a software renderer.
    steps = np.maximum(_TRIANGLE_MM / grid.spacing, 1)
    # A rim, so that a gland at the border of its grid is closed too.
    rim = int(np.ceil(steps.max())) + 2
    mask = np.pad((grid.labels > 0).astype(np.float32), rim)
    smooth = np.maximum(ndimage.gaussian_filter(mask, _SMOOTH_MM / grid.spacing), 0.55 * mask)
    axes = [np.arange(0, n - 1, step) for n, step in zip(mask.shape, steps, strict=True)]
    coarse = ndimage.map_coordinates(smooth, np.meshgrid(*axes, indexing="ij"), order=1)
    vertices, faces, normals, _ = marching_cubes(coarse, 0.5, spacing=tuple(grid.spacing * steps))
    vertices += grid.origin - rim * grid.spacing
    known = _known_at(vertices, grid.around(grid.risk), grid)
    # scikit-image winds triangles clockwise; WebGL and VTK take the other side for the front.
    return np.hstack([vertices, normals, known]).astype(np.float32), faces[:, ::-1].astype(np.uint32)


def _known_at(vertices: npt.NDArray[np.float32], risk: npt.NDArray[np.float32], grid: Grid) -> npt.NDArray[np.float64]:
    """(risk where known, known) at each vertex (n, 2), both interpolated."""
    index = ((vertices - grid.origin) / grid.spacing).T
    known = np.isfinite(risk).astype(float)
    volumes = (np.nan_to_num(risk), known)
    return np.stack([ndimage.map_coordinates(values, index, order=1, mode="nearest") for values in volumes], axis=1)
