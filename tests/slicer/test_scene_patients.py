"""Patients in a real scene: side by side, undone, rolled back, saved and read again."""

import json

import numpy as np
import pytest
import slicer
from scene_helpers import a_view, contents

from LLNMLib import masks, patient_node, prediction, ultrasound
from LLNMLib.headless import new_scene
from LLNMLib.interfaces import LogicError
from LLNMLib.transaction import transaction

SHAPE = (60, 80)


def volume_in(scene, name="view", seed=0):
    return scene.AddNode(ultrasound.new_volume(a_view(seed=seed), name))


def blob(size=20):
    mask = np.zeros(SHAPE, bool)
    mask[10 : 10 + size, 15 : 15 + size] = True
    return mask


@pytest.fixture
def patient(logic):
    """A patient with one view."""
    made = logic.new_patient("P1")
    made.set_view("transverse", volume_in(logic.scene))
    return made


def test_patients_have_names_folders_and_values_of_their_own(logic):
    one, two, three = logic.new_patient(), logic.new_patient("Mrs X"), logic.new_patient()
    one.set_parameter("age", "40")
    two.set_parameter("age", "50")
    assert [patient.name for patient in logic.patients()] == ["Patient 1", "Mrs X", "Patient 2"]
    assert [patient.parameter("age") for patient in logic.patients()] == ["40", "50", ""]
    assert len({patient.folder for patient in (one, two, three)}) == 3
    assert logic.patients()[0] == one != two


def test_a_name_that_is_taken_is_refused(logic):
    logic.new_patient("P1")
    with pytest.raises(LogicError, match="another pseudonym"):
        logic.new_patient("P1")
    assert len(logic.patients()) == 1


def test_one_volume_is_not_both_views(logic, patient):
    with pytest.raises(LogicError, match="transverse view already"):
        patient.set_view("longitudinal", patient.view("transverse"))


def test_a_result_is_stale_after_any_input_has_changed_and_fresh_again_when_it_is_undone(logic, patient):
    with prediction.changes_of(patient) as changes:
        prediction._put_text(patient, patient_node.RESULT, "result", "{}", changes)
        patient.remember_inputs(patient.fingerprint())
    assert not patient.stale
    patient.set_parameter("age", "61")
    assert patient.stale
    patient.set_parameter("age", "")
    assert not patient.stale
    prediction.put_masks(patient, {"transverse": {"nodule": blob()}}, masks.SERVER)
    assert patient.stale


def test_what_the_network_drew_does_not_make_its_own_result_stale(logic, patient):
    before = patient.fingerprint()
    prediction.put_masks(patient, {"transverse": {"nodule": blob(), "gland": blob(30)}}, masks.NETWORK)
    assert patient.fingerprint() == before


def test_undo_takes_back_a_run_as_a_whole_and_redo_brings_it_again(logic, patient):
    scene = logic.scene
    scene.SetUndoOn()
    before = contents(scene)
    prediction.put_masks(patient, {"transverse": {"nodule": blob()}}, masks.NETWORK)
    after = contents(scene)
    scene.Undo()
    assert without_hierarchy(contents(scene)) == without_hierarchy(before)
    assert patient.segmentation("transverse") is None
    scene.Redo()
    assert without_hierarchy(contents(scene)).keys() == without_hierarchy(after).keys()
    found = patient.segmentation("transverse")
    assert np.array_equal(masks.mask_of(found, "nodule", patient.view("transverse")), blob())


def test_a_failure_in_the_middle_leaves_nothing_and_changes_nothing(logic, patient):
    prediction.put_masks(patient, {"transverse": {"nodule": blob()}}, masks.NETWORK)
    before = contents(logic.scene)
    wrong_size = {"transverse": {"nodule": blob(25), "gland": np.ones((10, 10), bool)}}
    with pytest.raises(LogicError, match="10 x 10"):
        prediction.put_masks(patient, wrong_size, masks.NETWORK)
    assert contents(logic.scene) == before


def test_every_kind_of_node_is_restored_by_a_failing_step(logic, patient):
    def put(text, shares, heat):
        with prediction.changes_of(patient) as changes:
            prediction._put_text(patient, patient_node.RESULT, "result", text, changes)
            prediction._put_contributions(patient, dict.fromkeys(prediction.INPUTS, shares), changes)
            prediction._put_heat(patient, "transverse", np.full(SHAPE, heat, np.float32), changes)
            if shares < 0:
                raise RuntimeError("in the middle")

    put("first", 0.5, 0.1)
    before = contents(logic.scene)
    table = patient.reference(patient_node.CONTRIBUTIONS)
    values = [table.GetTable().GetValue(row, 1).ToDouble() for row in range(table.GetNumberOfRows())]
    with pytest.raises(RuntimeError):
        put("second", -0.5, 0.9)
    assert contents(logic.scene) == before
    assert [table.GetTable().GetValue(row, 1).ToDouble() for row in range(8)] == values == [0.5] * 8


def test_removing_a_patient_takes_its_results_and_leaves_its_images_and_others(logic, patient):
    other = logic.new_patient("P2")
    other.set_view("transverse", volume_in(logic.scene, "other", seed=1))
    for each in (patient, other):
        prediction.put_masks(each, {"transverse": {"nodule": blob()}}, masks.NETWORK)
    logic.remove_patient(patient)
    assert logic.patients() == [other]
    assert logic.scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1
    assert logic.scene.GetNumberOfNodesByClass("vtkMRMLSegmentationDisplayNode") == 1
    assert logic.scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 2


def test_the_panels_wrapper_of_the_parameter_node_sees_the_same_values(logic, patient):
    """Names of parameters and roles are part of the interface with the panel."""
    patient.set_parameter("reportText", "solid, hypoechoic")
    assert patient.node.GetParameter("reportText") == "solid, hypoechoic"
    assert patient.node.GetNodeReference("transverse") is patient.view("transverse")
    assert patient.node.GetModuleName() == "LLNM"


def test_showing_one_patient_hides_the_others(logic, patient):
    other = logic.new_patient("P2")
    other.set_view("transverse", volume_in(logic.scene, "other", seed=1))
    for each in (patient, other):
        prediction.put_masks(each, {"transverse": {"nodule": blob()}}, masks.NETWORK)
    logic.show(other)
    shown = [each.segmentation("transverse").GetDisplayNode().GetVisibility() for each in (patient, other)]
    assert shown == [0, 1]


def test_an_imported_scene_brings_its_patients_beside_those_that_are_there(logic, patient, tmp_path):
    prediction.put_masks(patient, {"transverse": {"nodule": blob()}}, masks.NETWORK)
    assert logic.scene.WriteToMRB(str(tmp_path / "one.mrb"))
    scene, _served_by = new_scene()
    here = patient_node.add_patient(scene, "here before")
    here.set_view("transverse", volume_in(scene, "mine", seed=5))
    assert scene.ReadFromMRB(str(tmp_path / "one.mrb"))
    found = {each.name: each for each in patient_node.patients_of(scene)}
    assert set(found) == {"here before", "P1"}
    assert found["P1"].folder != found["here before"].folder
    came = found["P1"].segmentation("transverse")
    assert np.array_equal(masks.mask_of(came, "nodule", found["P1"].view("transverse")), blob())
    assert np.array_equal(ultrasound.pixels_of(found["here before"].view("transverse")), a_view(seed=5))


def test_a_transaction_inside_which_nothing_fails_is_kept(scene):
    with transaction(scene) as changes:
        changes.add(slicer.vtkMRMLTextNode())
    assert scene.GetNumberOfNodesByClass("vtkMRMLTextNode") == 1


def test_a_step_inside_another_is_taken_back_with_it(logic, patient):
    scene = logic.scene
    before = contents(scene)
    with pytest.raises(RuntimeError), transaction(scene):
        prediction.put_masks(patient, {"transverse": {"nodule": blob()}}, masks.NETWORK)
        raise RuntimeError("after the first part")
    assert contents(scene) == before
    scene.SetUndoOn()
    with transaction(scene):
        prediction.put_masks(patient, {"transverse": {"nodule": blob()}}, masks.NETWORK)
        with transaction(scene) as changes:
            changes.add(slicer.vtkMRMLTextNode())
    assert scene.GetNumberOfUndoLevels() == 1


def test_masks_of_a_server_that_come_with_a_result_do_not_make_it_stale(logic, patient):
    given = {"transverse": {"nodule": blob()}}
    inputs = patient.fingerprint(given)
    text = json.dumps(A_RESULT)
    found = prediction.ResultFolder(text, {"transverse": {"nodule": blob(), "gland": blob(40)}}, {}, "<html>")
    prediction.put_into_scene(patient, found, inputs, given)
    assert not patient.stale
    view, drawn = patient.view("transverse"), patient.segmentation("transverse")
    assert np.array_equal(masks.corrected(drawn, "nodule", view), blob())
    assert masks.corrected(drawn, "gland", view) is None


A_RESULT = {
    "risk": {"probability": None},
    "location": {"capsule_distance_mm": None, "region": None, "atlas_probability": None},
    "contributions": None,
    "missing": [],
    "warnings": [],
    "provenance": {"weights": []},
}


def without_hierarchy(found):
    return {name: values for name, values in found.items() if "SubjectHierarchy" not in name}
