"""The module's logic in one place: what the panel, a script and a test call.

Comes in: a MRML scene, a runner of processes, a clock. Goes out: patients with their images, masks, risk, reasons and
place as nodes of that scene. Nothing here blocks but `Task.wait` and what says so; nothing imports Qt or torch.

Typical script::

    logic = LLNMLogic(scene, ProcessRunner(), SystemClock(), place=Local(python))
    patient = logic.new_patient("P1")
    patient.set_view("transverse", logic.load_image(path, spacing_mm=0.08).node)
    task = logic.start_prediction(patient)
    task.wait()
    print(patient.result["risk"])
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from LLNMLib.interfaces import (
    Clock,
    EnvironmentReport,
    ExportReport,
    LoadedImage,
    Options,
    Place,
    Runner,
    ServerReport,
    Task,
)
from LLNMLib.patient_node import PatientNode


class LLNMLogic:
    """Everything the module does. One object per scene; patients live in the scene, not here."""

    def __init__(self, scene: Any, runner: Runner, clock: Clock, place: Place | None = None) -> None:
        """`scene`: a vtkMRMLScene. `place`: where to compute; may be set later as `logic.place`."""
        self.scene = scene
        self.runner = runner
        self.clock = clock
        self.place = place

    # Patients -----------------------------------------------------------------------------------------------------

    def new_patient(self, name: str = "") -> PatientNode:
        """A new patient in the scene, with a folder of its own; `name` is a pseudonym, "Patient 1" and so on without."""
        raise NotImplementedError

    def patients(self) -> list[PatientNode]:
        """All patients of the scene, in the order in which they came."""
        raise NotImplementedError

    def remove_patient(self, patient: PatientNode) -> None:
        """Remove a patient and what was computed for it, in one undo step; images that were loaded stay."""
        raise NotImplementedError

    # Images -------------------------------------------------------------------------------------------------------

    def load_image(self, path: Path, spacing_mm: float | None = None) -> LoadedImage:
        """Load one image file (DICOM, NRRD, NIfTI, MetaImage, PNG, JPEG, BMP, TIFF) with its calibrated spacing.

        Several frames become a sequence with a browser. `spacing_mm` goes before what the file says. Raises LogicError.
        """
        raise NotImplementedError

    def load_study(self, folder: Path) -> list[LoadedImage]:
        """Load every ultrasound image of a DICOM study's folder, in the order of series and instance numbers.

        What cannot be loaded is skipped and named in the notes of the first one. Raises LogicError if nothing can.
        """
        raise NotImplementedError

    def calibrate(self, volume_node: Any) -> tuple[str, ...]:
        """Correct the spacing of a volume that was loaded by Slicer itself, from its DICOM file's regions.

        Returns what to tell the user; empty where nothing had to change or no file is known.
        """
        raise NotImplementedError

    def set_spacing(self, volume_node: Any, spacing_mm: float) -> None:
        """Give a volume square pixels of `spacing_mm`, as known by hand; one undo step. Raises LogicError."""
        raise NotImplementedError

    # Work that takes time: each returns a task to poll ---------------------------------------------------------------

    def start_masks(self, patient: PatientNode, options: Options | None = None) -> Task:
        """Outline gland and nodule in the patient's views and show them as segmentations; corrections are replaced.

        On a `Server` place the masks come from there. Raises LogicError where an input is missing.
        """
        raise NotImplementedError

    def start_prediction(self, patient: PatientNode, options: Options | None = None) -> Task:
        """Predict the risk; outlines that a person corrected are used as they are (`Options.masks`).

        The results (`patient.result`, segmentations, contributions, heat maps, warnings) go into the scene.
        """
        raise NotImplementedError

    def start_all(self, patient: PatientNode, options: Options | None = None) -> Task:
        """Masks, prediction and, where `options.atlas` is given, the atlas with the nodule, in one task."""
        raise NotImplementedError

    def start_cine(self, sequence_node: Any, structure: str = "nodule") -> Task:
        """Outline a structure in every frame of a sequence; the masks become a sequence with the same frames.

        The frame with the largest confident section is told in the log and shown.
        """
        raise NotImplementedError

    def start_batch(self, folder: Path, out: Path, options: Options | None = None) -> Task:
        """Predict every patient of a folder (see `LLNMLib.batch`) into `out/<patient>`; the scene does not change.

        One patient's failure does not end the batch; `out/batch.csv` has a line for each. Goes on where it stopped.
        """
        raise NotImplementedError

    # The two places to compute ---------------------------------------------------------------------------------------

    def start_check(self) -> Task:
        """Ask `self.place` what it has. The task's `report` is an EnvironmentReport or a ServerReport when it is done.

        A place that is not ready makes the task fail, with the problem; `report` is there as well.
        """
        raise NotImplementedError

    def start_install(self, folder: Path, wheels: Path | None = None, python: Path | None = None) -> Task:
        """Make a Python environment in `folder` and install llnm: offline from the folder `wheels`, else from the index.

        `python`: which Python to base it on; the first suitable one of `pythons()` without. When it is done,
        `self.place` is `Local(...)` of the new environment and `report` an EnvironmentReport.
        """
        raise NotImplementedError

    def pythons(self) -> list[Path]:
        """Pythons of this computer that llnm can be installed for, best first (blocks for about a second)."""
        raise NotImplementedError

    # Atlas -----------------------------------------------------------------------------------------------------------

    def show_atlas(self, folder: Path, patient: PatientNode | None = None) -> tuple[str, ...]:
        """Show an atlas folder in 3D (template, risk) with the patient's nodule placed in it; one undo step.

        Returns sentences: region, probability with interval, or why there is no place. Raises LogicError.
        """
        raise NotImplementedError

    # Results ---------------------------------------------------------------------------------------------------------

    def summary(self, patient: PatientNode) -> tuple[str, ...]:
        """The result in sentences: risk with interval, decision, place, what was missing, warnings, the notice."""
        raise NotImplementedError

    def show(self, patient: PatientNode) -> None:
        """Make this patient's segmentations, heat maps and nodule visible and hide those of the others."""
        raise NotImplementedError

    def next_step(self, patient: PatientNode | None) -> tuple[str, str]:
        """What to do next: a name (`environment`, `patient`, `views`, `masks`, `prediction`, `atlas`, `export`) and a
        sentence for the user.
        """
        raise NotImplementedError

    def export(self, patient: PatientNode, folder: Path, what: Sequence[str] | None = None) -> ExportReport:
        """Write `report`, `result`, `masks` (PNG and .seg.nrrd) and `scene` (.mrb) of a patient into `folder`.

        `what`: some of these names, and `dicom`, which is written where the installed llnm can; all without. Blocks
        for some seconds. Raises LogicError where nothing can be written.
        """
        raise NotImplementedError

    def close(self) -> None:
        """End every process that still runs: call it when the module is closed or reloaded."""
        self.runner.cancel_all()


__all__ = ["EnvironmentReport", "ExportReport", "LLNMLogic", "LoadedImage", "Options", "ServerReport"]
