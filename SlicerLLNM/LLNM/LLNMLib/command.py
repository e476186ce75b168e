"""The arguments of `llnm` for a patient of the scene.

Comes in: a patient, options, a scratch folder. Goes out: a command; every file that it reads is written to that folder.
The report goes by a file, so that it does not stand in the list of processes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from LLNMLib import masks, patient_node
from LLNMLib.interfaces import PLANES, STRUCTURES, Options, logic_error
from LLNMLib.patient_node import PatientNode
from LLNMLib.rasters import write_mask
from LLNMLib.ultrasound import name_of, spacing_given_by_hand, write_frame

_EXPLANATIONS = ("none", "fast", "full")
_MASKS = ("corrected", "all", "none")


def predict_command(
    python: Path,
    patient: PatientNode,
    options: Options,
    scratch: Path,
    given: Mapping[str, Mapping[str, np.ndarray]],
) -> list[str]:
    """`llnm predict` for a patient, its result in `scratch/result`; `given`: masks that go before those of the scene.

    Raises LogicError where an input cannot be used.
    """
    check(patient, options)
    command = [str(python), "-m", "llnm", "predict", "--progress", "json", "--out", str(scratch / "result")]
    for plane in PLANES:
        volume = patient.view(plane)
        if volume is None:
            continue
        image = scratch / f"{plane}.nrrd"
        write_frame(volume, image)
        command += [f"--{plane}", str(image)]
        by_hand = spacing_given_by_hand(volume)
        if by_hand is not None:
            command += [f"--{plane}-spacing", repr(by_hand)]
        for structure in STRUCTURES:
            mask = given.get(plane, {}).get(structure)
            mask = _given_mask(patient, plane, structure, options.masks) if mask is None else mask
            if mask is not None:
                file = scratch / f"{plane}_{structure}.png"
                write_mask(file, mask)
                command += [f"--{plane}-{structure}-mask", str(file)]
        point = point_of(patient, plane)
        if point is not None:
            command += [f"--{plane}-point", f"{point[0]:g},{point[1]:g}"]
    if patient.parameter(patient_node.REPORT):
        report = scratch / "report.txt"
        report.write_text(patient.parameter(patient_node.REPORT), encoding="utf-8")
        command += ["--report", str(report)]
    for name, parameter in (("--age", patient_node.AGE), ("--sex", patient_node.SEX)):
        if patient.parameter(parameter):
            command += [name, patient.parameter(parameter)]
    return [*command, *option_arguments(options, patient.parameter(patient_node.SIDE)), "--patient", patient.name]


def option_arguments(options: Options, side: str) -> list[str]:
    """The arguments of what does not depend on the images."""
    arguments = ["--explain", options.explain, "--threshold", repr(options.threshold), "--seed", str(options.seed)]
    if options.atlas is not None:
        arguments += ["--atlas", str(options.atlas), "--side", side]
    if options.calibration is not None:
        arguments += ["--calibration", str(options.calibration)]
    if options.weights is not None:
        arguments += ["--weights", str(options.weights)]
    return [*arguments, "--abstain"] if options.abstain else arguments


def check(patient: PatientNode, options: Options) -> None:
    """Raises LogicError for what can be known to be wrong before anything is started."""
    if all(patient.view(plane) is None for plane in PLANES):
        raise logic_error(
            "InputError", f"{patient.name}: no view is chosen", "choose a transverse or longitudinal view"
        )
    if options.explain not in _EXPLANATIONS:
        raise logic_error("InputError", f"explain: {options.explain!r}", f"choose one of {', '.join(_EXPLANATIONS)}")
    if options.masks not in _MASKS:
        raise logic_error("InputError", f"masks: {options.masks!r}", f"choose one of {', '.join(_MASKS)}")
    side = patient.parameter(patient_node.SIDE)
    if options.atlas is not None and side not in {"left", "right"}:
        raise logic_error(
            "InputError", "side: the atlas needs the lobe, and it is never guessed", "choose left or right"
        )


def threads_of(options: Options) -> dict[str, str]:
    """Variables of the child that limit its threads."""
    return {} if options.threads <= 0 else {"OMP_NUM_THREADS": str(options.threads)}


def point_of(patient: PatientNode, plane: str) -> tuple[float, float] | None:
    """(x, y) in pixels of the first control point of the patient's point node for a plane; None without one."""
    node, volume = patient.reference(patient_node.POINT[plane]), patient.view(plane)
    if node is None or volume is None or node.GetNumberOfControlPoints() == 0:
        return None
    position = [0.0, 0.0, 0.0]
    node.GetNthControlPointPositionWorld(0, position)
    x, y = _to_pixel(volume, position)
    columns, rows, _ = volume.GetImageData().GetDimensions()
    if not (-0.5 <= x <= columns - 0.5 and -0.5 <= y <= rows - 0.5):
        text = f"{name_of(node)}: the point lies outside the {plane} view"
        raise logic_error("InputError", text, "move it onto the nodule")
    return min(max(x, 0.0), columns - 1.0), min(max(y, 0.0), rows - 1.0)


def _to_pixel(volume: Any, position: list[float]) -> tuple[float, float]:
    import slicer
    import vtk

    to_volume = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(None, volume.GetParentTransformNode(), to_volume)
    matrix = vtk.vtkMatrix4x4()
    volume.GetRASToIJKMatrix(matrix)
    i, j, _, _ = matrix.MultiplyPoint([*to_volume.TransformPoint(position), 1.0])
    return float(i), float(j)


def _given_mask(patient: PatientNode, plane: str, structure: str, which: str) -> Any | None:
    segmentation, volume = patient.segmentation(plane), patient.view(plane)
    if which == "none":
        return None
    if which == "all":
        return masks.mask_of(segmentation, structure, volume)
    return masks.corrected(segmentation, structure, volume)
