"""The commands as a user runs them, on simulated and real images."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from llnm.pipeline.calibration import shipped_calibration
from llnm.report import validate_result
from llnm.simulate.other_organs import simulate_other_organ


def arguments(files, *names):
    options = []
    for name in names:
        options += [f"--{name.replace('_', '-').removesuffix('-mm')}", files[name]]
    return options


BOTH_VIEWS = ("transverse", "longitudinal", "report", "age", "sex", "transverse_spacing_mm", "longitudinal_spacing_mm")
MASKS = ("transverse_nodule_mask", "transverse_gland_mask", "longitudinal_nodule_mask", "longitudinal_gland_mask")


def read(folder):
    return json.loads((Path(folder) / "result.json").read_text(encoding="utf-8"))


def test_import_and_help_load_neither_torch_nor_monai():
    script = "import sys, llnm, llnm.cli; print([m for m in ('torch', 'monai', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_predict_with_everything_given_lists_nothing_as_missing(llnm, patient_files, tmp_path):
    code, out, err = llnm("predict", "--out", tmp_path / "r", *arguments(patient_files, *BOTH_VIEWS, *MASKS))
    assert code == 0, err
    result = read(tmp_path / "r")
    validate_result(result)
    assert result["missing"] == []
    low, high = result["risk"]["interval"]
    assert 0 <= low <= result["risk"]["probability"] <= high <= 1
    assert result["location"]["capsule_distance_mm"] is not None
    assert "not a medical device" in " ".join(out.split())
    assert "simulated patients" in " ".join(out.split())
    page = (tmp_path / "r" / "report.html").read_text(encoding="utf-8")
    assert "weights trained on simulated patients" in page.lower()
    report = Path(patient_files["report"]).read_text(encoding="utf-8")
    assert report.strip() not in page


def test_the_masks_written_are_the_masks_given(llnm, patient_files, tmp_path):
    llnm("predict", "--out", tmp_path / "r", *arguments(patient_files, "transverse", *MASKS[:2]))
    for name in ("transverse_nodule", "transverse_gland"):
        written = np.array(Image.open(tmp_path / "r" / "masks" / f"{name}.png"))
        given = np.array(Image.open(patient_files[f"{name}_mask"]))
        assert np.array_equal(written > 0, given > 0)
        assert set(np.unique(written)) == {0, 255}


def test_the_same_input_gives_the_same_bytes_but_for_the_time(llnm, patient_files, tmp_path):
    texts = []
    for name in ("a", "b"):
        llnm("predict", "--out", tmp_path / name, *arguments(patient_files, *BOTH_VIEWS))
        text = (tmp_path / name / "result.json").read_text(encoding="utf-8")
        texts.append("\n".join(line for line in text.splitlines() if '"created"' not in line))
    assert texts[0] == texts[1]


def test_one_view_alone_gives_a_result_that_lists_what_it_lacked(llnm, patient_files, tmp_path):
    code, _, err = llnm("predict", "--out", tmp_path / "r", *arguments(patient_files, "longitudinal", *MASKS[2:3]))
    assert code == 0, err
    result = read(tmp_path / "r")
    assert {"transverse", "report", "age", "sex", "longitudinal spacing"} <= set(result["missing"])
    assert result["features"]["transverse"] is None
    assert result["features"]["longitudinal"]["width_mm"] is None
    assert result["features"]["longitudinal"]["aspect_ratio"] > 0
    assert result["location"]["capsule_distance_mm"] is None


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("甲状腺左叶实性低回声结节,边缘不规则,颈部IV区可疑淋巴结。", "zh"),
        ("Solid hypoechoic nodule. " * 400, "en"),
        ("结节 nodule 低回声 hypoechoic 🩺🙂", "mixed"),
        ("🙂🙂🙂", None),
    ],
)
def test_reports_of_every_kind_are_read(text, language, llnm, patient_files, tmp_path):
    code, _, err = llnm(
        "predict", "--out", tmp_path / "r", "--report-text", text, *arguments(patient_files, "transverse", *MASKS[:2])
    )
    assert code == 0, err
    assert read(tmp_path / "r")["provenance"]["report"]["language"] == language
    assert 0 < read(tmp_path / "r")["provenance"]["report"]["tokens"] <= 50


def test_an_empty_report_counts_as_missing(llnm, patient_files, tmp_path):
    llnm(
        "predict", "--out", tmp_path / "r", "--report-text", "  \n", *arguments(patient_files, "transverse", *MASKS[:2])
    )
    assert "report" in read(tmp_path / "r")["missing"]


def test_a_calibration_changes_the_probability_as_platt_scaling_does(llnm, patient_files, tmp_path):
    site = tmp_path / "site.json"
    site.write_text(json.dumps({"name": "our site", "slope": 0.5, "intercept": 1.0}), encoding="utf-8")
    given = arguments(patient_files, *BOTH_VIEWS, *MASKS)
    llnm("predict", "--out", tmp_path / "plain", *given)
    llnm("predict", "--out", tmp_path / "site", "--calibration", site, *given)
    plain, calibrated = read(tmp_path / "plain")["risk"], read(tmp_path / "site")["risk"]
    logit = np.log(plain["probability"] / (1 - plain["probability"]))
    assert calibrated["probability"] == pytest.approx(1 / (1 + np.exp(-(0.5 * logit + 1))), abs=1e-4)
    assert (plain["calibration"], calibrated["calibration"]) == (shipped_calibration().name, "our site")


def test_contributions_add_up_and_are_zero_for_what_is_missing(llnm, patient_files, tmp_path):
    given = arguments(patient_files, "transverse", "age", *MASKS[:2])
    llnm("predict", "--out", tmp_path / "r", "--explain", "fast", *given)
    shares = read(tmp_path / "r")["contributions"]
    assert set(shares) == {"location", "texture", "margin", "echogenicity", "shape", "report", "age", "sex"}
    assert shares["report"] == shares["sex"] == 0
    assert any(shares.values())


def test_segment_writes_a_mask_for_each_image_also_for_equal_stems(llnm, data, tmp_path):
    first = sorted((data / "samples").glob("*.jpg"))[0]
    twin = tmp_path / "other" / first.name
    twin.parent.mkdir()
    twin.write_bytes(first.read_bytes())
    code, _, err = llnm("segment", first, twin, "--out", tmp_path / "masks")
    assert code == 0, err
    rows = json.loads((tmp_path / "masks" / "segment.json").read_text(encoding="utf-8"))["images"]
    masks = [np.array(Image.open(tmp_path / "masks" / row["mask"])) for row in rows]
    assert len({row["mask"] for row in rows}) == 2
    assert masks[0].shape == np.array(Image.open(first)).shape[:2]
    assert np.array_equal(masks[0], masks[1])


def test_features_on_the_command_line_equal_those_of_the_result(llnm, patient_files, tmp_path):
    given = arguments(patient_files, "transverse", "transverse_spacing_mm", *MASKS[:2])
    llnm("predict", "--out", tmp_path / "r", *given)
    code, out, err = llnm(
        "features",
        patient_files["transverse"],
        "--nodule-mask",
        patient_files["transverse_nodule_mask"],
        "--gland-mask",
        patient_files["transverse_gland_mask"],
        "--spacing",
        patient_files["transverse_spacing_mm"],
    )
    assert code == 0, err
    alone, whole = json.loads(out), read(tmp_path / "r")["features"]["transverse"]
    assert alone["capsule_distance_mm"] == pytest.approx(whole["capsule_distance_mm"], abs=1e-5)
    assert alone["aspect_ratio"] == pytest.approx(whole["aspect_ratio"], abs=1e-5)


def test_info_hashes_the_files_that_predict_runs_with(llnm, patient_files, tmp_path):
    code, out, _ = llnm("info", "--json")
    assert code == 0
    shown = {row["name"]: row["file_sha256"] for row in json.loads(out)["weights"]}
    llnm("predict", "--out", tmp_path / "r", *arguments(patient_files, "transverse", *MASKS[:2]))
    used = {row["name"]: row["file_sha256"] for row in read(tmp_path / "r")["provenance"]["weights"]}
    assert used.items() <= shown.items()
    assert set(shown) - set(used) == {name for name in shown if name.startswith("thyroid_gland")} - set(used)


def test_paths_may_hold_any_characters(llnm, patient_files, tmp_path):
    folder = tmp_path / "Größe 甲状腺 [1]"
    folder.mkdir()
    frame = folder / "视图 ü.png"
    frame.write_bytes(Path(patient_files["transverse"]).read_bytes())
    code, out, err = llnm(
        "predict", "--transverse", frame, "--out", folder / "résultat", *arguments(patient_files, *MASKS[:2])
    )
    assert code == 0, err
    assert "[1]" in out
    assert "视图" not in (folder / "résultat" / "result.json").read_text(encoding="utf-8")


def test_a_frame_with_two_views_side_by_side_is_split_when_asked(llnm, patient_files, tmp_path):
    """Two simulated views put beside each other are measured as they are alone."""
    halves = [Image.open(patient_files[plane]).convert("L") for plane in ("longitudinal", "transverse")]
    height = min(half.height for half in halves)
    both = Image.new("L", (sum(half.width for half in halves), height))
    both.paste(halves[0].crop((0, 0, halves[0].width, height)), (0, 0))
    both.paste(halves[1].crop((0, 0, halves[1].width, height)), (halves[0].width, 0))
    both.save(tmp_path / "dual.png")
    given = ["--dual", tmp_path / "dual.png", "--dual-left", "longitudinal"]
    code, _, err = llnm("predict", "--out", tmp_path / "r", *given)
    assert code == 0, err
    shapes = {
        plane: np.array(Image.open(tmp_path / "r" / "masks" / f"{plane}_nodule.png")).shape
        for plane in ("transverse", "longitudinal")
        if read(tmp_path / "r")["features"][plane]
    }
    assert shapes, "no view was measured"
    for plane, half in zip(("longitudinal", "transverse"), halves, strict=True):
        if plane in shapes:
            assert abs(shapes[plane][1] - half.width) < 0.1 * half.width
    assert llnm("predict", "--out", tmp_path / "x", *given, "--transverse", tmp_path / "dual.png")[0] == 2
    assert llnm("predict", "--out", tmp_path / "x", "--dual", patient_files["transverse"])[0] == 2


def test_an_interrupted_command_ends_in_one_line_and_exit_code_3(tmp_path):
    out = tmp_path / "cohort"
    # A process started in the background of a script ignores SIGINT, and so would its children.
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from llnm.cli import main; main()"
    command = [sys.executable, "-c", heed, "simulate", "--patients", "300", "--seed", "1", "--out", str(out)]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    while running.poll() is None and not any(out.rglob("*.png")) and not any(tmp_path.rglob("*.png")):
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate()
    assert running.returncode == 3, err
    assert "interrupted" in err.strip().splitlines()[-1]
    assert not (out / "cohort.csv").exists()


def test_segment_says_of_each_image_whether_it_looks_like_a_thyroid(llnm, data, tmp_path):
    liver = simulate_other_organ("liver", np.random.default_rng(3)).pixels
    Image.fromarray((255 * liver).astype(np.uint8)).save(tmp_path / "liver.png")
    thyroid = data / "ddti" / "images" / "10_1.jpg"
    code, _, err = llnm("segment", tmp_path / "liver.png", thyroid, "--out", tmp_path / "masks")
    assert code == 0, err
    rows = json.loads((tmp_path / "masks" / "segment.json").read_text(encoding="utf-8"))["images"]
    about = {row["mask"]: row for row in rows}
    assert about["liver.png"]["out_of_distribution"] > 0.5 > about["10_1.png"]["out_of_distribution"]
    assert any("no thyroid" in warning for warning in about["liver.png"]["warnings"])
    assert not any("no thyroid" in warning for warning in about["10_1.png"]["warnings"])
