"""What a prediction brings into the scene: masks, result, contributions, heat maps, report, summary.

Comes in: a result folder that `llnm predict` wrote. Goes out: nodes of one patient, put into the scene in one step that
can be undone; the folder is read and checked as a whole before the scene is touched.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk

from LLNMLib import NOTICE, masks, patient_node
from LLNMLib.interfaces import PLANES, STRUCTURES, logic_error
from LLNMLib.patient_node import PatientNode
from LLNMLib.rasters import read_mask
from LLNMLib.transaction import Changes, transaction
from LLNMLib.ultrasound import image_of, pixels_of, read_frames

INPUTS = {
    "location": "Location in the gland",
    "texture": "Texture inside the nodule",
    "margin": "Margin of the nodule",
    "echogenicity": "Echogenicity",
    "shape": "Shape of the nodule",
    "report": "Radiology report",
    "age": "Age",
    "sex": "Sex",
}
DECISIONS = {
    "positive": "lateral lymph node metastasis predicted",
    "negative": "lateral lymph node metastasis not predicted",
    "abstain": "no decision",
}
_HEAT_COLOURS = ("vtkMRMLColorTableNodeFileInferno.txt", "vtkMRMLColorTableNodeIron")


Masks = Mapping[str, Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class ResultFolder:
    """A result folder in memory: `text` is `result.json` byte for byte; masks (row, column) bool by plane and
    structure; heat (row, column) float32 by plane; `report`: the page as HTML.
    """

    text: str
    masks: Masks
    heat: Mapping[str, np.ndarray]
    report: str

    @property
    def result(self) -> dict[str, Any]:
        """The values of `result.json`."""
        values: dict[str, Any] = json.loads(self.text)
        return values


def read_result_folder(folder: Path) -> ResultFolder:
    """Read a result folder; raises LogicError where it is not whole."""
    try:
        text = (folder / "result.json").read_text(encoding="utf-8")
        json.loads(text)["risk"]
        report = (folder / "report.html").read_text(encoding="utf-8")
    except (OSError, ValueError, KeyError) as error:
        raise logic_error("Failed", f"{folder}: holds no whole result ({error})", "run again") from error
    found: dict[str, dict[str, np.ndarray]] = {}
    heat = {}
    for plane in PLANES:
        files = {structure: folder / "masks" / f"{plane}_{structure}.png" for structure in STRUCTURES}
        found[plane] = {structure: read_mask(file) for structure, file in files.items() if file.is_file()}
        file = folder / "heat" / f"{plane}.nrrd"
        if file.is_file():
            heat[plane] = read_frames(file).values[0]
    return ResultFolder(text, found, heat, report)


def put_into_scene(patient: PatientNode, found: ResultFolder, inputs: str, given: Masks | None = None) -> None:
    """Show a result of `inputs` (a fingerprint); what an earlier one brought is replaced, corrected outlines stay.

    `given`: masks of a server that the result was made of.
    """
    with changes_of(patient) as changes:
        _put_masks(patient, found.masks, masks.NETWORK, changes, given=given or {})
        _put_text(patient, patient_node.RESULT, "result", found.text, changes)
        _put_text(patient, patient_node.REPORT_PAGE, "report", found.report, changes)
        _put_text(patient, patient_node.SUMMARY, "summary", "\n".join(sentences(found.result)), changes)
        _put_contributions(patient, found.result["contributions"], changes)
        for plane in PLANES:
            _put_heat(patient, plane, found.heat.get(plane), changes)
        patient.remember_inputs(inputs)


def put_masks(
    patient: PatientNode,
    found: Masks,
    source: str,
    keep_corrections: bool = False,
) -> None:
    """Show masks alone; an older result stays, and `patient.stale` says where it no longer fits."""
    with changes_of(patient) as changes:
        _put_masks(patient, found, source, changes, keep_corrections)


@contextmanager
def changes_of(patient: PatientNode) -> Iterator[Changes]:
    """A transaction on a patient's scene, which restores the patient too where it fails."""
    with transaction(patient.node.GetScene()) as changes:
        changes.keep(patient.node)
        yield changes


def sentences(result: Mapping[str, Any]) -> list[str]:
    """A result in sentences for the panel: what was found first, then what to mind."""
    risk, place = result["risk"], result["location"]
    lines = []
    if risk["probability"] is None:
        lines.append("No risk is given: no view could be used.")
    else:
        low, high = risk["interval"]
        lines.append(
            f"Risk of lateral lymph node metastasis {risk['probability']:.0%} ({low:.0%} to {high:.0%}): "
            f"{DECISIONS[risk['decision']]} at threshold {risk['threshold']:g}."
        )
    if place["capsule_distance_mm"] is not None:
        lines.append(f"{place['capsule_distance_mm']:.1f} mm to the capsule, {place['direction'] or 'side not known'}.")
    if place["region"] is not None:
        lines.append(f"Place in the atlas: {place['region']}.")
    if place["atlas_probability"] is not None:
        low, high = place["atlas_interval"] or (None, None)
        interval = "" if low is None else f" ({low:.0%} to {high:.0%})"
        lines.append(f"Atlas: {place['atlas_probability']:.0%}{interval} of the nodules there had metastases.")
    if result["missing"]:
        lines.append(f"Missing: {', '.join(result['missing'])}.")
    lines += [f"Warning: {text}." for text in result["warnings"]]
    if any(weights["trained_on_simulated_patients"] for weights in result["provenance"]["weights"]):
        lines.append("Weights trained on simulated patients: a demonstration, not an estimate.")
    return [*lines, NOTICE]


def _put_masks(
    patient: PatientNode,
    found: Masks,
    source: str,
    changes: Changes,
    keep_corrections: bool = True,
    given: Masks | None = None,
) -> None:
    for plane in PLANES:
        volume, segmentation = patient.view(plane), patient.segmentation(plane)
        if volume is None:
            changes.remove_later(segmentation)
            patient.set_reference(patient_node.SEGMENTATION[plane], None)
            continue
        drawn = dict(found.get(plane, {}))
        if keep_corrections:
            own = {
                structure for structure in STRUCTURES if masks.corrected(segmentation, structure, volume) is not None
            }
        else:
            own = set()
        if segmentation is None:
            if not drawn and not (given or {}).get(plane):
                continue
            segmentation = changes.add(masks.new_segmentation(f"{patient.name} {plane} masks"))
            segmentation.CreateDefaultDisplayNodes()
            changes.added_along(segmentation.GetDisplayNode())
            # Two-dimensional images all lie at the same place in space: without this each view shows both outlines.
            segmentation.GetDisplayNode().AddViewNodeID(patient_node.SLICE_VIEW[plane])
            patient.set_reference(patient_node.SEGMENTATION[plane], segmentation)
            patient.adopt(segmentation)
        else:
            changes.keep(segmentation)
        for structure in STRUCTURES:
            if structure not in drawn and structure not in own:  # a server's is drawn below
                masks.erase(segmentation, structure)
        from_server = (given or {}).get(plane, {})
        masks.draw(segmentation, volume, {name: mask for name, mask in drawn.items() if name not in own}, source)
        masks.draw(segmentation, volume, {n: mask for n, mask in from_server.items() if n not in own}, masks.SERVER)
        segmentation.GetDisplayNode().SetOpacity2DFill(0.15)


def _put_text(patient: PatientNode, role: str, title: str, text: str, changes: Changes) -> None:
    node = _node(patient, role, slicer.vtkMRMLTextNode, title, changes)
    node.SetText(text)


def _put_contributions(patient: PatientNode, shares: Mapping[str, float] | None, changes: Changes) -> None:
    roles = (patient_node.CONTRIBUTIONS, patient_node.SERIES, patient_node.CHART)
    if shares is None:
        for role in roles:
            changes.remove_later(patient.reference(role))
            patient.set_reference(role, None)
        return
    table = _node(patient, roles[0], slicer.vtkMRMLTableNode, "contributions", changes)
    names, values = vtk.vtkStringArray(), vtk.vtkDoubleArray()
    names.SetName("Input")
    values.SetName("Contribution to the risk (points of probability)")
    for name, label in INPUTS.items():
        names.InsertNextValue(label)
        values.InsertNextValue(shares[name])
    table.RemoveAllColumns()
    table.AddColumn(names)
    table.AddColumn(values)
    series = _node(patient, roles[1], slicer.vtkMRMLPlotSeriesNode, "contributions series", changes)
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeBar)
    series.SetLabelColumnName(names.GetName())
    series.SetYColumnName(values.GetName())
    series.SetColor(*masks.TERMS["nodule"].colour)
    chart = _node(patient, roles[2], slicer.vtkMRMLPlotChartNode, "contributions chart", changes)
    chart.RemoveAllPlotSeriesNodeIDs()
    chart.AddAndObservePlotSeriesNodeID(series.GetID())
    chart.SetTitle(f"What moves the risk of {patient.name}")
    chart.SetYAxisTitle("Points of probability")
    chart.SetLegendVisibility(False)


def _put_heat(patient: PatientNode, plane: str, heat: np.ndarray | None, changes: Changes) -> None:
    """A heat map as an overlay in the geometry of its view, transparent where covering a place changes nothing."""
    role, volume = patient_node.HEAT[plane], patient.view(plane)
    if heat is None or volume is None:
        changes.remove_later(patient.reference(role))
        patient.set_reference(role, None)
        return
    if heat.shape != pixels_of(volume).shape[:2]:
        raise logic_error("InputError", f"{plane}: the heat map has another size than the view", "run again")
    node = _node(patient, role, slicer.vtkMRMLScalarVolumeNode, f"{plane} heat", changes)
    node.SetAndObserveImageData(image_of(heat[None]))
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    node.SetIJKToRASMatrix(matrix)
    node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
        changes.added_along(node.GetDisplayNode())
    display, top = node.GetDisplayNode(), max(float(heat.max()), 1e-6)
    scene = node.GetScene()
    colours = next((name for name in _HEAT_COLOURS if scene.GetNodeByID(name) is not None), None)
    if colours is not None:
        display.SetAndObserveColorNodeID(colours)
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(0, top)
    display.AutoThresholdOff()
    display.SetThreshold(top / 50, top)
    display.ApplyThresholdOn()


def _node(patient: PatientNode, role: str, kind: Any, title: str, changes: Changes) -> Any:
    """The patient's node in a role, changed in place so that views keep showing it; new if there is none."""
    node = patient.reference(role)
    if node is not None:
        changes.keep(node)
        return node
    new = kind()
    new.SetName(f"{patient.name} {title}")
    node = changes.add(new)
    patient.set_reference(role, node)
    patient.adopt(node)
    return node
