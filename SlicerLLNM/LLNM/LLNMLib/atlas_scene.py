"""The 3D risk atlas in the scene: the template's surface, its risk, and where a patient's nodule lies.

Comes in: an atlas folder (`llnm atlas build`) and, if wanted, a patient whose result has a place. Goes out: a model
coloured by risk, a volume with volume rendering, a fiducial at the nodule, and sentences with region and probability.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from LLNMLib import NOTICE, patient_node
from LLNMLib.interfaces import logic_error
from LLNMLib.patient_node import PatientNode
from LLNMLib.transaction import Changes, transaction
from LLNMLib.ultrasound import image_of, read_frames

ATLAS = "LLNM.Atlas"
"""Attribute of the nodes of an atlas: a hash of its `atlas.json`, so that an atlas is in the scene once."""
_COLOURS = ("vtkMRMLColorTableNodeFileInferno.txt", "vtkMRMLColorTableNodeIron")
_NOT_KNOWN = "no place in the atlas: predict with the atlas and the side (left or right), and with both views"
_SMOOTHING = 20


def show(scene: Any, folder: Path, patient: PatientNode | None) -> tuple[str, ...]:
    """Show an atlas, and a patient's nodule in it; gives sentences. Raises LogicError for a folder that is no atlas."""
    about, key = _about(folder)
    risk, matrix = _volume(folder / "risk.nii.gz")
    labels, _ = _volume(folder / "labels.nii.gz")
    if risk.shape != labels.shape:
        raise logic_error("InputError", f"{folder}: its volumes differ in size", "build the atlas again")
    blank = float(about["blank"])
    known = risk[risk != blank]
    top = float(known.max()) if known.size else 1.0
    place = None if patient is None or patient.result is None else patient.result["location"]
    with transaction(scene) as changes:
        if not _nodes(scene, key):
            _add_volume(changes, key, risk, matrix, blank, top)
            _add_model(changes, key, folder, labels, risk, matrix, blank, top)
        lines = [_title(about)]
        if patient is not None:
            changes.keep(patient.node)
            lines += _place(patient, place, changes)
    return (*lines, NOTICE)


def check(folder: Path) -> None:
    """Raises LogicError for a folder that is no atlas."""
    _about(folder)


def _about(folder: Path) -> tuple[dict[str, Any], str]:
    try:
        content = (folder / "atlas.json").read_bytes()
        about = json.loads(content)
        about["blank"], about["regions"], about["method"], about["about"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        text = f"{folder}: is no atlas (atlas.json)"
        raise logic_error("InputError", text, "choose a folder that llnm atlas build made") from error
    return about, hashlib.sha256(content).hexdigest()[:16]


def _title(about: dict[str, Any]) -> str:
    patients = about["about"].get("patients", "an unknown number of")
    cohort = "simulated patients" if about["about"].get("cohort") == "simulated" else "patients"
    unit = "probability of metastasis" if about["method"] == "beta" else "relative risk, no probability"
    return f"Atlas of {patients} {cohort}: {unit}."


def _volume(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(k, j, i) values and the IJK-to-RAS matrix."""
    frames = read_frames(path)
    if frames.ijk_to_ras is None or frames.values.ndim != 3:
        raise logic_error("InputError", f"{path}: is no volume", "build the atlas again")
    return frames.values, frames.ijk_to_ras


def _nodes(scene: Any, key: str) -> list[Any]:
    nodes = [scene.GetNthNode(number) for number in range(scene.GetNumberOfNodes())]
    return [node for node in nodes if node.GetAttribute(ATLAS) == key]


def _add_volume(changes: Changes, key: str, risk: np.ndarray, matrix: np.ndarray, blank: float, top: float) -> None:
    """The risk as a volume; where there is no evidence it stays at `blank` and is not drawn."""
    node = slicer.vtkMRMLScalarVolumeNode()
    node.SetName("Atlas risk")
    node.SetAttribute(ATLAS, key)
    node.SetAndObserveImageData(image_of(risk))
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
    changes.add(node)
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    changes.added_along(display)
    _colour(display, top)
    display.AutoThresholdOff()
    display.SetThreshold(0, top)
    display.ApplyThresholdOn()
    rendering = changes.scene.CreateNodeByClass("vtkMRMLGPURayCastVolumeRenderingDisplayNode")
    if rendering is None:  # Slicer without its module for volume rendering
        return
    rendering.UnRegister(None)
    properties = slicer.vtkMRMLVolumePropertyNode()
    properties.SetName("Atlas risk colours")
    properties.SetAttribute(ATLAS, key)
    _fill(properties.GetVolumeProperty(), blank, top)
    changes.add(properties)
    changes.add(rendering)
    rendering.SetName("Atlas risk rendering")
    rendering.SetAndObserveVolumePropertyNodeID(properties.GetID())
    node.AddAndObserveDisplayNodeID(rendering.GetID())
    rendering.SetVisibility(True)


def _fill(volume_property: Any, blank: float, top: float) -> None:
    """Colours and opacity of the risk: nothing without evidence, faint where it is low."""
    opacity, colours = vtk.vtkPiecewiseFunction(), vtk.vtkColorTransferFunction()
    for share, shown in ((0.0, 0.0), (0.3, 0.004), (0.6, 0.015), (1.0, 0.07)):
        opacity.AddPoint(share * top, shown)
    opacity.AddPoint(blank, 0.0)
    # Five stops of matplotlib's `inferno`, those of the report.
    stops = ((0.0, 0.0, 0.016), (0.341, 0.063, 0.431), (0.737, 0.216, 0.329), (0.976, 0.557, 0.035), (0.988, 1, 0.643))
    for number, stop in enumerate(stops):
        colours.AddRGBPoint(number / 4 * top, *stop)
    volume_property.SetScalarOpacity(opacity)
    volume_property.SetColor(colours)
    volume_property.SetInterpolationTypeToLinear()
    volume_property.ShadeOff()


def _add_model(
    changes: Changes,
    key: str,
    folder: Path,
    labels: np.ndarray,
    risk: np.ndarray,
    matrix: np.ndarray,
    blank: float,
    top: float,
) -> None:
    """The template's surface: the atlas's own mesh, or one made of its labels where it has none."""
    surface = _read_mesh(folder / "template.vtp") or _surface(labels, risk, matrix, blank)
    node = slicer.vtkMRMLModelNode()
    node.SetName("Atlas template")
    node.SetAttribute(ATLAS, key)
    node.SetAndObservePolyData(surface)
    changes.add(node)
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    changes.added_along(display)
    display.SetActiveScalar("risk", vtk.vtkAssignAttribute.POINT_DATA)
    display.SetScalarVisibility(True)
    display.SetScalarRangeFlag(slicer.vtkMRMLDisplayNode.UseManualScalarRange)
    display.SetScalarRange(0, top)
    _colour(display, top)
    display.SetOpacity(0.3)
    display.SetVisibility2D(True)


def _colour(display: Any, top: float) -> None:
    scene = display.GetScene()
    colours = next((name for name in _COLOURS if scene.GetNodeByID(name) is not None), None)
    if colours is not None:
        display.SetAndObserveColorNodeID(colours)
    if display.IsA("vtkMRMLScalarVolumeDisplayNode"):
        display.AutoWindowLevelOff()
        display.SetWindowLevelMinMax(0, top)


def _read_mesh(path: Path) -> Any | None:
    """The atlas's mesh in RAS mm; None where there is none that can be used."""
    if not path.is_file():
        return None
    reader = vtk.vtkXMLPolyDataReader()
    reader.SetFileName(str(path))
    reader.Update()
    surface = reader.GetOutput()
    values = surface.GetPointData().GetArray("risk")
    if surface.GetNumberOfPoints() == 0 or values is None:
        return None
    # A colour table has no colour for "not a number"; below its range the lowest one is shown.
    array = vtk_to_numpy(values)
    array[np.isnan(array)] = -1
    return surface


def _surface(labels: np.ndarray, risk: np.ndarray, matrix: np.ndarray, blank: float) -> Any:
    """The surface around all labels in RAS mm, smoothed, with the risk of the nearest voxel as point data."""
    cubes = vtk.vtkDiscreteFlyingEdges3D()
    cubes.SetInputData(image_of(np.pad(labels > 0, 1).astype(np.uint8)))
    cubes.SetValue(0, 1)
    smooth = vtk.vtkWindowedSincPolyDataFilter()
    smooth.SetInputConnection(cubes.GetOutputPort())
    smooth.SetNumberOfIterations(_SMOOTHING)
    smooth.SetPassBand(0.1)
    to_ras = vtk.vtkTransform()
    to_ras.SetMatrix(slicer.util.vtkMatrixFromArray(matrix))
    to_ras.Translate(-1, -1, -1)  # what was padded
    moved = vtk.vtkTransformPolyDataFilter()
    moved.SetTransform(to_ras)
    moved.SetInputConnection(smooth.GetOutputPort())
    normals = vtk.vtkPolyDataNormals()
    normals.SetInputConnection(moved.GetOutputPort())
    normals.SplittingOff()
    normals.Update()
    surface = normals.GetOutput()
    inside = np.argwhere(labels > 0)
    points = vtk_to_numpy(surface.GetPoints().GetData())
    index = (points - matrix[:3, 3]) @ np.linalg.inv(matrix[:3, :3]).T
    nearest = _nearest(inside[:, ::-1].astype(float), index)
    values = risk[tuple(inside[nearest].T)].astype(np.float32)
    scalars = numpy_to_vtk(np.where(values == blank, -1, values), deep=True)
    scalars.SetName("risk")
    surface.GetPointData().AddArray(scalars)
    surface.GetPointData().SetActiveScalars("risk")
    return surface


def _nearest(known: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """For each of `asked` (n, 3) the number of the nearest of `known` (m, 3)."""
    points = vtk.vtkPoints()
    points.SetData(numpy_to_vtk(known, deep=True))
    data = vtk.vtkPolyData()
    data.SetPoints(points)
    locator = vtk.vtkKdTreePointLocator()
    locator.SetDataSet(data)
    locator.BuildLocator()
    return np.array([locator.FindClosestPoint(point) for point in asked], dtype=int)


def _place(patient: PatientNode, place: dict[str, Any] | None, changes: Changes) -> list[str]:
    """Mark the nodule; gives what is known of its place. A mark of an earlier result is removed."""
    role = patient_node.NODULE_PLACE
    node = patient.reference(role)
    position = None if place is None else place.get("place_ras_mm")
    if place is None or position is None:
        changes.remove_later(node)
        patient.set_reference(role, None)
        return [f"{patient.name}: {_NOT_KNOWN}."]
    text = f"{patient.name}: {place['region']}"
    if place["atlas_probability"] is not None:
        low, high = place["atlas_interval"] or (None, None)
        interval = "" if low is None else f" ({low:.0%} to {high:.0%})"
        text += f", {place['atlas_probability']:.0%}{interval} of the nodules there had metastases"
    else:
        text += ", where the atlas gives no probability"
    if node is None:
        node = slicer.vtkMRMLMarkupsFiducialNode()
        node.SetName(f"{patient.name} nodule")
        changes.add(node)
        node.CreateDefaultDisplayNodes()
        changes.added_along(node.GetDisplayNode())
        patient.set_reference(role, node)
        patient.adopt(node)
    else:
        changes.keep(node)
        node.RemoveAllControlPoints()
    node.AddControlPoint(vtk.vtkVector3d(*position), patient.name)
    node.SetNthControlPointDescription(0, f"{text}. {NOTICE}")
    node.SetLocked(True)
    display = node.GetDisplayNode()
    display.SetSelectedColor(0.0, 0.45, 0.70)
    display.SetGlyphType(slicer.vtkMRMLMarkupsDisplayNode.Sphere3D)
    # The nodule lies inside the gland, whose surface must not hide it.
    display.SetOccludedVisibility(True)
    display.SetOccludedOpacity(1.0)
    display.SetUseGlyphScale(False)
    display.SetGlyphSize(4.0)
    return [f"{text}."]
