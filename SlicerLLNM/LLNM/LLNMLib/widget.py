"""The panel: shows the patient of the scene that is chosen, and passes on what is pressed.

Comes in: Slicer's application, `Resources/UI/LLNM.ui`. Goes out: calls of `LLNMLogic`. The state is in the scene (one
parameter node a patient) and in Slicer's settings; what the panel shows is read from there again after each change, so
that undo, loading a scene and another patient need nothing of their own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated, Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import Choice, parameterNodeWrapper
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin

from LLNMLib.logic import LLNMLogic
from LLNMLib.panel_patient import PatientSection
from LLNMLib.panel_place import PlaceSection
from LLNMLib.panel_results import ResultSections
from LLNMLib.panel_tasks import PanelTasks
from LLNMLib.panel_text import next_line, notice
from LLNMLib.panel_views import show_images
from LLNMLib.patient_node import PatientNode
from LLNMLib.runner import ProcessRunner, SystemClock

REFRESH_MS = 50
# The button that does each next step of the logic; it is shown in bold.
BUTTON_OF = {
    "environment": "installButton",
    "patient": "newPatientButton",
    "views": "loadButton",
    "masks": "runAllButton",
    "prediction": "predictButton",
    "atlas": "atlasButton",
    "export": "exportButton",
}
# What the boxes show for the choices that stand in the node.
SEX_LABELS = {"": _("not known"), "F": _("female"), "M": _("male")}
SIDE_LABELS = {"": _("not known"), "left": _("left"), "right": _("right")}


@parameterNodeWrapper
class PatientParameters:
    """The clinical values of a patient that widgets show, under their names in the patient's parameter node.

    Node references are left to the logic: a wrapped one that the node lacks would be written, and so erased.
    """

    age: str
    sex: Annotated[str, Choice(list(SEX_LABELS))]
    side: Annotated[str, Choice(list(SIDE_LABELS))]


class LLNMWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The module's panel."""

    def __init__(self, parent: Any = None) -> None:
        """Called by Slicer when the user opens the module for the first time."""
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.patient: PatientNode | None = None
        self._parameters: Any = None
        self._gui_tag: Any = None
        self._entered = False

    def setup(self) -> None:
        """Build the panel from its file and connect it."""
        ScriptedLoadableModuleWidget.setup(self)
        panel = slicer.util.loadUI(self.resourcePath("UI/LLNM.ui"))
        self.layout.addWidget(panel)
        self.ui: Any = slicer.util.childWidgetVariables(panel)
        self.logic = LLNMLogic(slicer.mrmlScene, ProcessRunner(), SystemClock())
        self._refresh_timer = qt.QTimer()
        self._refresh_timer.setSingleShot(True)
        self._refresh_timer.setInterval(REFRESH_MS)
        self._refresh_timer.connect("timeout()", self.refresh)
        self.tasks = PanelTasks(self.ui, self.refresh)
        self.patients = PatientSection(self)
        self.place = PlaceSection(self)
        self.results = ResultSections(self)
        self.ui.noticeLabel.text = notice()
        for label in ("stepLabel", "imageNoteLabel", "placeLabel"):
            getattr(self.ui, label).visible = False
        panel.setMRMLScene(slicer.mrmlScene)
        self.on_click("undoButton", self.undo)
        scene = slicer.mrmlScene
        # Slicer leaves it off; only nodes that ask for it take part.
        scene.SetUndoOn()
        self.addObserver(scene, scene.StartCloseEvent, self.on_scene_start_close)
        self.addObserver(scene, scene.EndCloseEvent, self.on_scene_changed)
        self.addObserver(scene, scene.EndImportEvent, self.on_scene_changed)
        self.addObserver(scene, scene.NodeRemovedEvent, self.on_node_removed)
        self.refresh()

    # What Slicer calls -------------------------------------------------------------------------------------------

    def enter(self) -> None:
        """The user opens the module: a scene without patients gets one."""
        self._entered = True
        self.show_any_patient(make=True)

    def exit(self) -> None:
        """The user leaves the module; work in the background goes on."""
        self._entered = False

    def cleanup(self) -> None:
        """The module is closed: nothing of it stays behind."""
        self._refresh_timer.stop()
        self.set_patient(None)
        self.tasks.close()
        self.logic.close()
        self.removeObservers()

    def onReload(self) -> None:  # noqa: N802 - overrides
        """Developer mode: the files of `LLNMLib` are read again, too."""
        self.cleanup()
        for name in [name for name in sys.modules if name.split(".")[0] == "LLNMLib"]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    # The scene ---------------------------------------------------------------------------------------------------

    def on_scene_start_close(self, caller: Any = None, event: Any = None) -> None:
        """The scene is being closed: let go of its nodes."""
        self.tasks.cancel()
        self.set_patient(None)

    def on_scene_changed(self, caller: Any = None, event: Any = None) -> None:
        """A scene was loaded or cleared."""
        self.show_any_patient(make=self._entered)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def on_node_removed(self, caller: Any, event: Any, node: Any) -> None:
        """A node was removed, perhaps by an undo."""
        if self.patient is not None and node is self.patient.node:
            self.set_patient(None)
        self.refresh_soon()

    def show_any_patient(self, make: bool = False) -> None:
        """Show the patient that is chosen, or any; `make`: a new one if the scene has none."""
        if self.patient is None:
            known = self.logic.patients()
            if known or make:
                self.set_patient(known[0] if known else self.logic.new_patient())
        self.refresh()

    def on_patient_chosen(self, node: Any) -> None:
        """Another patient was chosen in the list."""
        if node is not (None if self.patient is None else self.patient.node):
            self.set_patient(None if node is None else PatientNode(node))
            self.show_images()

    def set_patient(self, patient: PatientNode | None) -> None:
        """Show a patient, or none."""
        if self.patient is not None:
            self._parameters.disconnectGui(self._gui_tag)
            self.removeObserver(self.patient.node, vtk.vtkCommand.ModifiedEvent, self.refresh_soon)
        self.patient = patient
        if patient is not None:
            self._parameters = PatientParameters(patient.node)  # type: ignore[call-arg]
            self._gui_tag = self._parameters.connectGui(self.ui)
            self._label_choices()
            self.addObserver(patient.node, vtk.vtkCommand.ModifiedEvent, self.refresh_soon)
            self.ui.patientSelector.setCurrentNode(patient.node)
            self.logic.show(patient)
        self.refresh()

    def _label_choices(self) -> None:
        """`connectGui` fills the boxes with the values of the node; a user reads words."""
        for box, labels in ((self.ui.sexBox, SEX_LABELS), (self.ui.sideBox, SIDE_LABELS)):
            for index, label in enumerate(labels.values()):
                box.setItemText(index, label)

    # The panel ---------------------------------------------------------------------------------------------------

    def on_click(self, name: str, action: Callable[[], Any]) -> None:
        """Call `action` when a button is pressed; an error is shown with its remedy."""

        def pressed() -> None:
            with slicer.util.tryWithErrorDisplay(waitCursor=True):
                action()
            self.refresh()

        getattr(self.ui, name).connect("clicked()", pressed)

    def undo(self) -> None:
        """Take back the last step of the scene."""
        slicer.mrmlScene.Undo()
        self.show_any_patient()
        self.show_images()

    def show_images(self) -> None:
        """Bring the patient's views, and the heat map if it is ticked, into the slice views; the layout stays."""
        if self.patient is not None:
            show_images(slicer.mrmlScene, self.patient, self.ui.heatMapBox.checked)

    def refresh_soon(self, caller: Any = None, event: Any = None) -> None:
        """Refresh once after a burst of changes."""
        self._refresh_timer.start()

    def refresh(self) -> None:
        """Show everything as the scene has it now."""
        busy = self.tasks.running
        self.patients.refresh()
        self.results.refresh(busy)
        name, sentence = self.logic.next_step(self.patient)
        title = self.tasks.task.title if self.tasks.task is not None else None
        self.ui.nextStepLabel.text = next_line(sentence, title)
        for step, button in BUTTON_OF.items():
            getattr(self.ui, button).styleSheet = "font-weight: bold" if step == name and not busy else ""
        self.ui.cancelButton.enabled = busy
        self.ui.undoButton.enabled = not busy and slicer.mrmlScene.GetNumberOfUndoLevels() > 0
        for button in ("checkButton", "installButton", "loadButton", "sampleButton", "removePatientButton"):
            getattr(self.ui, button).enabled = not busy
