"""One patient in the scene: a parameter node that refers to everything that belongs to the patient.

Comes in: a scene, or a parameter node found in it. Goes out: a `PatientNode`, through which the images, the clinical
values and the results of this patient are read and set. Several patients live side by side in one scene; each has a
folder in the subject hierarchy, and all is saved and loaded with the scene.

The names below are those of the node's parameters and reference roles, so that a `parameterNodeWrapper` of Slicer
with fields of the same names reads and writes the same node.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from typing import Any

import numpy as np
import slicer
import vtk

from LLNMLib import masks
from LLNMLib.interfaces import PLANES, STRUCTURES, logic_error
from LLNMLib.transaction import transaction
from LLNMLib.ultrasound import name_of, pixels_of, spacing_of

MODULE_NAME = "LLNM"

# Parameters (strings; "" is unknown)
PATIENT, REPORT, AGE, SEX, SIDE = "patient", "reportText", "age", "sex", "side"
PARAMETERS = (PATIENT, REPORT, AGE, SEX, SIDE)
_KEY, _INPUTS = "key", "inputsOfResult"

# Roles of node references. Those with a plane in their name exist for both planes.
VIEW = {"transverse": "transverse", "longitudinal": "longitudinal"}
SEGMENTATION = {"transverse": "transverseMasks", "longitudinal": "longitudinalMasks"}
HEAT = {"transverse": "transverseHeat", "longitudinal": "longitudinalHeat"}
POINT = {"transverse": "transversePoint", "longitudinal": "longitudinalPoint"}
SLICE_VIEW = {"transverse": "vtkMRMLSliceNodeRed", "longitudinal": "vtkMRMLSliceNodeYellow"}
"""The slice view in which a plane's outlines are drawn."""
RESULT, REPORT_PAGE, SUMMARY = "result", "reportPage", "summary"
CONTRIBUTIONS, SERIES, CHART = "contributions", "contributionsSeries", "contributionsChart"
NODULE_PLACE = "nodulePlace"
RESULTS = (
    *SEGMENTATION.values(),
    *HEAT.values(),
    RESULT,
    REPORT_PAGE,
    SUMMARY,
    CONTRIBUTIONS,
    SERIES,
    CHART,
    NODULE_PLACE,
)
"""Roles of what is computed, and removed with the patient."""

_FOLDER_ATTRIBUTE = "LLNM.Patient"


class PatientNode:
    """A patient; `node` is its vtkMRMLScriptedModuleNode. Two objects of the same node are equal."""

    def __init__(self, node: Any) -> None:
        self.node = node

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PatientNode) and other.node is self.node

    def __hash__(self) -> int:
        return hash(self.parameter(_KEY))

    @property
    def name(self) -> str:
        """The pseudonym."""
        return self.parameter(PATIENT)

    def parameter(self, name: str) -> str:
        """One of `PARAMETERS`; "" where it is unknown."""
        return str(self.node.GetParameter(name) or "").strip()

    def set_parameter(self, name: str, value: str) -> None:
        """Set one of `PARAMETERS`."""
        if self.parameter(name) != value:
            self.node.SetParameter(name, value)
        if name == PATIENT:
            self.node.SetName(f"LLNM {value}")
            hierarchy = _hierarchy(self.node.GetScene())
            hierarchy.SetItemName(self.folder, value)

    def view(self, plane: str) -> Any | None:
        """The volume node of a plane (`transverse`, `longitudinal`)."""
        return self.node.GetNodeReference(VIEW[plane])

    def set_view(self, plane: str, volume_node: Any | None) -> None:
        """Choose the volume of a plane; a sequence gives the frame that its browser shows.

        Raises LogicError for a sequence that no browser shows, and for a volume that is the other plane already.
        """
        volume = shown_volume(volume_node)
        other = next(name for name in PLANES if name != plane)
        if volume is not None and volume is self.view(other):
            text = f"{name_of(volume)}: it is the {other} view already"
            raise logic_error("InputError", text, f"choose another image for the {plane} view")
        self.node.SetNodeReferenceID(VIEW[plane], None if volume is None else volume.GetID())

    def segmentation(self, plane: str) -> Any | None:
        """The segmentation node of a plane, with the segments `gland` and `nodule`; None before there are masks."""
        return self.node.GetNodeReference(SEGMENTATION[plane])

    def reference(self, role: str) -> Any | None:
        """The node in another role (`CONTRIBUTIONS`, `CHART`, `HEAT[plane]`, `NODULE_PLACE`, ...)."""
        return self.node.GetNodeReference(role)

    def set_reference(self, role: str, node: Any | None) -> None:
        """Set the node in a role."""
        self.node.SetNodeReferenceID(role, None if node is None else node.GetID())

    @property
    def result(self) -> dict[str, Any] | None:
        """`result.json` of the last prediction, or None."""
        node = self.reference(RESULT)
        return None if node is None else json.loads(node.GetText())

    @property
    def stale(self) -> bool:
        """Whether an input (image, mask, clinical value) has changed since the last prediction."""
        return self.reference(RESULT) is not None and self.node.GetParameter(_INPUTS) != self.fingerprint()

    def remember_inputs(self, fingerprint: str) -> None:
        """Note what the result that is put into the scene was made of."""
        self.node.SetParameter(_INPUTS, fingerprint)

    def fingerprint(self, given: Mapping[str, Mapping[str, np.ndarray]] | None = None) -> str:
        """A text that differs where an input of the prediction does; `given`: masks that are to come into the scene."""
        digest = hashlib.sha256(json.dumps([self.parameter(name) for name in PARAMETERS]).encode())
        for plane in PLANES:
            volume = self.view(plane)
            if volume is None or volume.GetImageData() is None:
                digest.update(b"none")
                continue
            pixels = pixels_of(volume)
            digest.update(f"{plane} {pixels.shape} {spacing_of(volume)!r}".encode() + pixels.tobytes())
            for structure in STRUCTURES:
                mask = (given or {}).get(plane, {}).get(structure)
                mask = masks.corrected(self.segmentation(plane), structure, volume) if mask is None else mask
                digest.update(b"drawn by the network" if mask is None else mask.tobytes())
        return digest.hexdigest()

    @property
    def folder(self) -> int:
        """The patient's item in the subject hierarchy; made where it is not there."""
        hierarchy = _hierarchy(self.node.GetScene())
        items = vtk.vtkIdList()
        hierarchy.GetItemChildren(hierarchy.GetSceneItemID(), items, False)
        for number in range(items.GetNumberOfIds()):
            item = items.GetId(number)
            if hierarchy.GetItemAttribute(item, _FOLDER_ATTRIBUTE) == self.parameter(_KEY):
                return int(item)
        item = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), self.name)
        hierarchy.SetItemAttribute(item, _FOLDER_ATTRIBUTE, self.parameter(_KEY))
        return int(item)

    def adopt(self, node: Any) -> None:
        """Put a node into the patient's folder."""
        _hierarchy(self.node.GetScene()).CreateItem(self.folder, node)


def add_patient(scene: Any, name: str) -> PatientNode:
    """A new patient; `name` "" gives the first free "Patient 1", "Patient 2", ..."""
    taken = {patient.name for patient in patients_of(scene)}
    if not name:
        name = next(f"Patient {n}" for n in range(1, len(taken) + 2) if f"Patient {n}" not in taken)
    if name in taken:
        raise logic_error("InputError", f"{name}: there is a patient of this name already", "choose another pseudonym")
    node = slicer.vtkMRMLScriptedModuleNode()
    node.SetModuleName(MODULE_NAME)
    node.SetAttribute("ModuleName", MODULE_NAME)
    node.SetUndoEnabled(True)
    node.SetParameter(_KEY, uuid.uuid4().hex)
    scene.AddNode(node)
    patient = PatientNode(node)
    patient.set_parameter(PATIENT, name)
    patient.adopt(node)
    return patient


def patients_of(scene: Any) -> list[PatientNode]:
    """All patients of a scene."""
    count = scene.GetNumberOfNodesByClass("vtkMRMLScriptedModuleNode")
    nodes = [scene.GetNthNodeByClass(number, "vtkMRMLScriptedModuleNode") for number in range(count)]
    return [PatientNode(node) for node in nodes if node.GetModuleName() == MODULE_NAME and node.GetParameter(_KEY)]


def is_in_scene(patient: PatientNode, scene: Any) -> bool:
    """Whether a patient is still there: a scene may be closed while a task runs."""
    return bool(scene.IsNodePresent(patient.node))


def remove(patient: PatientNode) -> None:
    """Remove a patient, its folder and what was computed for it, in one undo step; its images stay."""
    scene, folder = patient.node.GetScene(), patient.folder
    with transaction(scene) as changes:
        for role in RESULTS:
            changes.remove_later(patient.reference(role))
        changes.remove_later(patient.node)
    _hierarchy(scene).RemoveItem(folder, False, True)


def set_visibility(patient: PatientNode, visible: bool) -> None:
    """Show or hide what was computed for a patient."""
    for role in (*SEGMENTATION.values(), *HEAT.values(), NODULE_PLACE):
        node = patient.reference(role)
        if node is not None and node.GetDisplayNode() is not None:
            node.GetDisplayNode().SetVisibility(visible)


def shown_volume(node: Any | None) -> Any | None:
    """The volume itself, or of a sequence the frame that its browser shows; raises LogicError where none does."""
    if node is None or not node.IsA("vtkMRMLSequenceNode"):
        return node
    scene = node.GetScene()
    for number in range(scene.GetNumberOfNodesByClass("vtkMRMLSequenceBrowserNode")):
        browser = scene.GetNthNodeByClass(number, "vtkMRMLSequenceBrowserNode")
        proxy = browser.GetProxyNode(node) if browser.IsSynchronizedSequenceNode(node, True) else None
        if proxy is not None:
            return proxy
    raise logic_error("InputError", f"{node.GetName()}: no browser shows this sequence", "open it in Sequences first")


def _hierarchy(scene: Any) -> Any:
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
