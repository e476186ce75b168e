"""Figures, intervals and tests of discrimination against scikit-learn, MLstatkit, brute force and published numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from MLstatkit import Delong_test
from published_data import COHORTS, cohort_table, published_figures
from scipy import stats
from sklearn import metrics

from llnm.errors import InputError
from llnm.evaluation import check_scores
from llnm.evaluation.cells import count, resampled, without_blocks
from llnm.evaluation.delong import delong_covariance, delong_interval, delong_test
from llnm.evaluation.discrimination import (
    auc,
    average_precision,
    confusion,
    discrimination,
    precision_recall_curve,
    roc_curve,
    sensitivity_threshold,
    youden_threshold,
)
from llnm.evaluation.intervals import bootstrap
from llnm.evaluation.scores import Scores

# METHOD's counts at a cut-off of 0.5; the corrupt score of the training set counts as a missed patient.
COUNTS = {
    "train": {"tp": 10502, "tn": 11309, "fp": 347, "fn": 1534},
    "validation": {"tp": 2657, "tn": 2617, "fp": 148, "fn": 501},
    "external": {"tp": 4216, "tn": 4116, "fp": 230, "fn": 1274},
}


def tied_scores(seed, n=400):
    """Scores with many ties."""
    rng = np.random.default_rng(seed)
    label = rng.random(n) < 0.35
    return check_scores(np.clip(rng.normal(0.4 + 0.2 * label, 0.2), 0, 1).round(2), label)


@pytest.mark.parametrize("cohort", COHORTS)
def test_the_published_counts_and_figures_come_out(data, cohort):
    table = cohort_table(data, cohort)
    cells = count(check_scores(table["score"], table["llnm"]))
    assert {name: int(value) for name, value in confusion(cells, 0.5).items()} == COUNTS[cohort]
    ours = discrimination(cells, 0.5)
    for row in published_figures(data, cohort).itertuples():
        assert f"{float(ours[row.figure]):.3f}" == row.value


@pytest.mark.parametrize("seed", range(5))
def test_areas_equal_scikit_learns_also_with_ties(seed):
    scores = tied_scores(seed)
    assert auc(count(scores)) == pytest.approx(metrics.roc_auc_score(scores.label, scores.score), abs=1e-12)
    expected = metrics.average_precision_score(scores.label, scores.score)
    assert average_precision(count(scores)) == pytest.approx(expected, abs=1e-12)


def test_curves_equal_scikit_learns():
    scores = tied_scores(0)
    false, true, cuts = metrics.roc_curve(scores.label, scores.score, drop_intermediate=False)
    ours = roc_curve(count(scores))
    assert np.allclose(ours["threshold"], cuts)
    assert np.allclose(ours["sensitivity"], true)
    assert np.allclose(1 - ours["specificity"], false)
    precision, recall, _ = metrics.precision_recall_curve(scores.label, scores.score)
    curve = precision_recall_curve(count(scores))
    assert np.allclose(curve["precision"][::-1], precision[:-1])
    assert np.allclose(curve["recall"][::-1], recall[:-1])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=4, max_size=30))
def test_the_area_is_the_share_of_pairs_in_order(rows):
    grades, label = np.array([grade for grade, _ in rows]), np.array([sick for _, sick in rows])
    if not 2 <= label.sum() <= len(label) - 2:
        return
    sick, healthy = grades[label][:, None], grades[~label][None, :]
    expected = np.mean((sick > healthy) + 0.5 * (sick == healthy))
    assert auc(count(check_scores(grades / 4, label))) == pytest.approx(expected, abs=1e-12)


def test_cut_offs_are_the_best_of_all_tried():
    scores = tied_scores(3)
    cells = count(scores)

    def rates_at(cut):
        called = scores.score >= cut
        return called[scores.label].mean(), 1 - called[~scores.label].mean()

    tried = {cut: rates_at(cut) for cut in np.unique(scores.score)}
    best = max(tried, key=lambda cut: sum(tried[cut]))
    assert sum(tried[youden_threshold(cells)]) == pytest.approx(sum(tried[best]))
    for share in (0.5, 0.9, 1.0):
        expected = max(cut for cut, (sensitivity, _) in tried.items() if sensitivity >= share)
        assert sensitivity_threshold(cells, share) == expected
    with pytest.raises(InputError, match="sensitivity"):
        sensitivity_threshold(cells, 1.2)


def test_delong_equals_a_published_implementation():
    rng = np.random.default_rng(0)
    label = rng.random(300) < 0.4
    first, second = rng.normal(label, 1), rng.normal(0.6 * label, 1).round(1)
    ours = delong_test(first, second, label, np.arange(300))
    z, p, interval, _, one, other, extra = Delong_test(label.astype(int), first, second)
    assert abs(ours.z) == pytest.approx(abs(z), abs=1e-8)
    assert ours.p == pytest.approx(p, abs=1e-8)
    assert (ours.first, ours.second) == pytest.approx((one, other), abs=1e-8)
    assert interval[0] < one < interval[1]
    _, covariance = delong_covariance(np.stack([first, second]), label, np.arange(300))
    difference = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    assert difference == pytest.approx(extra["var_diff"], abs=1e-10)


def test_the_same_model_twice_does_not_differ_from_itself():
    scores = tied_scores(1)
    same = delong_test(scores.score, scores.score, scores.label, scores.patient)
    assert (same.difference.value, same.p) == (0.0, 1.0)


def test_rows_of_a_patient_widen_the_interval_as_much_as_the_bootstrap_says():
    rng = np.random.default_rng(2)
    patients, rows = 250, 4
    label = np.repeat(rng.random(patients) < 0.4, rows)
    own = np.repeat(rng.normal(0, 1, patients), rows)
    score = stats.norm.cdf(own + 0.8 * label + rng.normal(0, 0.3, len(label)))
    scores = check_scores(score, label, np.repeat(np.arange(patients), rows))
    alone = Scores(scores.score, scores.label, np.arange(len(label)))
    drawn = bootstrap(scores, lambda cells: {"auc": auc(cells)}, resamples=2000)["auc"]
    ours, naive = delong_interval(scores), delong_interval(alone)
    assert (ours.high - ours.low) == pytest.approx(drawn.high - drawn.low, rel=0.08)
    assert (naive.high - naive.low) < 0.7 * (ours.high - ours.low)


def test_a_bootstrap_draw_holds_as_many_patients_as_there_are_and_whole_ones():
    rng = np.random.default_rng(4)
    patient = np.repeat(np.arange(60), 3)
    scores = Scores(np.repeat(rng.permutation(60) / 60, 3), np.repeat(np.arange(60) % 2 == 1, 3), patient)
    for cells in resampled(scores, 50, rng):
        assert (cells.total.sum(axis=-1) == 180).all()
        assert (cells.total % 3 == 0).all()


def test_paired_draws_take_the_same_patients_for_two_models():
    one = tied_scores(5)
    other = Scores(one.score, one.label, one.patient)
    draws = [
        np.concatenate([c.positive for c in resampled(s, 20, np.random.default_rng(9), True)]) for s in (one, other)
    ]
    assert np.array_equal(*draws)


def test_leaving_out_blocks_leaves_out_each_patient_once():
    scores = tied_scores(6)
    cells = without_blocks(scores, 7, np.random.default_rng(0))
    whole = count(scores)
    assert np.allclose((whole.total - cells.total).sum(axis=0), whole.total)


def test_bootstrap_errors_equal_those_of_theory():
    """A share's standard error and the area's are known: binomial and DeLong's."""
    rng = np.random.default_rng(8)
    label = rng.random(1500) < 0.5
    scores = check_scores(stats.norm.cdf(rng.normal(1.1 * label, 1) - 0.5), label)
    found = bootstrap(scores, lambda cells: discrimination(cells, 0.5), resamples=3000)
    accuracy = found["accuracy"]
    error = np.sqrt(accuracy.value * (1 - accuracy.value) / 1500)
    assert (accuracy.high - accuracy.low) / (2 * 1.96) == pytest.approx(error, rel=0.06)
    delong = delong_interval(scores)
    assert found["auc"].high - found["auc"].low == pytest.approx(delong.high - delong.low, rel=0.06)


def test_bca_shifts_the_interval_of_a_skewed_figure_as_scipy_does():
    rng = np.random.default_rng(3)
    label = np.r_[np.ones(60, bool), np.zeros(60, bool)]
    score = stats.norm.cdf(rng.normal(2.2 * label, 1) - 1)
    ours = bootstrap(
        check_scores(score, label), lambda c: {"ppv": discrimination(c, 0.3)["ppv"]}, resamples=8000, method="bca"
    )

    def ppv(called, sick):
        return (called & sick).sum() / max(called.sum(), 1)

    theirs = stats.bootstrap(
        (score >= 0.3, label), ppv, paired=True, vectorized=False, n_resamples=4000, method="BCa", rng=rng
    ).confidence_interval
    assert (ours["ppv"].low, ours["ppv"].high) == pytest.approx((theirs.low, theirs.high), abs=0.012)


@pytest.mark.parametrize("method", ["DeLong", "percentile"])
def test_an_interval_of_95_percent_holds_the_true_area_in_94_to_96_percent_of_studies(method):
    """1,000 studies of 120 patients with and 180 without the condition, whose area is known."""
    rng = np.random.default_rng(11)
    true, held, studies = stats.norm.cdf(1.2 / np.sqrt(2)), 0, 1000
    label = np.r_[np.ones(120, bool), np.zeros(180, bool)]
    for study in range(studies):
        scores = check_scores(stats.norm.cdf(rng.normal(1.2 * label, 1) - 0.6), label)
        if method == "DeLong":
            interval = delong_interval(scores)
        else:
            interval = bootstrap(scores, lambda cells: {"auc": auc(cells)}, resamples=600, seed=study)["auc"]
        held += interval.low <= true <= interval.high
    assert 0.94 <= held / studies <= 0.96
