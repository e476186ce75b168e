"""The sample that comes with the module: one simulated patient, two views, report, age and sex.

Comes in: the module's folder of resources. Goes out: a patient in the scene, and an entry in the module SampleData.
Each image's checksum is compared before it is loaded. Nothing is downloaded.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from LLNMLib.interfaces import logic_error
from LLNMLib.logic import LLNMLogic
from LLNMLib.patient_node import AGE, REPORT, SEX, SIDE, PatientNode


def read_sample(resources: Path) -> dict[str, Any]:
    """`sample.json`, with each view's `file` as a path whose content has been compared with its checksum.

    Raises LogicError for a file that is missing or another than the one that was shipped.
    """
    folder = resources / "Sample"
    sample: dict[str, Any] = json.loads((folder / "sample.json").read_text(encoding="utf-8"))
    for view in sample["views"].values():
        path = folder / view["file"]
        algorithm, digest = slicer.util.extractAlgoAndDigest(view["checksum"])
        if not path.is_file() or slicer.util.computeChecksum(algorithm, str(path)) != digest:
            raise logic_error("InputError", f"{path}: is not the file that was shipped", "install the extension again")
        view["file"] = path
    return sample


def load_sample(logic: LLNMLogic, resources: Path) -> PatientNode:
    """Add the sample patient to the scene; raises LogicError before anything is added if a file is not as shipped."""
    sample = read_sample(resources)
    taken = {patient.name for patient in logic.patients()}
    names = (sample["name"], *(f"{sample['name']} {number}" for number in range(2, len(taken) + 2)))
    patient = logic.new_patient(next(name for name in names if name not in taken))
    for plane, view in sample["views"].items():
        image = logic.load_image(view["file"], spacing_mm=view["spacing_mm"])
        image.node.SetName(f"{patient.name} {plane}")  # type: ignore[attr-defined]
        patient.set_view(plane, image.node)
    values = {REPORT: sample["report"], AGE: sample["age"], SEX: sample["sex"], SIDE: sample["side"]}
    for name, value in values.items():
        patient.set_parameter(name, value)
    return patient


def register_sample(resources: str) -> None:
    """Offer the sample in Slicer's module SampleData, where it has one."""
    try:
        import SampleData
    except ImportError:
        return
    sample = read_sample(Path(resources))
    views = sample["views"].values()

    def load(source: Any) -> list[Any]:
        """Called by SampleData when its button is pressed."""
        widget = slicer.util.getModuleWidget("LLNM")
        patient = load_sample(widget.logic, Path(resources))
        slicer.util.selectModule("LLNM")
        widget.set_patient(patient)
        return [patient.view(plane) for plane in sample["views"]]

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category=_("Ultrasound"),
        sampleName="LLNMSimulatedPatient",
        thumbnailFileName=str(Path(resources) / "Icons" / "LLNMSample.png"),
        uris=[view["file"].as_uri() for view in views],
        fileNames=[view["file"].name for view in views],
        nodeNames=[f"{sample['name']} {plane}" for plane in sample["views"]],
        checksums=[view["checksum"] for view in views],
        customDownloader=load,
    )
