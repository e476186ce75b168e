"""What a user does from beginning to end, in one script on two real views: the way that the tutorial goes."""

import numpy as np
import slicer
from scene_helpers import contents

from LLNMLib import masks, patient_node
from LLNMLib.interfaces import PLANES, Options, TaskState

NODULE, GLAND = "27925004", "69748006"


def finished(task):
    assert task.wait() is TaskState.DONE, f"{task.problem}\n" + "\n".join(task.log[-20:])


def stored(scene):
    """What a scene holds without what a file does not keep: the times of its nodes and the views' own nodes."""
    kept = (
        "vtkMRMLVolumeNode",
        "vtkMRMLTextNode",
        "vtkMRMLScriptedModuleNode",
        "vtkMRMLSegmentationNode",
        "vtkMRMLTableNode",
    )
    found = contents(scene)
    return {node: value for node, value in found.items() if any(scene.GetNodeByID(node).IsA(kind) for kind in kept)}


def test_two_real_views_from_loading_to_a_scene_that_was_saved_cleared_and_read_again(
    logic, data, atlas_folder, tmp_path
):
    patient = logic.new_patient("real")
    for plane, name in zip(PLANES, ("malignant_1.jpg", "malignant_2.jpg"), strict=True):
        patient.set_view(plane, logic.load_image(data / "samples" / name, spacing_mm=0.07).node)
    patient.set_parameter("side", "left")
    finished(logic.start_all(patient, Options(explain="none", atlas=atlas_folder)))
    first = patient.result["risk"]["probability"]
    assert 0 < first < 1

    view, segmentation = patient.view("transverse"), patient.segmentation("transverse")
    for structure, code in (("nodule", NODULE), ("gland", GLAND)):
        segment = segmentation.GetSegmentation().GetSegment(structure)
        assert segment is None or code in masks._tag(segment, "TerminologyEntry")
    drawn = masks.mask_of(segmentation, "nodule", view)
    rows, columns = np.nonzero(drawn)
    smaller = drawn.copy()
    smaller[:, : int(np.median(columns))] = False
    edit = slicer.vtkSlicerSegmentationsModuleLogic
    edit.SetBinaryLabelmapToSegment(masks._oriented(view, smaller), segmentation, "nodule", edit.MODE_REPLACE)
    assert patient.stale
    finished(logic.start_all(patient, Options(explain="none", atlas=atlas_folder)))
    assert np.array_equal(masks.mask_of(patient.segmentation("transverse"), "nodule", view), smaller)
    assert patient.result["features"]["transverse"]["area_mm2"] < 0.07**2 * len(rows)
    assert logic.scene.GetFirstNodeByName("Atlas template") is not None

    report = logic.export(patient, tmp_path / "out")
    assert (tmp_path / "out" / "real.mrb") in report.files
    before, summary = stored(logic.scene), logic.summary(patient)
    logic.scene.Clear(0)
    assert patient_node.patients_of(logic.scene) == []
    assert logic.scene.ReadFromMRB(str(tmp_path / "out" / "real.mrb"))
    (again,) = logic.patients()
    assert stored(logic.scene) == before
    assert logic.summary(again) == summary and not again.stale
