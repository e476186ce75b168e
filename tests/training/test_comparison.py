"""Runs side by side: differences are paired by patient, and runs on other images are refused."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from llnm.errors import InputError
from llnm.training.comparison import compare_runs


def write_run(folder, dice, groups, parameters=10):
    folder.mkdir()
    names = [f"{index}" for index in range(len(dice))]
    table = pd.DataFrame({"source": "ddti", "group": groups, "image": names, "dice": dice})
    # The order of the rows does not matter.
    table.sample(frac=1, random_state=len(folder.name)).to_csv(folder / "held_back.csv", index=False)
    (folder / "training.json").write_text(json.dumps({"parameters": parameters, "minutes": 1.5}), encoding="utf-8")
    return folder


def test_a_difference_is_paired_by_patient_and_its_interval_is_scipys(tmp_path):
    rng = np.random.default_rng(3)
    hard = rng.uniform(0.2, 0.9, 40)
    groups = [f"patient {index}" for index in range(40)]
    first = write_run(tmp_path / "first", hard, groups)
    second = write_run(tmp_path / "second", hard + rng.normal(0.03, 0.02, 40), groups)
    reference, row = compare_runs([first, second], tmp_path)
    assert (reference["difference"], reference["difference_low"], reference["difference_high"]) == (0, 0, 0)
    ours = pd.read_csv(second / "held_back.csv").set_index("image").sort_index()["dice"]
    theirs = pd.read_csv(first / "held_back.csv").set_index("image").sort_index()["dice"]
    gain = (ours - theirs).to_numpy()
    expected = stats.bootstrap((gain,), np.mean, method="percentile", random_state=1).confidence_interval
    assert row["difference"] == pytest.approx(gain.mean(), abs=1e-3)
    assert [row["difference_low"], row["difference_high"]] == pytest.approx(list(expected), abs=2e-3)
    # The patients differ far more among each other than the runs do.
    assert row["high"] - row["low"] > 5 * (row["difference_high"] - row["difference_low"])
    assert len(pd.read_csv(tmp_path / "comparison.csv")) == 2
    assert "| second | ddti | 40 |" in (tmp_path / "comparison.md").read_text(encoding="utf-8")


def test_a_patient_with_many_images_counts_once(tmp_path):
    groups = ["a", "a", "a", "b"]
    first = write_run(tmp_path / "first", [0.5, 0.5, 0.5, 0.5], groups)
    second = write_run(tmp_path / "second", [0.9, 0.9, 0.9, 0.05], groups)
    row = compare_runs([first, second], tmp_path)[1]
    assert row["dice"] == pytest.approx(0.475)
    assert row["missed"] == 0.5


def test_runs_measured_on_other_images_are_refused_by_name(tmp_path):
    first = write_run(tmp_path / "first", [0.5, 0.6], ["a", "b"])
    other = write_run(tmp_path / "other", [0.5, 0.6, 0.7], ["a", "b", "c"])
    with pytest.raises(InputError, match="other: was not measured on the same images"):
        compare_runs([first, other], tmp_path)
    with pytest.raises(InputError, match="at least two"):
        compare_runs([first], tmp_path)
    with pytest.raises(InputError, match=r"held_back\.csv: cannot be read"):
        compare_runs([first, tmp_path / "none"], tmp_path)
    (other / "training.json").unlink()
    with pytest.raises(InputError, match=r"training\.json: cannot be read"):
        compare_runs([other, other], tmp_path)
