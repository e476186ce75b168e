"""A whole case through the panel: buttons, real child processes with the shipped weights, the sample patient."""

import json
import time
from pathlib import Path

import psutil
import pytest
import slicer
from panel_fixtures import application, panel  # noqa: F401
from process_helpers import running
from pythonqt_adapter import slot_errors

REPOSITORY = Path(__file__).resolve().parents[2]
# What a test waits for at most; no assertion.
PATIENCE_S = 1500


@pytest.fixture
def ready(panel, core_python):  # noqa: F811
    """The panel with the sample patient and the environment that has llnm."""
    panel.ui.environmentPathEdit.currentPath = str(core_python.parent.parent)
    panel.ui.sampleButton.click()
    return panel


def until_done(panel):  # noqa: F811
    """Let the event loop run until no task is left; gives the texts of the steps that were seen."""
    steps = []
    end = time.monotonic() + PATIENCE_S
    while panel.tasks.running:
        assert time.monotonic() < end, "the work did not end"
        slicer.app.processEvents()
        if panel.ui.stepLabel.text not in steps:
            steps.append(panel.ui.stepLabel.text)
        time.sleep(0.02)
    slicer.app.processEvents()
    return steps


def slice_views(scene):
    """The nodes of two slice views, which the application makes at its start."""
    for name in ("Red", "Yellow"):
        for kind in ("vtkMRMLSliceNode", "vtkMRMLSliceCompositeNode"):
            node = scene.CreateNodeByClass(kind)
            node.UnRegister(None)
            node.SetSingletonTag(name)
            node.SetName(name)
            node.SetLayoutName(name)
            scene.AddNode(node)


def children_left():
    """Processes that this one has started and that still run."""
    return running(psutil.Process().children(recursive=True))


def test_one_button_leads_from_the_views_to_the_risk_and_its_place(ready, atlas_folder, tmp_path):
    # What the module's own test asks of a result inside of Slicer.
    from LLNMLib.panel_tests import check_results

    panel = ready  # noqa: F811
    slice_views(slicer.mrmlScene)
    ui = panel.ui
    ui.checkButton.click()
    until_done(panel)
    assert "is ready" in ui.placeLabel.text

    ui.atlasPathEdit.currentPath = str(atlas_folder)
    ui.runAllButton.click()
    assert not ui.runAllButton.enabled and ui.cancelButton.enabled
    assert "Cancel" in ui.nextStepLabel.text
    steps = until_done(panel)

    assert len(steps) > 3, steps
    result = panel.patient.result
    assert f"{100 * result['risk']['probability']:.0f}" in ui.resultLabel.text
    for name in result["contributions"]:
        assert name in ui.contributionsLabel.text
    check_results(panel.logic, panel.patient)
    for button in ("editTransverseButton", "editLongitudinalButton", "rerunButton", "exportButton", "chartButton"):
        assert getattr(ui, button).enabled, button
    assert not ui.cancelButton.enabled and not children_left()

    _the_atlas_tells_the_place(panel)
    _heat_map_is_an_overlay(panel)
    _a_corrected_mask_makes_the_result_stale_and_is_used(panel)
    _what_is_ticked_is_exported(panel, tmp_path / "export")
    _undo_takes_the_last_prediction_back(panel)


def _the_atlas_tells_the_place(panel):  # noqa: F811
    panel.ui.atlasButton.click()

    region = panel.patient.result["location"]["region"]
    assert region and region in panel.ui.atlasLabel.text
    assert panel.patient.reference("nodulePlace") is not None
    panel.ui.atlasPathEdit.currentPath = ""


def _heat_map_is_an_overlay(panel):  # noqa: F811
    composite = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceCompositeNodeRed")
    assert composite.GetBackgroundVolumeID() == panel.patient.view("transverse").GetID()
    assert composite.GetForegroundVolumeID() is None

    panel.ui.heatMapBox.checked = True

    assert composite.GetForegroundVolumeID() == panel.patient.reference("transverseHeat").GetID()
    yellow = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceCompositeNodeYellow")
    assert yellow.GetBackgroundVolumeID() == panel.patient.view("longitudinal").GetID()
    panel.ui.heatMapBox.checked = False
    assert composite.GetForegroundVolumeID() is None


def _a_corrected_mask_makes_the_result_stale_and_is_used(panel):  # noqa: F811
    patient = panel.patient
    before = patient.result
    segmentation, volume = patient.segmentation("transverse"), patient.view("transverse")
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, "nodule", volume)
    rows = mask.any(axis=(0, 2)).nonzero()[0]
    mask[:, rows[len(rows) // 2] :, :] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, "nodule", volume)
    panel.refresh()
    assert "predict again" in panel.ui.resultLabel.text

    panel.ui.explainBox.currentIndex = 0
    panel.ui.rerunButton.click()
    until_done(panel)

    after = patient.result
    assert "predict again" not in panel.ui.resultLabel.text
    features = [found["features"]["transverse"]["area_mm2"] for found in (before, after)]
    assert features[1] < 0.8 * features[0]


def _what_is_ticked_is_exported(panel, folder):  # noqa: F811
    panel.ui.exportPathEdit.currentPath = str(folder)
    panel.ui.exportSceneBox.checked = False

    panel.ui.exportButton.click()

    files = [path for path in folder.rglob("*") if path.is_file()]
    assert f"{len(files)} files" in panel.ui.exportLabel.text
    written = next(path for path in files if path.name.endswith(".json"))
    assert json.loads(written.read_text())["risk"] == panel.patient.result["risk"]
    assert not [path for path in files if path.suffix == ".mrb"]


def _undo_takes_the_last_prediction_back(panel):  # noqa: F811
    last = panel.patient.result

    panel.ui.undoButton.click()

    assert panel.patient.result != last
    assert panel.ui.exportButton.enabled


def test_cancel_leaves_no_process_and_the_scene_as_it_was(ready):
    panel = ready  # noqa: F811
    count = slicer.mrmlScene.GetNumberOfNodes()
    panel.ui.runAllButton.click()
    end = time.monotonic() + PATIENCE_S
    while not children_left() or panel.ui.progressBar.value == 0:
        assert time.monotonic() < end
        slicer.app.processEvents()
        time.sleep(0.02)

    panel.ui.cancelButton.click()

    assert not panel.tasks.running and not children_left()
    assert slicer.mrmlScene.GetNumberOfNodes() == count
    assert panel.patient.result is None and panel.ui.runAllButton.enabled


def test_many_patients_are_predicted_in_the_background_and_can_be_cancelled(ready, tmp_path):
    panel = ready  # noqa: F811
    sample = Path(panel.resourcePath("Sample"))
    table = "patient_id,transverse,longitudinal,report,age,sex\n"
    rows = [f"P{number},{sample / 'transverse.png'},{sample / 'longitudinal.png'},,58,M\n" for number in range(3)]
    (tmp_path / "patients").mkdir()
    (tmp_path / "patients" / "cohort.csv").write_text(table + "".join(rows))
    panel.ui.batchPathEdit.currentPath = str(tmp_path / "patients")
    panel.ui.batchOutEdit.currentPath = str(tmp_path / "out")
    count = slicer.mrmlScene.GetNumberOfNodes()

    panel.ui.batchButton.click()
    assert panel.tasks.running and not slot_errors
    panel.ui.cancelButton.click()

    assert not panel.tasks.running and not children_left()
    assert slicer.mrmlScene.GetNumberOfNodes() == count


def test_a_child_that_the_system_kills_is_explained(ready):
    panel = ready  # noqa: F811
    count = slicer.mrmlScene.GetNumberOfNodes()
    panel.ui.predictButton.click()
    end = time.monotonic() + PATIENCE_S
    while not children_left():
        assert time.monotonic() < end
        slicer.app.processEvents()
    for child in children_left():
        child.kill()
    until_done(panel)

    assert "signal 9" in panel.ui.stepLabel.text
    assert slicer.mrmlScene.GetNumberOfNodes() == count
    assert panel.patient.result is None


def test_an_age_that_is_none_is_told_before_anything_runs(ready):
    ready.ui.ageEdit.text = "old"

    ready.ui.predictButton.click()
    until_done(ready)

    told = ready.ui.stepLabel.text + " ".join(str(error) for error in slot_errors)
    slot_errors.clear()
    assert "age" in told
    assert ready.patient.result is None
