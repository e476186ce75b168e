"""Whole runs through the module with real weights in a real child process, compared with the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
import slicer
from dicom_examples import write_dicom
from scene_helpers import add_patient, contents

from LLNMLib import masks, patient_node, prediction, rasters, ultrasound
from LLNMLib.headless import new_scene
from LLNMLib.interfaces import PLANES, STRUCTURES, Local, Options, TaskState
from LLNMLib.logic import LLNMLogic
from LLNMLib.runner import ProcessRunner, SystemClock

QUICK = Options(explain="none")


def finished(task):
    assert task.wait() is TaskState.DONE, f"{task.problem}\n" + "\n".join(task.log[-20:])
    return task


def without_time(result):
    return {name: value for name, value in result.items() if name != "created"}


def wait_for_step(task, step):
    while task.poll() is TaskState.RUNNING and task.progress.step != step:
        SystemClock().sleep(0.02)


@pytest.fixture(scope="module")
def everything(core_python, patient_row, atlas_folder):
    """A simulated patient after "Run all" with an atlas: the logic, the patient, the task. Tests leave it as it is."""
    scene, served_by = new_scene()
    runner = ProcessRunner()
    logic = LLNMLogic(scene, runner, SystemClock(), Local(core_python))
    patient = add_patient(logic, patient_row)
    task = finished(logic.start_all(patient, Options(atlas=atlas_folder)))
    yield logic, patient, task
    runner.cancel_all()
    scene.Clear(1)
    del served_by


def test_the_same_case_gives_the_same_result_through_the_command_line(
    everything, llnm, patient_row, atlas_folder, tmp_path
):
    views = [f"--{plane}={patient_row[plane]}" for plane in PLANES]
    views += [f"--{plane}-spacing={patient_row[f'{plane}_spacing_mm']}" for plane in PLANES]
    known = [f"--{name}={patient_row[name]}" for name in ("age", "sex", "report", "side")]
    options = ["--atlas", atlas_folder, "--explain", "fast", "--patient", "P1", "--out", tmp_path / "result"]
    llnm("predict", *views, *known, *options)
    by_command_line = json.loads((tmp_path / "result" / "result.json").read_text(encoding="utf-8"))
    _, patient, _ = everything
    assert without_time(patient.result) == without_time(by_command_line)
    for plane in PLANES:
        for structure in STRUCTURES:
            mask = masks.mask_of(patient.segmentation(plane), structure, patient.view(plane))
            file = tmp_path / "result" / "masks" / f"{plane}_{structure}.png"
            assert np.array_equal(mask, rasters.read_mask(file)), file.name


def test_contributions_are_a_table_with_a_bar_for_each_input(everything):
    _, patient, _ = everything
    table = patient.reference(patient_node.CONTRIBUTIONS).GetTable()
    shares = [table.GetValue(row, 1).ToDouble() for row in range(table.GetNumberOfRows())]
    assert shares == list(patient.result["contributions"].values()) or sorted(shares) == sorted(
        patient.result["contributions"].values()
    )
    chart, series = patient.reference(patient_node.CHART), patient.reference(patient_node.SERIES)
    assert chart.GetNumberOfPlotSeriesNodes() == 1
    assert series.GetPlotType() == slicer.vtkMRMLPlotSeriesNode.PlotTypeBar
    assert series.GetTableNode() is patient.reference(patient_node.CONTRIBUTIONS)


@pytest.mark.parametrize("plane", PLANES)
def test_heat_maps_lie_on_their_view_and_show_nothing_where_nothing_matters(everything, plane):
    _, patient, _ = everything
    heat, view = patient.reference(patient_node.HEAT[plane]), patient.view(plane)
    assert ultrasound.pixels_of(heat).shape == ultrasound.pixels_of(view).shape[:2]
    for name in ("GetSpacing", "GetOrigin"):
        assert getattr(heat, name)() == getattr(view, name)()
    values = ultrasound.pixels_of(heat)
    nodule = masks.mask_of(patient.segmentation(plane), "nodule", view)
    assert values[nodule].max() == values.max() > 0
    assert heat.GetDisplayNode().GetApplyThreshold()


def test_the_nodule_stands_in_the_atlas_where_its_result_says(everything):
    logic, patient, task = everything
    place = patient.result["location"]
    node = patient.reference(patient_node.NODULE_PLACE)
    position = [0.0, 0.0, 0.0]
    node.GetNthControlPointPositionWorld(0, position)
    assert position == pytest.approx(place["place_ras_mm"])
    assert place["region"] in node.GetNthControlPointDescription(0)
    assert "Research use only" in node.GetNthControlPointDescription(0)
    model = logic.scene.GetFirstNodeByName("Atlas template")
    bounds = [0.0] * 6
    model.GetRASBounds(bounds)
    assert all(bounds[2 * axis] - 3 <= position[axis] <= bounds[2 * axis + 1] + 3 for axis in range(3))
    assert any(place["region"] in line for line in task.log)


def test_the_summary_tells_risk_interval_and_that_it_is_no_medical_device(everything):
    logic, patient, _ = everything
    lines = logic.summary(patient)
    assert f"{patient.result['risk']['probability']:.0%}" in lines[0]
    assert "simulated patients" in " ".join(lines)
    assert lines[-1] == "Research use only; not a medical device."


def test_a_scene_saved_cleared_and_read_again_has_everything_that_it_had(everything, tmp_path):
    logic, patient, _ = everything
    report = logic.export(patient, tmp_path / "out")
    assert {path.suffix for path in report.files} == {".html", ".json", ".png", ".nrrd", ".mrb"}
    assert (
        any("does not write DICOM" in text for text in report.left_out) or (tmp_path / "out" / "P1_seg.dcm").is_file()
    )
    scene, _served_by = new_scene()
    assert scene.ReadFromMRB(str(tmp_path / "out" / "P1.mrb"))
    (again,) = patient_node.patients_of(scene)
    assert again.node.GetParameterNames() == patient.node.GetParameterNames()
    assert again.fingerprint() == patient.fingerprint()
    assert not again.stale
    for role in (patient_node.RESULT, patient_node.REPORT_PAGE, patient_node.SUMMARY):
        assert again.reference(role).GetText() == patient.reference(role).GetText()
    for plane in PLANES:
        for structure in STRUCTURES:
            there = masks.mask_of(again.segmentation(plane), structure, again.view(plane))
            assert np.array_equal(there, masks.mask_of(patient.segmentation(plane), structure, patient.view(plane)))
            terms = [each.segmentation(plane).GetSegmentation().GetSegment(structure) for each in (again, patient)]
            assert masks._tag(terms[0], "TerminologyEntry") == masks._tag(terms[1], "TerminologyEntry")
        heats = [ultrasound.pixels_of(each.reference(patient_node.HEAT[plane])) for each in (again, patient)]
        assert np.array_equal(*heats)
    tables = [each.reference(patient_node.CONTRIBUTIONS).GetTable() for each in (again, patient)]
    assert [str(tables[0].GetValue(n, m)) for n in range(8) for m in range(2)] == [
        str(tables[1].GetValue(n, m)) for n in range(8) for m in range(2)
    ]
    points = [[0.0] * 3, [0.0] * 3]
    for each, point in zip((again, patient), points, strict=True):
        each.reference(patient_node.NODULE_PLACE).GetNthControlPointPositionWorld(0, point)
    assert points[0] == pytest.approx(points[1], abs=1e-6)
    chart = again.reference(patient_node.CHART)
    assert chart.GetNthPlotSeriesNode(0).GetTableNode() is again.reference(patient_node.CONTRIBUTIONS)
    model = scene.GetFirstNodeByName("Atlas template")
    assert model.GetPolyData().GetNumberOfPoints() > 100
    assert model.GetPolyData().GetPointData().GetArray("risk") is not None
    volumes = [each.GetFirstNodeByName("Atlas risk") for each in (scene, logic.scene)]
    assert np.array_equal(*(slicer.util.arrayFromVolume(volume) for volume in volumes))


def test_files_that_are_exported_are_those_of_the_scene(everything, tmp_path):
    logic, patient, _ = everything
    logic.export(patient, tmp_path, ["result", "masks", "report"])
    assert json.loads((tmp_path / "P1_result.json").read_text(encoding="utf-8")) == patient.result
    page = (tmp_path / "P1_report.html").read_text(encoding="utf-8")
    assert page == patient.reference(patient_node.REPORT_PAGE).GetText()
    mask = rasters.read_mask(tmp_path / "P1_transverse_nodule.png")
    assert np.array_equal(mask, masks.mask_of(patient.segmentation("transverse"), "nodule", patient.view("transverse")))
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_a_corrected_outline_is_used_as_it_was_drawn_and_kept(simulated_patient, logic):
    """Masks first, then a nodule that a person has made larger: the new result is about that nodule."""
    patient, view = simulated_patient, simulated_patient.view("transverse")
    patient.set_view("longitudinal", None)
    finished(logic.start_masks(patient))
    assert patient.result is None
    assert logic.next_step(patient)[0] == "prediction"
    drawn = masks.mask_of(patient.segmentation("transverse"), "nodule", view)
    rows, columns = np.nonzero(drawn)
    larger = drawn.copy()
    larger[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
    edit = slicer.vtkSlicerSegmentationsModuleLogic
    node = patient.segmentation("transverse")
    edit.SetBinaryLabelmapToSegment(masks._oriented(view, larger), node, "nodule", edit.MODE_REPLACE)
    finished(logic.start_prediction(patient, QUICK))
    spacing = patient.result["provenance"]["spacing"]["transverse"]
    area = larger.sum() * spacing["row_mm"] * spacing["column_mm"]
    assert patient.result["features"]["transverse"]["area_mm2"] == pytest.approx(area, abs=1e-5)
    assert "transverse_nodule_mask" in patient.result["provenance"]["inputs"]
    assert "transverse_gland_mask" not in patient.result["provenance"]["inputs"]
    assert np.array_equal(masks.mask_of(patient.segmentation("transverse"), "nodule", view), larger)
    assert not patient.stale


def test_a_real_image_from_a_dicom_file_gives_the_result_of_that_file(logic, llnm, data, tmp_path):
    """A real frame, as a DICOM file with two regions of one spacing: colour, calibrated, a warning to carry."""
    pixels = rasters.read_raster(data / "ddti" / "images" / "132_1.jpg")
    pixels = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
    rows, columns = pixels.shape[:2]
    halves = [(0, 0, columns // 2 - 1, rows - 1), (columns // 2, 0, columns - 1, rows - 1)]
    path = write_dicom(tmp_path / "real.dcm", pixels, [(*half, 0.0075, 0.0075) for half in halves])
    patient = logic.new_patient("real")
    patient.set_view("transverse", logic.load_image(path).node)
    finished(logic.start_prediction(patient, QUICK))
    llnm("predict", "--transverse", path, "--patient", "real", "--out", tmp_path / "result")
    by_command_line = json.loads((tmp_path / "result" / "result.json").read_text(encoding="utf-8"))
    assert without_time(patient.result) == without_time(by_command_line)
    assert any("2 B-mode regions" in text for text in patient.result["warnings"])


def test_every_frame_of_a_loop_has_its_masks_in_a_sequence(logic, patient_row):
    frame = rasters.read_raster(Path(patient_row["transverse"]))
    stack = np.stack([frame, np.roll(frame, 6, axis=1)])
    frames = ultrasound.Frames(stack, ultrasound.Calibration((0.08, 0.08), "test"), declared=True)
    from LLNMLib import cine
    from LLNMLib.transaction import transaction

    with transaction(logic.scene) as changes:
        images = cine._add_sequence(changes, frames, "loop", None)
    task = finished(logic.start_cine(images))
    browser = cine.browser_of(logic.scene, images)
    (drawn,) = [node for node in sequences(logic.scene) if node is not images]
    assert cine.browser_of(logic.scene, drawn) is browser
    assert [drawn.GetNthIndexValue(n) for n in range(2)] == [images.GetNthIndexValue(n) for n in range(2)]
    found = [masks.mask_of(drawn.GetNthDataNode(n), "nodule", images.GetNthDataNode(n)) for n in range(2)]
    assert all(mask is not None for mask in found)
    assert np.mean(np.roll(found[0], 6, axis=1) == found[1]) > 0.95
    assert any("largest confident section" in line for line in task.log)
    shown = browser.GetProxyNode(drawn)
    number = browser.GetSelectedItemNumber()
    assert np.array_equal(masks.mask_of(shown, "nodule", browser.GetProxyNode(images)), found[number])


def test_a_step_that_is_pressed_twice_adds_nothing(everything):
    logic, patient, _ = everything
    before = {name for name in contents(logic.scene) if "SubjectHierarchy" not in name}
    result = prediction.ResultFolder(
        patient.reference(patient_node.RESULT).GetText(),
        {
            plane: {
                structure: masks.mask_of(patient.segmentation(plane), structure, patient.view(plane))
                for structure in STRUCTURES
            }
            for plane in PLANES
        },
        {plane: ultrasound.pixels_of(patient.reference(patient_node.HEAT[plane])).copy() for plane in PLANES},
        patient.reference(patient_node.REPORT_PAGE).GetText(),
    )
    prediction.put_into_scene(patient, result, patient.fingerprint())
    assert {name for name in contents(logic.scene) if "SubjectHierarchy" not in name} == before


def sequences(scene):
    count = scene.GetNumberOfNodesByClass("vtkMRMLSequenceNode")
    return [scene.GetNthNodeByClass(number, "vtkMRMLSequenceNode") for number in range(count)]
