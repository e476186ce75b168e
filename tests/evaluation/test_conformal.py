"""Conformal sets: the definition, the coverage they promise, and what the pipeline makes of them."""

import numpy as np
import pytest

from llnm.errors import InputError
from llnm.evaluation.conformal import conformal_threshold, fit_conformal, set_figures
from llnm.evaluation.scores import Scores
from llnm.pipeline.calibration import Calibration, Conformal


def patients(count, seed, sharpness=2.0):
    """Calibrated probabilities and labels; a third of the patients lacks an input and has duller ones."""
    rng = np.random.default_rng(seed)
    complete = rng.random(count) > 1 / 3
    logit = rng.normal(0, np.where(complete, sharpness, 0.5))
    score = 1 / (1 + np.exp(-logit))
    return Scores(score, rng.random(count) < score, np.arange(count)), complete


def test_the_threshold_is_the_smallest_that_covers_one_more_patient_as_often_as_stated():
    """Of n + 1 exchangeable scores the last is among the k least with probability k / (n + 1)."""
    scores = np.arange(1, 20) / 20
    assert conformal_threshold(scores, 0.9) == 18 / 20
    assert conformal_threshold(scores, 0.95) == 19 / 20
    assert conformal_threshold(scores, 0.96) == 1.0, "nineteen patients cannot promise 96 %"


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
def test_sets_hold_the_truth_as_often_as_stated_with_and_without_every_input(coverage):
    found = []
    for seed in range(60):
        calibration, complete = patients(400, seed)
        further, further_complete = patients(2000, 1000 + seed)
        sets = fit_conformal(calibration, complete, coverage)
        figures = set_figures(further, further_complete, sets)
        found.append([figures[group]["coverage"] for group in ("complete", "incomplete", "all")])
    assert np.mean(found, axis=0) == pytest.approx([coverage] * 3, abs=0.01)


def test_one_threshold_for_all_does_not_keep_its_promise_to_those_who_lack_an_input():
    """Why there are two."""
    covered = []
    for seed in range(30):
        calibration, _ = patients(400, seed)
        further, complete = patients(2000, 1000 + seed)
        covered.append(set_figures(further, complete, fit_conformal(calibration))["incomplete"]["coverage"])
    assert abs(np.mean(covered) - 0.9) > 0.02


def test_the_answers_of_a_patient_are_those_that_the_threshold_leaves():
    sets = Conformal(0.9, complete=0.3, incomplete=0.6)
    assert sets.answers(0.8, complete=True) == ("positive",)
    assert sets.answers(0.1, complete=True) == ("negative",)
    assert sets.answers(0.5, complete=True) == ()
    assert sets.answers(0.5, complete=False) == ("negative", "positive")


@pytest.mark.parametrize("coverage", [0, 1, 1.5, -0.1])
def test_a_coverage_that_cannot_be_is_refused(coverage):
    with pytest.raises(InputError, match="coverage"):
        conformal_threshold(np.array([0.1]), coverage)


def test_a_sites_calibration_goes_on_from_that_of_the_weights():
    own, site = Calibration("own", 0.7, 0.3), Calibration("site", 1.4, -0.8)
    logits = np.linspace(-4, 4, 9)
    first = own(logits)
    assert site.after(own)(logits) == pytest.approx(site(np.log(first / (1 - first))), abs=1e-12)
    assert site.after(own).name == "site"


def test_a_file_with_impossible_thresholds_is_refused(tmp_path):
    path = tmp_path / "site.json"
    path.write_text(
        '{"name": "a", "slope": 1, "intercept": 0, "conformal": {"coverage": 0.9, "complete": 2, "incomplete": 1}}'
    )
    with pytest.raises(InputError, match="site.json: is no calibration"):
        Calibration.from_file(path)
