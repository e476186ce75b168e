"""Calibration against METHOD's figures, statsmodels, scikit-learn and known truths."""

import numpy as np
import pytest
import statsmodels.api as sm
from published_data import cohort_table
from scipy import special, stats
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import brier_score_loss

from llnm.errors import InputError
from llnm.evaluation import check_scores
from llnm.evaluation.calibration import (
    brier_parts,
    brier_score,
    calibration_error,
    calibration_error_by_chance,
    calibration_figures,
    calibration_line,
    compare_recalibrations,
    cross_fitted,
    fit_recalibration,
    patient_folds,
    reliability_curve,
)
from llnm.evaluation.cells import count
from llnm.evaluation.discrimination import confusion, rates
from llnm.evaluation.scores import Scores


@pytest.fixture(scope="module")
def external(data):
    table = cohort_table(data, "external")
    return check_scores(table["score"], table["llnm"])


def simulated(n, slope=1.0, intercept=0.0, seed=0):
    """Scores of which the truth is sigmoid(slope x logit + intercept)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, n)
    label = rng.random(n) < special.expit(slope * logits + intercept)
    return check_scores(special.expit(logits), label)


def test_the_external_calibration_is_as_poor_as_known(external):
    line = calibration_line(external)
    assert f"{float(calibration_error(count(external))):.3f}" == "0.111"
    assert f"{line['calibration_slope'].value:.2f}" == "0.67"
    assert f"{line['calibration_intercept'].value:.2f}" == "1.20"
    bins = reliability_curve(count(external))
    assert bins.loc[1, "share"] == pytest.approx(0.5, abs=0.005)


def test_platt_on_half_the_external_set_gains_what_is_known_on_the_other_half(external):
    errors, accuracies = [], []
    for seed in range(5):
        half = patient_folds(external, 2, seed)
        fitted = fit_recalibration(external.where(half == 0), "platt")
        other = external.where(half == 1)
        mended = Scores(fitted(other.score), other.label, other.patient)
        errors.append([float(calibration_error(count(part))) for part in (other, mended)])
        accuracies.append([float(rates(confusion(count(part), 0.5))["accuracy"]) for part in (other, mended)])
    before, after = np.mean(errors, axis=0)
    # Known: calibration error .114 -> .022, accuracy .842 -> .864 on one split; the splits here are others.
    assert before == pytest.approx(0.114, abs=0.006)
    assert after < 0.025
    before, after = np.mean(accuracies, axis=0)
    assert before == pytest.approx(0.842, abs=0.007)
    assert after == pytest.approx(0.864, abs=0.01)


def test_the_line_equals_statsmodels_on_single_rows():
    scores = simulated(3000, 0.7, 0.4)
    fit = sm.Logit(scores.label.astype(float), sm.add_constant(special.logit(scores.score))).fit(disp=0)
    line = calibration_line(scores)
    assert line["calibration_slope"].value == pytest.approx(fit.params[1], abs=1e-6)
    assert line["calibration_intercept"].value == pytest.approx(fit.params[0], abs=1e-6)
    low, high = fit.conf_int()[1]
    assert (line["calibration_slope"].low, line["calibration_slope"].high) == pytest.approx((low, high), abs=1e-5)


def test_intervals_of_the_line_hold_the_truth():
    held = {"calibration_slope": 0, "calibration_intercept": 0}
    for seed in range(300):
        line = calibration_line(simulated(400, 0.8, -0.3, seed))
        for name, truth in (("calibration_slope", 0.8), ("calibration_intercept", -0.3)):
            held[name] += line[name].low <= truth <= line[name].high
    assert all(0.92 <= hits / 300 <= 0.98 for hits in held.values()), held


def test_repeated_rows_do_not_make_the_line_more_certain():
    once = simulated(500)
    rows = np.repeat(np.arange(500), 4)
    again = Scores(once.score[rows], once.label[rows], rows)
    widths = [line["calibration_slope"] for line in (calibration_line(once), calibration_line(again))]
    assert (widths[1].high - widths[1].low) == pytest.approx(widths[0].high - widths[0].low, rel=0.12)
    assert widths[1].value == pytest.approx(widths[0].value, abs=1e-6)


def test_classes_that_do_not_overlap_have_no_line_and_cannot_be_recalibrated():
    scores = check_scores(np.linspace(0, 1, 60), [0] * 30 + [1] * 30)
    assert calibration_line(scores)["calibration_slope"].value is None
    with pytest.raises(InputError, match="nothing can be fitted"):
        fit_recalibration(scores, "platt")


def test_a_score_that_points_the_wrong_way_is_not_recalibrated():
    scores = simulated(400, -1.0)
    with pytest.raises(InputError, match="turned round"):
        fit_recalibration(scores, "platt")


def test_brier_score_and_its_parts():
    scores = simulated(2000, 0.6, 0.5)
    cells = count(scores)
    assert float(brier_score(cells)) == pytest.approx(brier_score_loss(scores.label, scores.score), abs=1e-12)
    parts = brier_parts(cells)
    total = parts.reliability - parts.resolution + parts.uncertainty + parts.within_bins
    assert total == pytest.approx(float(brier_score(cells)), abs=1e-12)
    # Without any spread inside the bins nothing is hidden in them.
    rounded = Scores((np.floor(scores.score * 10) + 0.5) / 10, scores.label, scores.patient)
    assert brier_parts(count(rounded)).within_bins == pytest.approx(0, abs=1e-12)


def test_calibration_error_by_hand():
    scores = check_scores([0.12, 0.18, 0.91, 0.95, 1.0, 0.0], [0, 1, 1, 1, 0, 0])
    # Bins: 0 to 0.1 one patient, 0.1 to 0.2 two, 0.9 to 1 three.
    expected = (abs(0.0 - 0) * 1 + abs(0.15 - 0.5) * 2 + abs((0.91 + 0.95 + 1.0) / 3 - 2 / 3) * 3) / 6
    assert float(calibration_error(count(scores))) == pytest.approx(expected)


def test_the_interval_of_a_good_calibrations_error_holds_its_value():
    figure = calibration_figures(simulated(600), 500)["ece"]
    assert figure.low <= figure.value <= figure.high


def test_a_recalibration_never_sees_the_patient_it_is_measured_on():
    """A curve fitted to noise gains on its own patients and nothing on others."""
    rng = np.random.default_rng(0)
    scores = check_scores(rng.random(300), rng.random(300) < 0.5)
    own = IsotonicRegression(out_of_bounds="clip").fit(scores.score, scores.label).predict(scores.score)
    crossed = cross_fitted(scores, "isotonic")
    share = scores.label.mean()
    assert brier_score_loss(scores.label, own) < share * (1 - share) - 0.003
    assert brier_score_loss(scores.label, crossed.score) > share * (1 - share)


def test_folds_keep_a_patient_whole_and_share_the_condition_out():
    scores = Scores(np.random.default_rng(0).random(300), np.arange(300) % 10 == 0, np.arange(300) // 2)
    fold = patient_folds(scores, 5)
    assert (fold[0::2] == fold[1::2]).all()
    shares = [scores.label[fold == part].sum() for part in range(5)]
    assert max(shares) - min(shares) <= 1
    with pytest.raises(InputError, match="cannot be split into 40"):
        patient_folds(scores, 40)


def test_each_recalibration_mends_what_it_can():
    table = compare_recalibrations(simulated(6000, 0.5, 1.0), 0.5).set_index("recalibration")
    assert table.loc["platt", "calibration_slope"] == pytest.approx(1, abs=0.05)
    assert table.loc["platt", "ece"] < 0.03 < table.loc["none", "ece"]
    # A temperature moves no probability across a half.
    assert table.loc["temperature", "accuracy"] == table.loc["none", "accuracy"]
    assert table.loc["isotonic", "brier"] < table.loc["none", "brier"]


def test_the_calibration_error_of_true_scores_is_that_of_their_binomial_numbers():
    """A hundred scores of 0.3 in one bin: the error is how far a binomial share misses 0.3."""
    mean, low, high = calibration_error_by_chance(np.full(100, 0.3), draws=4000)
    shares = np.abs(np.arange(101) / 100 - 0.3)
    weights = stats.binom.pmf(np.arange(101), 100, 0.3)
    assert mean == pytest.approx(shares @ weights, rel=0.03)
    order = np.argsort(shares)
    cumulative = np.cumsum(weights[order])
    assert low == pytest.approx(shares[order][np.searchsorted(cumulative, 0.025)], abs=0.011)
    assert high == pytest.approx(shares[order][np.searchsorted(cumulative, 0.975)], abs=0.011)
    few = calibration_error_by_chance(np.random.default_rng(0).random(200))
    many = calibration_error_by_chance(np.random.default_rng(0).random(5000))
    assert many[0] < few[0] / 3
