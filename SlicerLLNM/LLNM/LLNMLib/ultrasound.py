"""Ultrasound images in the scene: loaded with their calibrated spacing, and handed to `llnm` pixel for pixel.

Comes in: image files, or volume nodes (scalar or vector, one slice). Goes out: volume nodes; lossless NRRD files that
give the same result as the original file. An image's rows and columns are those of its file: nothing here
flips or resamples, so a mask drawn on the file fits the node's voxels whatever the node's orientation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from LLNMLib.dicom_regions import Calibration, calibration_of, frame_times, is_dicom, read_header
from LLNMLib.interfaces import LoadedImage, logic_error
from LLNMLib.rasters import SUFFIXES as RASTERS
from LLNMLib.rasters import read_raster

DECLARED = "LLNM.Declared"
"""Attribute of a volume: the `Calibration` of the file that it came from, as JSON; no name, no path."""
HEADER_FIELD = "llnm"
_AGREES = 1e-6
_SPACING_RANGE_MM = (0.005, 2.0)


@dataclass(frozen=True)
class Frames:
    """What a file holds: `values` (frame, row, column[, channel]), its calibration, and times (s) where it has them.

    `declared`: whether the calibration is to travel with the image because its file alone would not say so.
    `ijk_to_ras`: (4, 4) of a volume file; None for pictures and DICOM, which have no place in space.
    """

    values: np.ndarray
    calibration: Calibration
    declared: bool
    times: list[float] | None = None
    ijk_to_ras: np.ndarray | None = None


def read_frames(path: Path) -> Frames:
    """The frames of an image file as stored; raises LogicError for what cannot be used."""
    path = Path(path)
    if not path.is_file():
        raise logic_error("InputError", f"{path}: there is no such file", "check the path")
    if path.suffix.lower() in RASTERS:
        return Frames(read_raster(path)[None], Calibration(), declared=True)
    if not is_dicom(path):
        values, matrix = _read_volume(path)
        column, row, _ = (float(length) for length in np.linalg.norm(matrix[:3, :3], axis=0))
        known = not _same((row, column), (1.0, 1.0))
        calibration = Calibration((row, column) if known else None, "file header" if known else "none")
        return Frames(values, calibration, declared=False, ijk_to_ras=matrix)
    try:
        dataset = read_header(path)
        calibration = calibration_of(dataset)
    except (ValueError, AttributeError, TypeError) as error:
        raise logic_error("InputError", f"{path.name}: the DICOM file cannot be read", "export it again") from error
    values, _ = _read_volume(path)
    return Frames(values, calibration, declared=True, times=frame_times(dataset, len(values)))


def add_volume(scene: Any, frames: Frames, index: int, name: str) -> Any:
    """A volume node of one of `frames`, in the orientation in which Slicer shows such files."""
    node = placed_volume(frames, index, name)
    scene.AddNode(node)
    node.SetUndoEnabled(True)
    node.CreateDefaultDisplayNodes()
    return node


def placed_volume(frames: Frames, index: int, name: str) -> Any:
    """The same outside any scene."""
    node = new_volume(frames.values[index], name)
    if frames.ijk_to_ras is not None:
        node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(frames.ijk_to_ras))
    else:
        row, column = frames.calibration.spacing_mm or (1.0, 1.0)
        node.SetSpacing(column, row, 1.0)
        node.SetIJKToRASDirections(-1, 0, 0, 0, -1, 0, 0, 0, 1)
    if frames.declared:
        node.SetAttribute(DECLARED, frames.calibration.as_json())
    return node


def new_volume(frame: np.ndarray, name: str) -> Any:
    """A volume node outside any scene: (row, column) scalar, (row, column, channel) vector."""
    node = slicer.vtkMRMLVectorVolumeNode() if frame.ndim == 3 else slicer.vtkMRMLScalarVolumeNode()
    node.SetName(name)
    node.SetAndObserveImageData(image_of(frame[None]))
    return node


def image_of(values: np.ndarray) -> Any:
    """vtkImageData of (slice, row, column[, channel]), copied."""
    values = np.ascontiguousarray(values)
    channels = values.shape[3] if values.ndim == 4 else 1
    image = vtk.vtkImageData()
    image.SetDimensions(values.shape[2], values.shape[1], values.shape[0])
    scalars = numpy_to_vtk(values.reshape(-1, channels), deep=True)
    scalars.SetName("ImageScalars")
    image.GetPointData().SetScalars(scalars)
    return image


def pixels_of(volume: Any) -> np.ndarray:
    """The frame of a volume node, (row, column[, channel]); raises LogicError unless it holds exactly one frame."""
    image = volume.GetImageData() if volume is not None else None
    scalars = image.GetPointData().GetScalars() if image is not None else None
    if image is None or scalars is None:
        raise logic_error("InputError", f"{name_of(volume)}: the volume holds no image", "choose another one")
    columns, rows, slices = image.GetDimensions()
    values = vtk_to_numpy(scalars).reshape(slices, rows, columns, -1)
    if slices != 1:
        text = f"{name_of(volume)}: it holds {slices} slices, and a view is one"
        raise logic_error("InputError", text, "load the file as a sequence with this module and choose a frame")
    return values[0, ..., 0] if values.shape[3] == 1 else values[0]


def name_of(node: Any) -> str:
    """The name of a node for messages."""
    return "volume" if node is None else str(node.GetName() or node.GetID())


def spacing_of(volume: Any) -> tuple[float, float]:
    """(row, column) spacing of a volume node in mm; 1 where nobody knows it."""
    column, row, _ = volume.GetSpacing()
    return float(row), float(column)


def declared_of(volume: Any) -> Calibration | None:
    """What the volume's file said, where it travels with the volume."""
    text = volume.GetAttribute(DECLARED)
    return Calibration.from_json(text) if text else None


def spacing_given_by_hand(volume: Any) -> float | None:
    """The spacing (mm) that somebody gave to a volume whose file said otherwise or nothing; None where nobody did.

    Raises LogicError for pixels that are not square, which `llnm` takes only from files.
    """
    declared, actual = declared_of(volume), spacing_of(volume)
    if declared is None or _same(actual, declared.spacing_mm or (1.0, 1.0)):
        return None
    if not math.isclose(actual[0], actual[1], rel_tol=1e-3):
        text = f"{name_of(volume)}: its spacing was changed to {actual[0]:g} x {actual[1]:g} mm, which is not square"
        raise logic_error("InputError", text, "give one spacing for rows and columns")
    return actual[0]


def check_spacing(spacing_mm: float) -> float:
    """Millimetres per pixel; raises LogicError outside the range of ultrasound machines."""
    low, high = _SPACING_RANGE_MM
    if not low <= spacing_mm <= high:
        text = f"spacing: {spacing_mm:g} mm per pixel is outside {low:g}-{high:g}"
        raise logic_error("InputError", text, "check the unit (millimetres per pixel)")
    return float(spacing_mm)


def write_frame(volume: Any, path: Path) -> None:
    """Write the frame of a volume node as NRRD for `llnm`, with what its file said; raises LogicError."""
    declared = declared_of(volume)
    write_nrrd(path, pixels_of(volume)[None], spacing_of(volume), None if declared is None else declared.as_json())


def write_nrrd(path: Path, values: np.ndarray, spacing: tuple[float, float], declared: str | None = None) -> None:
    """Write (frame, row, column[, channel]) without loss; raises LogicError if the file cannot be written."""
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 0, spacing[1])
    matrix.SetElement(1, 1, spacing[0])
    writer = slicer.vtkTeemNRRDWriter()
    writer.SetFileName(str(path))
    writer.SetInputData(image_of(values))
    writer.SetIJKToRASMatrix(matrix)
    writer.SetUseCompression(True)
    if declared is not None:
        writer.SetAttribute(HEADER_FIELD, declared)
    writer.Write()
    if writer.GetWriteError() or not path.is_file():
        raise logic_error("DiskFull", f"{path}: cannot be written", "free some space on the disk and run again")


def set_spacing(volume: Any, spacing_mm: float) -> None:
    """Give a volume square pixels; what its file said stays known, so that a result tells both."""
    if declared_of(volume) is None:
        # Its file's spacing becomes something that was declared, from which the given one can be told.
        actual = spacing_of(volume)
        known = None if _same(actual, (1.0, 1.0)) else actual
        volume.SetAttribute(DECLARED, Calibration(known, "file header" if known else "none").as_json())
    volume.SetSpacing(spacing_mm, spacing_mm, volume.GetSpacing()[2])


def calibrate(volume: Any, path: Path | None) -> tuple[str, ...]:
    """Set the spacing of a volume that Slicer loaded from the DICOM file `path` to what its regions say, and say so.

    Nothing changes where the file is unknown, no DICOM file, or of another size.
    """
    if path is None or declared_of(volume) is not None or not path.is_file() or not is_dicom(path):
        return ()
    try:
        dataset = read_header(path)
        known = calibration_of(dataset)
    except (ValueError, AttributeError, TypeError):
        return ()
    columns, rows, _ = volume.GetImageData().GetDimensions()
    if (rows, columns) != (int(dataset.Rows), int(dataset.Columns)):
        return ()
    before, after = spacing_of(volume), known.spacing_mm or (1.0, 1.0)
    volume.SetAttribute(DECLARED, known.as_json())
    if _same(before, after):
        return known.warnings
    volume.SetSpacing(after[1], after[0], volume.GetSpacing()[2])
    was = f"{before[0]:g} x {before[1]:g} mm"
    if known.spacing_mm is None:
        return (f"{name_of(volume)}: its spacing {was} is not known to be true and was set to 1", *known.warnings)
    text = f"{name_of(volume)}: spacing corrected from {was} to {after[0]:g} x {after[1]:g} mm ({known.source})"
    return (text, *known.warnings)


def file_of(volume: Any) -> Path | None:
    """The file that a volume was loaded from, by its storage node or Slicer's DICOM database."""
    uids = (volume.GetAttribute("DICOM.instanceUIDs") or "").split()
    database = getattr(slicer, "dicomDatabase", None)
    if uids and database is not None:
        name = database.fileForInstance(uids[0])
        return Path(name) if name else None
    storage = volume.GetStorageNode()
    name = storage.GetFileName() if storage is not None else None
    return Path(name) if name else None


def loaded(node: Any, calibration: Calibration, name: str, notes: tuple[str, ...] = ()) -> LoadedImage:
    """What the user hears of a loaded image."""
    if calibration.spacing_mm is not None:
        row, column = calibration.spacing_mm
        notes = (*notes, f"{name}: {row:.4g} x {column:.4g} mm per pixel ({calibration.source})")
    else:
        notes = (*notes, f"{name}: nobody knows its spacing; give millimetres per pixel, or nothing is in millimetres")
    return LoadedImage(node, calibration.source, (*notes, *calibration.warnings))


def _same(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return all(math.isclose(a, b, rel_tol=_AGREES) for a, b in zip(one, other, strict=True))


def _read_volume(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(frame, row, column[, channel]) and the IJK-to-RAS matrix, by the reader that Slicer itself uses."""
    loud = vtk.vtkObject.GetGlobalWarningDisplay()
    vtk.vtkObject.GlobalWarningDisplayOff()  # the first of the two readers complains of every colour file
    try:
        for kind in (slicer.vtkMRMLScalarVolumeNode, slicer.vtkMRMLVectorVolumeNode):
            node = kind()
            storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
            storage.SetFileName(str(path))
            storage.SetSingleFile(True)
            storage.SetCenterImage(False)
            scene = slicer.vtkMRMLScene()  # the reader keeps its messages in a scene
            scene.AddNode(node)
            scene.AddNode(storage)
            if storage.ReadData(node) and node.GetImageData() is not None:
                scalars = node.GetImageData().GetPointData().GetScalars()
                columns, rows, slices = node.GetImageData().GetDimensions()
                values = vtk_to_numpy(scalars).reshape(slices, rows, columns, -1)
                matrix = vtk.vtkMatrix4x4()
                node.GetIJKToRASMatrix(matrix)
                found = (values[..., 0] if values.shape[3] == 1 else values).copy()
                return found, slicer.util.arrayFromVTKMatrix(matrix)
    finally:
        vtk.vtkObject.SetGlobalWarningDisplay(loud)
    remedy = "give DICOM, NRRD, NIfTI, MetaImage, PNG, JPEG, BMP or TIFF"
    raise logic_error("InputError", f"{path.name}: the file cannot be read as an image", remedy)
