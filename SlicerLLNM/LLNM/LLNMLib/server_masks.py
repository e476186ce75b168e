"""Masks of a patient's views from a server, one after the other.

Comes in: a patient, a server. Goes out: masks by plane and structure; the scene is not touched.
"""

from __future__ import annotations

import tempfile
from collections.abc import Generator
from functools import partial
from pathlib import Path

import numpy as np

from LLNMLib import masks, ultrasound
from LLNMLib.interfaces import PLANES, STRUCTURES, LogicError, ServerReport
from LLNMLib.patient_node import PatientNode
from LLNMLib.server import LabelServer
from LLNMLib.tasks import Call, StepTask, Waitable

Found = dict[str, dict[str, np.ndarray]]


def fetch(
    task: StepTask, patient: PatientNode, server: LabelServer, keep_corrections: bool
) -> Generator[Waitable, None, Found]:
    """What a server outlines in each view, as a part of a task; `keep_corrections`: not what a person has corrected.

    Raises LogicError inside the task where the server fails.
    """
    asked = Call(server.report, f"What {server.address} offers")
    yield asked
    report: ServerReport = asked.value
    if report.problem is not None:
        raise LogicError(report.problem)
    found: Found = {}
    with tempfile.TemporaryDirectory(prefix="LLNM-") as folder:
        for plane in PLANES:
            volume = patient.view(plane)
            if volume is None:
                continue
            image = Path(folder, f"{plane}.nrrd")
            ultrasound.write_frame(volume, image)
            for structure in STRUCTURES:
                model = (report.models or {}).get(structure)
                if model is None:
                    task.tell(f"{server.address} offers no model for the {structure}")
                    continue
                if keep_corrections and masks.corrected(patient.segmentation(plane), structure, volume) is not None:
                    continue
                call = Call(partial(server.infer, model, image), f"Outlining the {structure}, {plane} view")
                yield call
                mask = _target(task, call.value, plane, structure)
                if mask is not None:
                    found.setdefault(plane, {})[structure] = mask
    return found


def _target(task: StepTask, mask: np.ndarray, plane: str, structure: str) -> np.ndarray | None:
    """What the prediction is about: a server outlines every nodule, of which the largest is taken."""
    if not mask.any():
        task.tell(f"{plane}: the server found no {structure}")
        return None
    if structure != "nodule":
        return mask
    target = masks.largest_part(mask)
    if target.sum() < mask.sum():
        task.tell(f"{plane}: the server outlined several nodules; the largest one is kept")
    return target
