"""What tests of the logic do with scenes: fill them, and tell whether anything has changed."""

import sys
from pathlib import Path

import numpy as np
import slicer
from vtk.util.numpy_support import vtk_to_numpy

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "SlicerLLNM" / "LLNM"))

from LLNMLib.interfaces import PLANES  # noqa: E402


def add_patient(logic, row, name="P1"):
    """A patient of a table's row, loaded into the scene."""
    patient = logic.new_patient(name)
    for plane in PLANES:
        patient.set_view(plane, logic.load_image(row[plane], float(row[f"{plane}_spacing_mm"])).node)
    values = {"age": row["age"], "sex": row["sex"], "side": row["side"]}
    for parameter, value in {**values, "reportText": Path(row["report"]).read_text(encoding="utf-8")}.items():
        patient.set_parameter(parameter, value)
    return patient


def contents(scene):
    """What a scene holds, as text by node: to tell that nothing has changed."""
    found = {}
    for number in range(scene.GetNumberOfNodes()):
        node = scene.GetNthNode(number)
        if not node.IsA("vtkMRMLColorNode"):
            found[node.GetID()] = (node.GetName(), *_values(node), *_references(node))
    return found


def _values(node):
    if node.IsA("vtkMRMLVolumeNode"):
        array = slicer.util.arrayFromVolume(node)
        return array.shape, array.tobytes(), node.GetSpacing()
    if node.IsA("vtkMRMLTextNode"):
        return (node.GetText(),)
    if node.IsA("vtkMRMLScriptedModuleNode"):
        return tuple((name, node.GetParameter(name)) for name in sorted(node.GetParameterNames()))
    if node.IsA("vtkMRMLSegmentationNode"):
        segments = node.GetSegmentation().GetSegmentIDs()
        return tuple((name, _labels(node, name)) for name in segments)
    return ()


def _labels(node, segment):
    image = slicer.vtkOrientedImageData()
    node.GetBinaryLabelmapRepresentation(segment, image)
    scalars = image.GetPointData().GetScalars()
    return image.GetExtent(), b"" if scalars is None else vtk_to_numpy(scalars).tobytes()


def _references(node):
    roles = (node.GetNthNodeReferenceRole(number) for number in range(node.GetNumberOfNodeReferenceRoles()))
    return tuple(sorted((role, node.GetNodeReferenceID(role)) for role in roles if node.GetNodeReferenceID(role)))


def a_view(rows=60, columns=80, colour=False, seed=0):
    """Pixels of some frame."""
    shape = (rows, columns, 3) if colour else (rows, columns)
    return np.random.default_rng(seed).integers(0, 255, shape, dtype=np.uint8)
