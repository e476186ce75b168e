"""What a program hears that starts `llnm` with `--progress json`: real processes, real networks."""

import json
import subprocess
import sys

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from PIL import Image

from llnm import __version__


@pytest.fixture(scope="module")
def told(patient_files, tmp_path_factory):
    """`llnm predict` of a simulated patient as another program sees it: its objects, and the result folder."""
    out = tmp_path_factory.mktemp("told") / "result"
    views = [f"--{plane}={patient_files[plane]}" for plane in ("transverse", "longitudinal")]
    done = run("predict", *views, "--explain", "fast", "--out", out)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()], out


def run(*arguments):
    command = [sys.executable, "-m", "llnm", *map(str, arguments), "--progress", "json"]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_every_line_is_an_object_and_the_version_comes_first(told):
    lines, _ = told
    assert lines[0] == {"event": "start", "protocol": 1, "version": __version__}
    assert [line["event"] for line in lines[1:-1]] == ["progress"] * (len(lines) - 2)


def test_steps_come_in_their_order_and_their_shares_grow_below_one(told):
    steps = [line for line in told[0] if line["event"] == "progress"]
    views, reasons = ["longitudinal", "transverse"], ["contributions", "heat"]
    assert [line["step"] for line in steps] == ["weights", *views, "risk", *reasons, "writing"]
    shares = [line["share"] for line in steps]
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert shares[-1] < 1
    assert all(line["message"] for line in steps)


def test_the_last_line_names_the_result(told):
    lines, out = told
    assert lines[-1] == {"event": "result", "path": str(out / "result.json")}
    assert (out / "result.json").is_file()


def test_an_explained_result_carries_its_heat_map_in_the_pixels_of_its_view(told, patient_files):
    heat = sitk.GetArrayFromImage(sitk.ReadImage(str(told[1] / "heat" / "transverse.nrrd")))
    assert heat.dtype == np.float32
    assert heat.shape == Image.open(patient_files["transverse"]).size[::-1]
    mask = np.asarray(Image.open(told[1] / "masks" / "transverse_nodule.png")) > 0
    assert heat[mask].max() > 0
    assert heat.max() <= 1


def test_an_error_is_told_with_its_remedy(patient_files, tmp_path):
    done = run("predict", "--transverse", patient_files["transverse"], "--age", "0", "--out", tmp_path)
    error = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 2
    assert (error["event"], error["kind"]) == ("error", "InputError")
    assert error["message"] == "age: 0 is outside 1-120 years"
    assert error["remedy"] == "correct it or leave it out if unknown"


def test_each_image_of_segment_is_told(patient_files, tmp_path):
    done = run("segment", patient_files["transverse"], patient_files["longitudinal"], "--out", tmp_path / "masks")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["share"] for line in lines if line["event"] == "progress"] == [0, 0.5]
    assert lines[-1]["path"] == str(tmp_path / "masks" / "segment.json")


def test_an_unknown_form_is_refused(llnm, tmp_path):
    code, _, err = llnm("predict", "--progress", "xml", "--out", tmp_path)
    assert code == 2
    assert "write json" in err
