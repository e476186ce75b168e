"""The panel's first section: which patient, which images, which words.

Comes in: the panel. Goes out: patients and views in the scene, all through the logic.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _

from LLNMLib.interfaces import PLANES, logic_error
from LLNMLib.panel_sample import load_sample
from LLNMLib.panel_text import lines_text
from LLNMLib.panel_views import arrange
from LLNMLib.patient_node import MODULE_NAME, PATIENT, REPORT

if TYPE_CHECKING:
    from LLNMLib.widget import LLNMWidget


class PatientSection:
    """Chooses and fills the patient that the panel shows."""

    def __init__(self, panel: LLNMWidget) -> None:
        self.panel, self.ui = panel, panel.ui
        self._filling = False
        ui = self.ui
        ui.patientSelector.addAttribute("vtkMRMLScriptedModuleNode", "ModuleName", MODULE_NAME)
        ui.patientSelector.connect("currentNodeChanged(vtkMRMLNode*)", panel.on_patient_chosen)
        self.selectors = {"transverse": ui.transverseSelector, "longitudinal": ui.longitudinalSelector}
        ui.transverseSelector.connect("currentNodeChanged(vtkMRMLNode*)", lambda node: self.on_view("transverse", node))
        ui.longitudinalSelector.connect(
            "currentNodeChanged(vtkMRMLNode*)", lambda node: self.on_view("longitudinal", node)
        )
        ui.patientNameEdit.connect("editingFinished()", self.rename)
        ui.reportTextEdit.connect("textChanged()", self.on_report)
        panel.on_click("newPatientButton", self.add)
        panel.on_click("removePatientButton", self.remove)
        panel.on_click("loadButton", self.load)
        panel.on_click("sampleButton", self.load_sample)
        panel.on_click("dicomButton", lambda: slicer.util.selectModule("DICOM"))
        panel.on_click("spacingButton", self.set_spacing)

    def add(self) -> None:
        """A new patient, shown at once."""
        self.panel.set_patient(self.panel.logic.new_patient())

    def remove(self) -> None:
        """Remove the patient that is shown."""
        patient = self.panel.patient
        if patient is not None:
            self.panel.set_patient(None)
            self.panel.logic.remove_patient(patient)
            self.panel.show_any_patient()

    def load(self) -> None:
        """Load a file or a study; what is free of the two views takes the images in their order."""
        if not self.ui.loadPathEdit.currentPath:
            raise logic_error("InputError", _("no file or study is chosen"), _("choose one in the field beside Load"))
        path, logic = Path(self.ui.loadPathEdit.currentPath).expanduser(), self.panel.logic
        spacing = self.ui.spacingBox.value or None
        images = logic.load_study(path) if path.is_dir() else [logic.load_image(path, spacing_mm=spacing)]
        self.ui.loadPathEdit.addCurrentPathToHistory()
        patient = self.panel.patient or logic.new_patient()
        free = [plane for plane in PLANES if patient.view(plane) is None]
        for plane, image in zip(free, images, strict=False):
            patient.set_view(plane, image.node)
        self.panel.set_patient(patient)
        self.note([note for image in images for note in image.notes])
        self.panel.show_images()
        arrange()

    def load_sample(self) -> None:
        """Load the simulated patient of the module."""
        self.panel.set_patient(load_sample(self.panel.logic, Path(self.panel.resourcePath(""))))
        self.panel.show_images()
        arrange()

    def set_spacing(self) -> None:
        """Give the chosen views the pixel size that is written in the box."""
        volumes = [volume for plane in PLANES if self.panel.patient and (volume := self.panel.patient.view(plane))]
        for volume in volumes:
            self.panel.logic.set_spacing(volume, self.ui.spacingBox.value)

    def on_view(self, plane: str, volume: Any) -> None:
        """A view was chosen among the loaded volumes: its pixel size is checked against its file."""
        patient = self.panel.patient
        if self._filling or patient is None or volume is patient.view(plane):
            return
        try:
            with slicer.util.tryWithErrorDisplay(_("The view could not be chosen.")):
                notes = () if volume is None else self.panel.logic.calibrate(volume)
                patient.set_view(plane, volume)
                self.note(notes)
                self.panel.show_images()
        finally:
            # A view that was refused is no longer shown as chosen.
            self.panel.refresh()

    def rename(self) -> None:
        """Another pseudonym was written."""
        patient, name = self.panel.patient, self.ui.patientNameEdit.text.strip()
        if patient is not None and name and name != patient.name:
            patient.set_parameter(PATIENT, name)

    def on_report(self) -> None:
        """The report was typed or pasted."""
        patient, text = self.panel.patient, self.ui.reportTextEdit.toPlainText()
        if not self._filling and patient is not None and patient.parameter(REPORT) != text:
            patient.set_parameter(REPORT, text)

    def note(self, notes: Sequence[str]) -> None:
        """Show sentences below the views; none hides the line."""
        self.ui.imageNoteLabel.text = lines_text(notes)
        self.ui.imageNoteLabel.visible = bool(notes)

    def refresh(self) -> None:
        """Show the patient's views and report as they are in the scene."""
        patient = self.panel.patient
        self._filling = True
        try:
            for plane, selector in self.selectors.items():
                selector.setCurrentNode(None if patient is None else patient.view(plane))
            text = "" if patient is None else patient.parameter(REPORT)
            if not self.ui.patientNameEdit.hasFocus():
                self.ui.patientNameEdit.text = "" if patient is None else patient.name
            if self.ui.reportTextEdit.toPlainText() != text:
                self.ui.reportTextEdit.setPlainText(text)
        finally:
            self._filling = False
