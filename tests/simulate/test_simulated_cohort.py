"""A cohort on disk: the agreed columns, the same bytes, nothing left behind by an interruption."""

from __future__ import annotations

import csv
import hashlib

import numpy as np
import pytest
from PIL import Image

from llnm.errors import InputError
from llnm.simulate import RiskModel, simulate_patient, write_cohort


def digest(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_cohort(3, 11, tmp_path_factory.mktemp("cohorts") / "first")


def test_the_same_seed_writes_the_same_bytes(cohort, tmp_path):
    again = write_cohort(3, 11, tmp_path / "again")
    assert digest(again.parent) == digest(cohort.parent)
    assert digest(write_cohort(1, 12, tmp_path / "other").parent) != digest(cohort.parent)


def test_processes_that_share_the_work_write_the_same_bytes(tmp_path):
    model = RiskModel().without(["sex"])
    alone, shared = (write_cohort(12, 4, tmp_path / str(count), model, workers=count) for count in (1, 2))
    assert digest(shared.parent) == digest(alone.parent)


def test_an_interruption_of_processes_leaves_nothing_behind(tmp_path):
    def interrupt(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_cohort(40, 0, tmp_path / "cohort", progress=interrupt, workers=2)
    assert list(tmp_path.iterdir()) == []


def test_the_table_leads_to_the_patient_that_was_simulated(cohort):
    rows = list(csv.DictReader(cohort.open(encoding="utf-8")))
    assert len(rows) == 3
    patient = simulate_patient(11_000_001)
    row = rows[1]
    for plane, view in patient.case.views.items():
        stored = np.asarray(Image.open(cohort.parent / row[plane]))
        np.testing.assert_array_equal(stored, np.round(view.image.pixels * 255))
        assert float(row[f"{plane}_spacing_mm"]) == view.image.spacing_mm[0]
        for structure, mask in view.masks.items():
            drawn = np.asarray(Image.open(cohort.parent / row[f"{plane}_{structure}_mask"]))
            np.testing.assert_array_equal(drawn, mask * 255)
    assert (cohort.parent / row["report"]).read_text(encoding="utf-8").strip() == patient.case.report
    assert (float(row["age"]), row["sex"], row["side"]) == (patient.case.age, patient.case.sex, patient.side)
    assert int(row["llnm"]) == patient.llnm
    assert float(row["true_probability"]) == pytest.approx(patient.true_probability, abs=1e-6)


def test_an_interruption_leaves_nothing_behind(tmp_path):
    def interrupt(done):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_cohort(3, 0, tmp_path / "cohort", progress=interrupt)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("patients", "seed"), [(0, 1), (-2, 1), (1, -1)])
def test_impossible_numbers_are_refused(tmp_path, patients, seed):
    with pytest.raises(InputError, match="give"):
        write_cohort(patients, seed, tmp_path / "cohort")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_never_overwritten(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="not an empty folder"):
        write_cohort(1, 0, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_cohort(1, 0, tmp_path / "file" / "cohort")
