"""The module's own test, which Slicer runs (`ctest`, or Reload and Test in developer mode).

Comes in: a scene. Goes out: an AssertionError where something is wrong. The functions need no window: the tests outside
of the application run the same ones on slicer-core.
"""

from __future__ import annotations

from pathlib import Path

import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleTest

from LLNMLib.interfaces import PLANES, STRUCTURES, Local, Options, TaskState
from LLNMLib.logic import LLNMLogic
from LLNMLib.panel_sample import load_sample, read_sample
from LLNMLib.patient_node import AGE, CHART, REPORT, SEX, PatientNode
from LLNMLib.runner import ProcessRunner, SystemClock


def check_sample(logic: LLNMLogic, resources: Path) -> PatientNode:
    """The sample patient comes with two views in millimetres, report, age and sex; gives the patient."""
    sample = read_sample(resources)
    patient = load_sample(logic, resources)
    for plane in PLANES:
        volume = patient.view(plane)
        assert volume is not None, plane
        spacing = volume.GetSpacing()
        expected = sample["views"][plane]["spacing_mm"]
        assert all(abs(value - expected) < 1e-6 for value in spacing[:2]), (plane, spacing)
    assert [patient.parameter(name) for name in (REPORT, AGE, SEX)] == [
        sample[name] for name in ("report", "age", "sex")
    ]
    return patient


def check_two_patients(logic: LLNMLogic, resources: Path) -> None:
    """What is set for one patient of a scene is not set for the other."""
    first = check_sample(logic, resources)
    second = logic.new_patient("second")
    second.set_parameter(AGE, "30")
    assert second.view("transverse") is None and second.result is None
    assert first.parameter(AGE) != "30"
    # An open panel may have made another one.
    assert [patient.name for patient in logic.patients()][-2:] == [first.name, "second"]


def check_whole_case(logic: LLNMLogic, resources: Path) -> PatientNode:
    """Masks, risk and reasons of the sample patient, computed by a real child process; gives the patient."""
    patient = check_sample(logic, resources)
    task = logic.start_all(patient, Options(explain="fast"))
    assert task.wait() is TaskState.DONE, task.problem
    check_results(logic, patient)
    return patient


def check_results(logic: LLNMLogic, patient: PatientNode) -> None:
    """A patient that was computed has a risk, two outlines in each view, reasons as a chart, and words."""
    result = patient.result
    assert result is not None and 0 <= result["risk"]["probability"] <= 1
    for plane in PLANES:
        node = patient.segmentation(plane)
        assert node is not None, plane
        segmentation = node.GetSegmentation()
        names = {segmentation.GetNthSegmentID(index) for index in range(segmentation.GetNumberOfSegments())}
        assert names == set(STRUCTURES), (plane, names)
    assert patient.reference(CHART) is not None
    assert "Research use only" in " ".join(logic.summary(patient))


class LLNMTest(ScriptedLoadableModuleTest):
    """The module's test inside of Slicer."""

    def setUp(self) -> None:
        """Start with an empty scene."""
        slicer.mrmlScene.Clear()
        self.resources = Path(slicer.util.modulePath("LLNM")).parent / "Resources"
        self.logic = LLNMLogic(slicer.mrmlScene, ProcessRunner(), SystemClock())

    def tearDown(self) -> None:
        """Leave no process behind."""
        self.logic.close()

    def runTest(self) -> None:  # noqa: N802 - overrides
        """All tests, as Slicer's Reload and Test calls them."""
        for test in (self.test_sample, self.test_two_patients, self.test_panel, self.test_whole_case):
            self.setUp()
            self.delayDisplay(test.__name__)
            test()
            self.tearDown()

    def test_sample(self) -> None:
        """The sample patient loads."""
        check_sample(self.logic, self.resources)

    def test_two_patients(self) -> None:
        """Patients of one scene are kept apart."""
        check_two_patients(self.logic, self.resources)

    def test_panel(self) -> None:
        """The panel shows the sample patient after its button was pressed."""
        panel = slicer.util.getModuleWidget("LLNM")
        panel.ui.sampleButton.click()
        assert panel.ui.ageEdit.text == read_sample(self.resources)["age"]
        assert panel.ui.transverseSelector.currentNode() is panel.patient.view("transverse")

    def test_whole_case(self) -> None:
        """A whole case, if the environment that the panel names is there; its absence is no failure of the module."""
        place = slicer.util.getModuleWidget("LLNM").logic.place
        if not isinstance(place, Local):
            self.delayDisplay("No environment yet: the whole case is left out.")
            return
        self.logic.place = place
        check_whole_case(self.logic, self.resources)
