"""Environments made and checked, batches, exports that cannot be: real Pythons, real folders."""

import csv
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from dicom_examples import write_dicom
from scene_helpers import a_view, contents

from LLNMLib import batch, environment
from LLNMLib.interfaces import Local, LogicError, Options, TaskState


def info(version, weights=("nodule",), **software):
    """What `llnm info --json` says."""
    rows = [{"name": name, "kind": "open"} for name in weights]
    return json.dumps({"version": version, "software": software, "weights": rows, "extras": {}})


def test_the_environment_of_the_core_is_ready(logic):
    task = logic.start_check()
    assert task.wait() is TaskState.DONE, task.problem
    assert task.report.ready
    assert task.report.version
    assert len(task.report.weights) >= 3
    assert task.report.extras["atlas"]


@pytest.mark.parametrize(("python", "kind"), [(sys.executable, "MissingPackage"), ("/bin/true", "WrongVersion")])
def test_a_place_that_is_not_ready_is_reported_with_the_remedy(logic, python, kind):
    logic.place = Local(Path(python))
    task = logic.start_check()
    assert task.wait() is TaskState.FAILED
    assert not task.report.ready
    assert task.report.problem.kind == kind
    assert "environment" in task.report.problem.remedy


def test_pythons_are_found_and_each_can_make_environments(logic):
    found = logic.pythons()
    assert found
    for python in found:
        assert subprocess.run([str(python), "-c", "import venv, ensurepip"], check=False).returncode == 0


def test_an_environment_is_made_from_a_folder_of_wheels_without_a_network(logic, tmp_path):
    """The wheel is a small one that answers `llnm info --json`, so that the test downloads and builds nothing."""
    wheel(tmp_path / "wheels", f"print({info('0.3.0', torch='2')!r})")
    task = logic.start_install(tmp_path / "environment", tmp_path / "wheels")
    assert task.wait() is TaskState.DONE, task.log
    assert logic.place == Local(environment.python_of(tmp_path / "environment"))
    assert (task.report.ready, task.report.version) == (True, "0.3.0")


def test_an_installation_that_fails_says_so_and_keeps_the_place(logic, tmp_path, core_python):
    wheel(tmp_path / "wheels", "", needs="a-package-that-is-not-there")
    task = logic.start_install(tmp_path / "environment", tmp_path / "wheels")
    assert task.wait() is TaskState.FAILED
    assert any("a-package-that-is-not-there" in line for line in task.problem.last_lines)
    assert logic.place == Local(core_python)


def test_wheels_and_folders_that_cannot_be_used_are_refused_at_once(logic, tmp_path):
    (tmp_path / "wheels").mkdir()
    with pytest.raises(LogicError, match="no wheel of slicer-llnm"):
        logic.start_install(tmp_path / "environment", tmp_path / "wheels")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").touch()
    with pytest.raises(LogicError, match="holds other files"):
        logic.start_install(tmp_path / "thesis")


@pytest.mark.parametrize(
    ("output", "kind"),
    [
        ("no JSON", "WrongVersion"),
        (info("0.0.9"), "WrongVersion"),
        (info("0.3.0", torch="missing"), "MissingPackage"),
        (info("0.10.0", weights=()), "MissingPackage"),
    ],
)
def test_what_an_environment_lacks_is_named(output, kind):
    report = environment.report_of(Path("python"), output)
    assert (report.ready, report.problem.kind) == (False, kind)


def test_a_batch_predicts_each_patient_and_names_who_cannot_be(logic, patient_row, tmp_path):
    """Two patients by folder: one as files, one whose plane nobody can tell. A second run takes over what is there."""
    (tmp_path / "in" / "good").mkdir(parents=True)
    (tmp_path / "in" / "unclear").mkdir()
    image = Path(patient_row["transverse"]).read_bytes()
    (tmp_path / "in" / "good" / "view_transverse.png").write_bytes(image)
    write_dicom(tmp_path / "in" / "unclear" / "image1.dcm", a_view())
    before = contents(logic.scene)
    task = logic.start_batch(tmp_path / "in", tmp_path / "out", Options(explain="none"))
    assert task.wait() is TaskState.DONE, task.problem
    assert contents(logic.scene) == before
    with (tmp_path / "out" / "batch.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["patient"]: row for row in csv.DictReader(file)}
    assert (rows["good"]["state"], rows["unclear"]["state"]) == ("done", "failed")
    assert "put transverse or longitudinal into the names" in rows["unclear"]["problem"]
    written = (tmp_path / "out" / "good" / "result.json").read_bytes()
    again = logic.start_batch(tmp_path / "in", tmp_path / "out", Options(explain="none"))
    assert again.wait() is TaskState.DONE
    assert again.report[0][:2] == ("good", "taken over")
    assert (tmp_path / "out" / "good" / "result.json").read_bytes() == written


def test_a_study_tells_its_planes_age_and_sex_by_its_headers(tmp_path):
    for number, words in enumerate(("THYROID LEFT TRANS", "Thyroid left long")):
        write_dicom(tmp_path / f"IM{number}.dcm", a_view(), SeriesDescription=words, PatientAge="052Y", PatientSex="F")
    (patient,) = batch.find_patients(tmp_path)
    assert patient.arguments["transverse"].endswith("IM0.dcm")
    assert patient.arguments["longitudinal"].endswith("IM1.dcm")
    assert (patient.arguments["age"], patient.arguments["sex"]) == ("52", "F")


def test_a_table_of_patients_is_read_as_llnm_cohort_reads_it(patient_row, tmp_path):
    columns = [*patient_row]
    with (tmp_path / "cohort.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, columns)
        table.writeheader()
        table.writerow(patient_row)
    (patient,) = batch.find_patients(tmp_path)
    assert patient.arguments["transverse"] == patient_row["transverse"]
    assert patient.arguments["transverse-spacing"] == patient_row["transverse_spacing_mm"]
    assert patient.arguments["longitudinal-gland-mask"] == patient_row["longitudinal_gland_mask"]
    assert patient.arguments["report"] == patient_row["report"]
    assert patient.side == patient_row["side"]


@pytest.mark.parametrize("content", ["", "patient,image\nP1,a.png\n"])
def test_a_folder_without_patients_is_refused(logic, tmp_path, content):
    if content:
        (tmp_path / "cohort.csv").write_text(content, encoding="utf-8")
    with pytest.raises(LogicError) as raised:
        logic.start_batch(tmp_path, tmp_path / "out")
    assert raised.value.problem.remedy
    assert not (tmp_path / "out").exists()


def test_an_export_before_a_prediction_says_what_is_not_there_yet(logic, simulated_patient, tmp_path):
    report = logic.export(simulated_patient, tmp_path, ["report", "result", "masks", "dicom"])
    assert report.files == ()
    assert [text.split(":")[0] for text in report.left_out] == ["report", "result", "masks", "dicom"]


def test_an_export_to_a_place_that_cannot_be_written_is_told(logic, simulated_patient, tmp_path):
    (tmp_path / "file").write_text("a file", encoding="utf-8")
    with pytest.raises(LogicError, match="cannot be written"):
        logic.export(simulated_patient, tmp_path / "file" / "out")
    with pytest.raises(LogicError, match="choose from"):
        logic.export(simulated_patient, tmp_path, ["film"])


def test_an_atlas_folder_that_is_none_changes_nothing(logic, simulated_patient, tmp_path):
    before = contents(logic.scene)
    with pytest.raises(LogicError, match="is no atlas"):
        logic.show_atlas(tmp_path, simulated_patient)
    assert contents(logic.scene) == before


def wheel(folder, code, needs=""):
    """A wheel named slicer-llnm with one package `llnm` that runs `code`."""
    folder.mkdir()
    about = "slicer_llnm-0.3.0.dist-info"
    metadata = "Metadata-Version: 2.1\nName: slicer-llnm\nVersion: 0.3.0\n" + (
        f"Requires-Dist: {needs}\n" if needs else ""
    )
    files = {
        "llnm/__init__.py": "",
        "llnm/__main__.py": code,
        f"{about}/METADATA": metadata,
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(folder / "slicer_llnm-0.3.0-py3-none-any.whl", "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
        archive.writestr(f"{about}/RECORD", "".join(f"{name},,\n" for name in (*files, f"{about}/RECORD")))
