"""Training of the LLNM network on a few simulated patients: splits, what is left out, interruptions, two processes."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from interrupted import assert_a_kill_changes_nothing
from monai.utils import set_determinism
from PIL import Image, ImageOps

from llnm.case import PLANES
from llnm.errors import InputError
from llnm.pipeline.risk import load_report_encoder
from llnm.simulate import sample_truth, write_cohort
from llnm.tmdl import TMDL, preset_config
from llnm.tmdl.config import IMAGE_INPUTS, INPUTS
from llnm.training.cohort import cached_tensors
from llnm.training.llnm import score_patients, summarise_levels, summarise_sets
from llnm.training.patients import (
    LeaveOut,
    LoadPatient,
    RandAbsent,
    RandMirrorNodule,
    patient_split,
    scoring_transforms,
    training_transforms,
)
from llnm.weights import load_state_dict


@pytest.fixture(scope="module")
def ten_patients(tmp_path_factory):
    return write_cohort(10, seed=5, out=tmp_path_factory.mktemp("ten") / "cohort")


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """A cache that the runs share, as a user's runs do."""
    return tmp_path_factory.mktemp("features")


def command(cohort, features, out, *options):
    fixed = ["--data", cohort, "--cache", features, "--out", out, "--folds", 2, "--batch", 2, "--threads", 1]
    return [*map(str, (sys.executable, "-m", "llnm", "train", "llnm", *fixed, *options))]


def test_train_llnm_runs_on_a_cohort_and_reports_the_best_possible_auc(llnm, ten_patients, features, tmp_path):
    out = tmp_path / "run"
    options = ["--data", ten_patients, "--cache", features, "--out", out]
    code, _, err = llnm("train", "llnm", *options, "--epochs", 1, "--folds", 2, "--threads", 1, "--without", "cpdt,sex")
    assert code == 0, err
    record = json.loads((out / "training.json").read_text(encoding="utf-8"))
    assert record["training_patients"] == 5
    assert record["held_back"]["patients"] == 5
    assert "best_possible_auc" in record["held_back"]
    scores = pd.read_csv(out / "held_back.csv")
    assert scores["probability"].between(0, 1).all()
    levels = scores[["level_low", "level_medium", "level_high"]]
    assert np.allclose(levels.sum(axis=1), 1, atol=1e-5)
    card = (out / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "5 patients of cohort.csv; without cpdt, sex" in card
    assert str(tmp_path) not in card


def test_a_training_killed_at_a_random_moment_ends_with_the_same_weights(ten_patients, features, tmp_path):
    assert_a_kill_changes_nothing(
        lambda out: [*command(ten_patients, features, out), "--epochs", "4"], tmp_path, within=0.3
    )


def test_two_processes_train_together_and_one_of_them_writes(ten_patients, features, tmp_path):
    out = tmp_path / "run"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]
    train = [*torchrun, *command(ten_patients, features, out)[1:], "--epochs", "1"]
    found = subprocess.run(train, check=False, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr[-2000:]
    assert json.loads((out / "training.json").read_text(encoding="utf-8"))["training_patients"] == 5
    assert load_state_dict(out / "model.pt")["told"].all(), "the simulation tells of every finding"


def test_patients_are_in_one_part_of_the_split_alone_and_every_one_is_held_back_once(ten_patients):
    held = []
    for fold in range(5):
        split = patient_split(ten_patients, fold, 5, validation_share=0.25, seed=3)
        parts = [
            {item.cells["patient_id"] for item in part} for part in (split.training, split.validation, split.held_back)
        ]
        assert [len(part) for part in parts] == [6, 2, 2]
        assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])
        held += sorted(parts[2])
    assert sorted(held) == sorted(pd.read_csv(ten_patients)["patient_id"])
    everybody = patient_split(ten_patients, 0, 1, validation_share=0.0)
    assert len(everybody.training) == 10


def test_two_cohorts_whose_views_are_the_same_share_their_features(ten_patients, features):
    config = preset_config(size="small")
    row = {column: str(cell) for column, cell in pd.read_csv(ten_patients, dtype=str).iloc[0].items()}
    cached_tensors(row, ten_patients.parent, config, features, 0)
    before = sorted(features.iterdir())
    other = {"llnm": "1", "patient_id": "other", "age": "33", "report": "Family history of thyroid cancer."}
    changed = cached_tensors(row | other, ten_patients.parent, config, features, 0)
    assert sorted(features.iterdir()) == before
    assert float(changed["age"]) == 33
    encoder = load_report_encoder()
    assert torch.equal(changed["report"], encoder.encode([other["report"]])[0][0].half())
    cached_tensors(row | {"transverse_spacing_mm": "0.2"}, ten_patients.parent, config, features, 0)
    assert len(list(features.iterdir())) == len(before) + 1


def patient(ten_patients, features, transform=None):
    item = patient_split(ten_patients, folds=1).training[0]
    sample = training_transforms(
        preset_config(size="small"), features, input_dropout=0.0, view_dropout=0.0, subset_dropout=0.0
    )
    sample.set_random_state(0)
    found = sample(item)
    return found if transform is None else transform(found)


def test_inputs_are_left_out_as_often_as_stated(ten_patients, features):
    whole, leave = patient(ten_patients, features), RandAbsent(0.3, 0.5)
    leave.set_random_state(0)
    drawn = [leave(whole) for _ in range(400)]
    assert np.mean([bool(one["age_absent"]) for one in drawn]) == pytest.approx(0.3, abs=0.07)
    assert np.mean([bool(one["texture_absent"].all()) for one in drawn]) == pytest.approx(0.3, abs=0.07)
    assert np.mean([not bool(one["view_mask"].all()) for one in drawn]) == pytest.approx(0.5, abs=0.08)
    assert np.mean([bool((one["capsule_distance"] < 0).all()) for one in drawn]) == pytest.approx(0.3, abs=0.07)
    assert (whole["capsule_distance"] >= 0).all()
    assert all(bool(one["view_mask"].any()) for one in drawn)
    assert bool(whole["view_mask"].all()), "what is drawn from stays whole"


def test_of_some_patients_any_share_of_the_inputs_is_left_out(ten_patients, features):
    """Against the uniform mixture of binomials, by which every number of inputs is equally likely."""
    whole, leave = patient(ten_patients, features), RandAbsent(0.0, 0.0, subset_share=0.5)
    leave.set_random_state(0)
    drawn = [leave(whole) for _ in range(900)]
    absent = [sum(bool(one[f"{name}_absent"].all()) for name in INPUTS) for one in drawn]
    found = np.bincount(absent, minlength=len(INPUTS) + 1) / len(drawn)
    expected = np.full(len(INPUTS) + 1, 0.5 / (len(INPUTS) + 1)) + 0.5 * np.eye(len(INPUTS) + 1)[0]
    np.testing.assert_allclose(found, expected, atol=0.04)


def test_what_is_left_out_at_scoring_depends_on_its_seed_alone(ten_patients, features):
    torch.manual_seed(0)
    network, items = TMDL.from_preset(size="small").eval(), patient_split(ten_patients, folds=1).training

    def scored(seed, of_everything):
        set_determinism(of_everything)
        try:
            return score_patients(network, items, features, absent_seed=seed)["probability"].tolist()
        finally:
            set_determinism(None)

    first, other, without = scored(3, 7), scored(4, 7), scored(None, 7)
    assert scored(3, None) == scored(3, 8) == first
    assert first != other
    assert without not in (first, other)


def test_a_mirrored_nodule_is_mirrored_in_all_images_of_its_view_alike(ten_patients, features):
    whole, mirror = patient(ten_patients, features), RandMirrorNodule()
    mirror.set_random_state(1)
    seen = set()
    for _ in range(20):
        changed = mirror(whole)
        for view in range(2):
            flipped = [torch.equal(changed[name][view], whole[name][view].flip(-1)) for name in IMAGE_INPUTS]
            assert len(set(flipped)) == 1
            seen.add((view, flipped[0]))
    assert len(seen) == 4


def test_the_network_is_told_where_the_capsule_is_nearer_than_2_5_mm(ten_patients, features):
    """As the simulated anatomy has it, but for distances that a pixel could bring to the other side."""
    load = LoadPatient(preset_config(size="small"), features)
    seen = set()
    for item in patient_split(ten_patients, folds=1, validation_share=0.0).training:
        distance = sample_truth(5_000_000 + int(item.cells["patient_id"][1:]) - 1).measured.capsule_distance_mm
        if abs(distance - 2.5) > 0.3:
            assert int(load(item)["findings"][-1]) == (distance < 2.5)
            seen.add(distance < 2.5)
    assert seen == {True, False}
    spacings = {"transverse_spacing_mm": "", "longitudinal_spacing_mm": ""}
    unknown = load(replace(item, cells={**item.cells, **spacings}))
    assert int(unknown["findings"][-1]) == -1, "no millimetres without a spacing"


def test_without_cpdt_the_location_is_the_frame_itself_and_no_distance_is_known(ten_patients, features):
    config, item = preset_config(size="small"), patient_split(ten_patients, folds=1).training[0]
    whole = scoring_transforms(config, features)(item)
    changed = scoring_transforms(config, features, ["cpdt", "age"])(item)
    for view, plane in enumerate(PLANES):
        with Image.open(ten_patients.parent / item.cells[plane]) as file:
            shrunk = np.asarray(ImageOps.contain(file.convert("L"), (224, 224), Image.Resampling.BOX))
        top, left = (224 - shrunk.shape[0]) // 2, (224 - shrunk.shape[1]) // 2
        seen = changed["location"][view, 0, top : top + shrunk.shape[0], left : left + shrunk.shape[1]].numpy()
        scan = (seen > 0) & (shrunk > 0)
        assert scan.mean() > 0.8
        assert np.corrcoef(seen[scan], shrunk[scan])[0, 1] > 0.98, "but for the brightness, which is standardised"
    assert (changed["capsule_distance"] < 0).all()
    assert (whole["capsule_distance"] >= 0).all()
    assert bool(changed["age_absent"])
    different = {name for name in whole if not torch.equal(whole[name], changed[name])}
    assert different == {"location", "capsule_distance", "age_absent"}
    lone = replace(item, cells={**item.cells, "longitudinal": ""})
    assert scoring_transforms(config, features, ["cpdt"])(lone)["location_absent"].tolist() == [False, True]


def test_an_input_that_does_not_exist_cannot_be_left_out():
    with pytest.raises(InputError, match="weather.*choose from location"):
        LeaveOut(["weather"])


def test_a_cache_that_is_a_file_is_named(llnm, ten_patients, tmp_path):
    (tmp_path / "cache").write_text("mine")
    options = ["--data", ten_patients, "--cache", tmp_path / "cache", "--out", tmp_path / "run"]
    code, _, err = llnm("train", "llnm", *options)
    assert (code, len(err.strip().splitlines())) == (2, 1)
    assert str(tmp_path / "cache") in err
    assert (tmp_path / "cache").read_text() == "mine"


def test_a_cohort_without_labels_cannot_be_trained_on(llnm, ten_patients, tmp_path):
    table = pd.read_csv(ten_patients, dtype=str, keep_default_na=False)
    table.loc[3, "llnm"] = ""
    table.to_csv(ten_patients.parent / "unlabelled.csv", index=False)
    code, _, err = llnm("train", "llnm", "--data", ten_patients.parent / "unlabelled.csv", "--out", tmp_path / "run")
    assert code == 2
    assert "every patient needs llnm" in err


def test_the_record_counts_how_often_sets_hold_the_truth_with_and_without_every_input():
    rng = np.random.default_rng(0)
    chance = rng.random(400)
    whole = pd.DataFrame({"probability": chance, "llnm": rng.random(400) < chance, "complete": True})
    whole["calibrated"] = chance
    partial = whole.assign(complete=rng.random(400) < 0.4).drop(columns="calibrated")
    calibration = {
        "slope": 1.0,
        "intercept": 0.0,
        "conformal": {"coverage": 0.9, "complete": 0.6, "incomplete": 0.8},
    }
    found = summarise_sets(whole, partial, calibration)
    lacking = partial[~partial["complete"]]
    assert found["held_back_incomplete"]["patients"] == len(lacking)
    for group, table, most in (("complete", whole, 0.6), ("incomplete", lacking, 0.8)):
        held = [max(1 - p if y else p, 0) <= most for p, y in zip(table["probability"], table["llnm"], strict=True)]
        assert found["conformal_sets"][group]["coverage"] == pytest.approx(np.mean(held))
    assert summarise_sets(whole, partial, None) == {}


def test_levels_are_measured_on_those_who_have_one():
    rng = np.random.default_rng(1)
    level = np.array(["low", "medium", "high", ""])[rng.integers(4, size=300)]
    sure = pd.get_dummies(pd.Series(level)).reindex(columns=["low", "medium", "high"], fill_value=False).astype(float)
    table = (0.4 * sure + 0.2).div((0.4 * sure + 0.2).sum(axis=1), axis=0).add_prefix("level_").assign(level=level)
    found = summarise_levels(table)
    assert found["patients"] == (level != "").sum()
    assert found["auc"]["value"] == 1
    assert summarise_levels(table[table["level"] != "high"]) is None
