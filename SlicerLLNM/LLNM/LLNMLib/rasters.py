"""Pixels of PNG, JPEG, BMP and TIFF files, and masks as PNG, with the VTK that is part of Slicer.

Comes in: a path. Goes out: an array (row, column[, channel]) whose first row is the top of the picture, and back.
Slicer's own loader is not used, because it is not there without the application.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from LLNMLib.interfaces import logic_error

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


def read_raster(path: Path) -> np.ndarray:
    """The pixels of one picture; raises LogicError for a file that is none."""
    reader = _reader(path)
    reader.SetFileName(str(path))
    if not (path.is_file() and reader.CanReadFile(str(path))):
        raise logic_error("InputError", f"{path.name}: this is no {path.suffix[1:].upper()} picture", "export it again")
    reader.Update()
    image = reader.GetOutput()
    columns, rows, _ = image.GetDimensions()
    scalars = image.GetPointData().GetScalars()
    if reader.GetErrorCode() or scalars is None or rows * columns == 0:
        raise logic_error(
            "InputError", f"{path.name}: the picture cannot be read, it may be cut short", "export it again"
        )
    values = vtk_to_numpy(scalars).reshape(rows, columns, -1)
    # VTK's first row is the bottom one, in TIFF files as they store it (the top one).
    values = values if isinstance(reader, vtk.vtkTIFFReader) else values[::-1]
    return np.ascontiguousarray(values[..., 0] if values.shape[2] == 1 else values)


def read_mask(path: Path) -> np.ndarray:
    """A mask that `llnm` wrote: (row, column) bool."""
    values = read_raster(path)
    return (values if values.ndim == 2 else values[..., :3].max(axis=2)) > 0


def write_mask(path: Path, mask: np.ndarray) -> None:
    """Write (row, column) as 8-bit PNG, 0 outside and 255 inside; raises LogicError if it cannot be written."""
    rows, columns = mask.shape
    image = vtk.vtkImageData()
    image.SetDimensions(columns, rows, 1)
    values = np.where(mask, 255, 0).astype(np.uint8)[::-1]
    image.GetPointData().SetScalars(numpy_to_vtk(values.ravel(), deep=True, array_type=vtk.VTK_UNSIGNED_CHAR))
    writer = vtk.vtkPNGWriter()
    writer.SetFileName(str(path))
    writer.SetInputData(image)
    writer.Write()
    if writer.GetErrorCode() or not path.is_file():
        raise logic_error("DiskFull", f"{path}: cannot be written", "free some space or choose another folder")


def _reader(path: Path) -> Any:
    suffix = path.suffix.lower()
    if suffix == ".png":
        return vtk.vtkPNGReader()
    if suffix in {".jpg", ".jpeg"}:
        return vtk.vtkJPEGReader()
    if suffix in {".tif", ".tiff"}:
        return vtk.vtkTIFFReader()
    reader = vtk.vtkBMPReader()
    reader.SetAllow8BitBMP(True)
    return reader
