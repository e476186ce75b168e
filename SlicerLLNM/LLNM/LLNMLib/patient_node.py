"""One patient in the scene: a parameter node that refers to everything that belongs to the patient.

Comes in: a scene, or a parameter node found in it. Goes out: a `PatientNode`, through which the images, the clinical
values and the results of this patient are read and set. Several patients live side by side in one scene; each has a
folder in the subject hierarchy, and all is saved and loaded with the scene.

The names below are those of the node's parameters and reference roles, so that a `parameterNodeWrapper` of Slicer
with fields of the same names reads and writes the same node.
"""

from __future__ import annotations

from typing import Any

MODULE_NAME = "LLNM"

# Parameters (strings; "" is unknown)
PATIENT, REPORT, AGE, SEX, SIDE = "patient", "reportText", "age", "sex", "side"
PARAMETERS = (PATIENT, REPORT, AGE, SEX, SIDE)

# Roles of node references. Those with a plane in their name exist for both planes.
VIEW = {"transverse": "transverse", "longitudinal": "longitudinal"}
SEGMENTATION = {"transverse": "transverseMasks", "longitudinal": "longitudinalMasks"}
HEAT = {"transverse": "transverseHeat", "longitudinal": "longitudinalHeat"}
POINT = {"transverse": "transversePoint", "longitudinal": "longitudinalPoint"}
RESULT, REPORT_PAGE, SUMMARY = "result", "reportPage", "summary"
CONTRIBUTIONS, SERIES, CHART = "contributions", "contributionsSeries", "contributionsChart"
NODULE_PLACE = "nodulePlace"


class PatientNode:
    """A patient; `node` is its vtkMRMLScriptedModuleNode. Two objects of the same node are equal."""

    def __init__(self, node: Any) -> None:
        self.node = node

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PatientNode) and other.node is self.node

    def __hash__(self) -> int:
        return hash(self.node.GetID())

    @property
    def name(self) -> str:
        """The pseudonym."""
        raise NotImplementedError

    def parameter(self, name: str) -> str:
        """One of `PARAMETERS`; "" where it is unknown."""
        raise NotImplementedError

    def set_parameter(self, name: str, value: str) -> None:
        """Set one of `PARAMETERS`."""
        raise NotImplementedError

    def view(self, plane: str) -> Any | None:
        """The volume node of a plane (`transverse`, `longitudinal`)."""
        raise NotImplementedError

    def set_view(self, plane: str, volume_node: Any | None) -> None:
        """Choose the volume of a plane; a sequence gives the frame that its browser shows."""
        raise NotImplementedError

    def segmentation(self, plane: str) -> Any | None:
        """The segmentation node of a plane, with the segments `gland` and `nodule`; None before there are masks."""
        raise NotImplementedError

    def reference(self, role: str) -> Any | None:
        """The node in another role (`CONTRIBUTIONS`, `CHART`, `HEAT[plane]`, `NODULE_PLACE`, ...)."""
        raise NotImplementedError

    @property
    def result(self) -> dict[str, Any] | None:
        """`result.json` of the last prediction, or None."""
        raise NotImplementedError

    @property
    def stale(self) -> bool:
        """Whether an input (image, mask, clinical value) has changed since the last prediction."""
        raise NotImplementedError
