"""The panel's sections from the masks to the export: each starts work of the logic and shows what came out.

Comes in: the panel. Goes out: tasks, and the panel's texts.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import ctk
from slicer.i18n import tr as _

from LLNMLib.interfaces import PLANES, Options, logic_error
from LLNMLib.panel_text import contributions_text, lines_text, result_text
from LLNMLib.panel_views import arrange, open_segment_editor, show_chart
from LLNMLib.patient_node import CHART, HEAT, PatientNode

if TYPE_CHECKING:
    from LLNMLib.widget import LLNMWidget

EXPLAIN = ("none", "fast", "full")
CINE_STRUCTURES = ("nodule", "gland")


class ResultSections:
    """Masks, prediction, atlas, export and many patients."""

    def __init__(self, panel: LLNMWidget) -> None:
        self.panel, self.ui = panel, panel.ui
        ui = self.ui
        for edit in (ui.atlasPathEdit, ui.exportPathEdit, ui.batchPathEdit, ui.batchOutEdit):
            edit.filters = ctk.ctkPathLineEdit.Dirs
        ui.explainBox.currentIndex = EXPLAIN.index(Options().explain)
        panel.on_click("runAllButton", self.run_all)
        panel.on_click("masksButton", self.outline)
        panel.on_click("editTransverseButton", lambda: self.edit("transverse"))
        panel.on_click("editLongitudinalButton", lambda: self.edit("longitudinal"))
        panel.on_click("rerunButton", lambda: self.predict("all"))
        panel.on_click("cineButton", self.outline_cine)
        panel.on_click("predictButton", lambda: self.predict("corrected"))
        panel.on_click("chartButton", lambda: show_chart(self._patient().reference(CHART)))
        panel.on_click("atlasButton", self.show_atlas)
        panel.on_click("exportButton", self.export)
        panel.on_click("batchButton", self.predict_many)
        ui.heatMapBox.connect("toggled(bool)", panel.show_images)
        ui.sequenceSelector.connect("currentNodeChanged(vtkMRMLNode*)", panel.refresh_soon)

    def options(self, masks: str = "corrected") -> Options:
        """What is chosen in the panel."""
        folder = self.ui.atlasPathEdit.currentPath
        return Options(
            explain=EXPLAIN[self.ui.explainBox.currentIndex], atlas=Path(folder) if folder else None, masks=masks
        )

    def _patient(self) -> PatientNode:
        if self.panel.patient is None:
            raise logic_error("InputError", _("no patient is chosen"), _("press New or load the sample patient"))
        return self.panel.patient

    def run_all(self) -> None:
        """Everything from the masks to the atlas."""
        patient = self._patient()
        self.panel.tasks.start(self.panel.logic.start_all(patient, self.options()), lambda task: self.show(patient))

    def outline(self) -> None:
        """Gland and nodule in both views."""
        patient = self._patient()
        self.panel.tasks.start(self.panel.logic.start_masks(patient, self.options()), lambda task: self.show(patient))

    def predict(self, masks: str) -> None:
        """The risk; `masks` as in `Options`."""
        patient = self._patient()
        task = self.panel.logic.start_prediction(patient, self.options(masks))
        self.panel.tasks.start(task, lambda task: self.show(patient))

    def outline_cine(self) -> None:
        """Every frame of a loop."""
        structure = CINE_STRUCTURES[self.ui.cineStructureBox.currentIndex]
        self.panel.tasks.start(self.panel.logic.start_cine(self.ui.sequenceSelector.currentNode(), structure))

    def predict_many(self) -> None:
        """Every patient of a folder."""
        source, out = self.ui.batchPathEdit.currentPath, self.ui.batchOutEdit.currentPath
        if not source or not out:
            raise logic_error("InputError", _("a folder is missing"), _("choose the patients and where results go"))
        self.panel.tasks.start(self.panel.logic.start_batch(Path(source), Path(out), self.options()))

    def show(self, patient: PatientNode) -> None:
        """Show what was computed for a patient in the views, if that patient is still the one in the panel."""
        if patient == self.panel.patient:
            self.panel.logic.show(patient)
            self.panel.show_images()
            arrange()
            self.panel.refresh()

    def edit(self, plane: str) -> None:
        """Open a view's masks in the Segment Editor."""
        patient = self._patient()
        open_segment_editor(patient.segmentation(plane), patient.view(plane))

    def show_atlas(self) -> None:
        """The atlas in 3D with the nodule in it."""
        folder = self.ui.atlasPathEdit.currentPath
        if not folder:
            raise logic_error("InputError", _("no atlas folder is given"), _("choose one made by 'llnm atlas build'"))
        self.ui.atlasLabel.text = lines_text(self.panel.logic.show_atlas(Path(folder), self.panel.patient))
        self.ui.atlasLabel.visible = True
        arrange(three_d=True)

    def export(self) -> None:
        """Write what is ticked."""
        folder = self.ui.exportPathEdit.currentPath
        if not folder:
            raise logic_error("InputError", _("no folder is given"), _("choose where to write"))
        report = self.panel.logic.export(self._patient(), Path(folder), self.what_to_export())
        written = _("{count} files are in {folder}.").format(count=len(report.files), folder=folder)
        self.ui.exportLabel.text = lines_text([written, *report.left_out])
        self.ui.exportLabel.visible = True

    def what_to_export(self) -> list[str]:
        """The names of `LLNMLogic.export` that are ticked."""
        ui = self.ui
        ticked = {
            "report": ui.exportReportBox.checked,
            "result": ui.exportReportBox.checked,
            "masks": ui.exportMasksBox.checked,
            "scene": ui.exportSceneBox.checked,
            "dicom": ui.exportDicomBox.checked,
        }
        return [name for name, wanted in ticked.items() if wanted]

    def refresh(self, busy: bool) -> None:
        """Show the patient's results, and allow what can be done now."""
        ui, patient = self.ui, self.panel.patient
        has_view = patient is not None and any(patient.view(plane) is not None for plane in PLANES)
        result: dict[str, Any] | None = None if patient is None else patient.result
        for button in (ui.runAllButton, ui.masksButton, ui.predictButton):
            button.enabled = has_view and not busy
        drawn = {plane: patient is not None and patient.segmentation(plane) is not None for plane in PLANES}
        ui.editTransverseButton.enabled = drawn["transverse"] and not busy
        ui.editLongitudinalButton.enabled = drawn["longitudinal"] and not busy
        ui.rerunButton.enabled = any(drawn.values()) and not busy
        ui.cineButton.enabled = ui.sequenceSelector.currentNode() is not None and not busy
        for button in (ui.atlasButton, ui.batchButton):
            button.enabled = not busy
        ui.exportButton.enabled = result is not None and not busy
        ui.chartButton.enabled = patient is not None and patient.reference(CHART) is not None
        ui.heatMapBox.enabled = patient is not None and any(patient.reference(HEAT[plane]) for plane in PLANES)
        sentences = () if patient is None or result is None else self.panel.logic.summary(patient)
        ui.resultLabel.text = result_text(sentences, patient is not None and result is not None and patient.stale)
        ui.contributionsLabel.text = contributions_text((result or {}).get("contributions"))
        for label in (ui.resultLabel, ui.contributionsLabel, ui.atlasLabel, ui.exportLabel):
            label.visible = bool(label.text)
