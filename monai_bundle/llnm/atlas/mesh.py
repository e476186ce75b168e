"""The template's surface with the risk on it, as a file that ParaView, 3D Slicer and other tools open.

Comes in: an `Atlas`. Goes out: `template.vtp` in RAS millimetres, with risk, interval, count and region as point data.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import ndimage
from skimage.measure import marching_cubes

from llnm import NOTICE
from llnm.atlas.model import Atlas
from llnm.errors import MissingExtraError
from llnm.files import whole_file

MESH = "template.vtp"


def write_mesh(path: Path, atlas: Atlas) -> None:
    """Write the gland's surface; a point has the values of the nearest voxel of the gland, NaN where that is blank.

    Raises InputError where the file cannot be written, MissingExtraError without VTK.
    """
    try:
        from vtkmodules.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray
        from vtkmodules.vtkCommonCore import vtkPoints, vtkStringArray
        from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkPolyData
        from vtkmodules.vtkIOXML import vtkXMLPolyDataWriter
    except ImportError as error:
        raise MissingExtraError("vtk", "atlas") from error
    gland = atlas.template.labels > 0
    smooth = ndimage.gaussian_filter(np.pad(gland, 2).astype(np.float32), 0.7)
    corners, faces, _, _ = marching_cubes(smooth, 0.5)
    corners = corners - 2
    if np.linalg.det(atlas.template.affine[:3, :3]) > 0:
        # scikit-image winds triangles clockwise, and VTK takes the other side for the front; mirrored grids turn them.
        faces = faces[:, ::-1]
    nearest = ndimage.distance_transform_edt(~gland, return_distances=False, return_indices=True)
    rounded = np.clip(np.round(corners).astype(int), 0, np.array(gland.shape) - 1)
    voxels = tuple(nearest[(slice(None), *rounded.T)])
    surface = vtkPolyData()
    points, cells = vtkPoints(), vtkCellArray()
    points.SetData(numpy_to_vtk(atlas.template.position(corners).astype(np.float32), deep=True))
    corners_of = np.insert(faces, 0, 3, axis=1).ravel().astype(np.int64)
    cells.SetCells(len(faces), numpy_to_vtkIdTypeArray(corners_of, deep=True))
    surface.SetPoints(points)
    surface.SetPolys(cells)
    for name in ("risk", "low", "high", "count", "region"):
        volume = atlas.template.labels if name == "region" else getattr(atlas, name)
        values = numpy_to_vtk(np.ascontiguousarray(volume[voxels]), deep=True)
        values.SetName(name)
        surface.GetPointData().AddArray(values)
    surface.GetPointData().SetActiveScalars("risk")
    # 3D Slicer takes the axes from SPACE.
    for name, text in {"SPACE": "RAS", "method": atlas.method, "notice": NOTICE}.items():
        words = vtkStringArray()
        words.SetName(name)
        words.InsertNextValue(text)
        surface.GetFieldData().AddArray(words)
    writer = vtkXMLPolyDataWriter()
    with whole_file(path) as temporary:
        writer.SetFileName(str(temporary))
        writer.SetInputData(surface)
        if not writer.Write():
            raise OSError(f"VTK could not write {path.name}")
