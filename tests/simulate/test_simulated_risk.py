"""The stated risk model: the cohort's margins, the published 0.25 cm figure, and what each cause is worth."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from llnm.errors import InputError
from llnm.simulate import ALL_CAUSES, CAUSES, sample_truth, simulate_patient
from llnm.simulate.risk import MEANS, probability

PATIENTS = 2_000


@pytest.fixture(scope="module")
def truths():
    return [sample_truth(seed) for seed in range(50_000, 50_000 + PATIENTS)]


def expected_auc(p, score=None):
    """AUC of a score (of the true probability itself by default), in expectation over the labels."""
    p = np.asarray(p)[np.argsort(p if score is None else score)]
    negatives_below = np.cumsum(1 - p) - (1 - p) / 2
    return float((p * negatives_below).sum() / (p.sum() * (1 - p).sum()))


def test_margins_are_those_of_the_published_cohort(truths):
    ages = np.array([truth.findings.age for truth in truths])
    np.testing.assert_allclose(np.percentile(ages, [25, 50, 75]), [34, 43, 52], atol=1.01)
    assert np.mean([truth.findings.sex == "F" for truth in truths]) == pytest.approx(0.72, abs=0.03)
    assert np.mean([truth.measured.size_mm < 10 for truth in truths]) == pytest.approx(0.73, abs=0.03)
    assert np.mean([truth.true_probability for truth in truths]) == pytest.approx(0.52, abs=0.025)


def test_labels_follow_the_true_probability(truths):
    p = np.array([truth.true_probability for truth in truths])
    labels = np.array([truth.llnm for truth in truths])
    for low in (0.0, 0.2, 0.4, 0.6, 0.8):
        group = (p >= low) & (p < low + 0.2)
        error = math.sqrt((p[group] * (1 - p[group])).sum()) / group.sum()
        assert abs(labels[group].mean() - p[group].mean()) < 4 * error


def test_more_than_72_percent_within_a_quarter_centimetre_of_the_capsule_and_fewer_beyond(truths):
    distance = np.array([truth.measured.capsule_distance_mm for truth in truths])
    p = np.array([truth.true_probability for truth in truths])
    assert p[distance < 2.5].mean() > 0.72
    assert p[distance >= 2.5].mean() < 0.3
    assert 0.5 < (distance < 2.5).mean() < 0.75


def test_the_best_possible_auc_is_that_of_the_published_model(truths):
    assert 0.93 < expected_auc([truth.true_probability for truth in truths]) < 0.965


@pytest.mark.parametrize("cause", CAUSES)
def test_a_score_that_ignores_a_cause_ranks_worse(truths, cause):
    p = [truth.true_probability for truth in truths]
    blind = [probability(dict(truth.terms), ALL_CAUSES - {cause}) for truth in truths]
    assert expected_auc(p, blind) < expected_auc(p) - 0.0005


def test_switching_causes_off_one_after_the_other_lowers_the_best_possible_auc_and_keeps_the_prevalence(truths):
    causes, aucs = set(ALL_CAUSES), []
    for cause in ("location", "report", "texture", "margin", "age", "shape", "sex", "echogenicity"):
        p = [probability(dict(truth.terms), frozenset(causes)) for truth in truths]
        aucs.append(expected_auc(p))
        assert np.mean(p) == pytest.approx(0.52, abs=0.04)
        causes.remove(cause)
    assert all(later < earlier - 0.01 for earlier, later in itertools.pairwise(aucs))


def test_the_means_of_the_terms_are_those_written_down(truths):
    for cause in CAUSES:
        values = np.array([truth.terms[cause] for truth in truths])
        assert values.mean() == pytest.approx(MEANS[cause], abs=4 * values.std() / math.sqrt(PATIENTS))


def test_without_any_cause_everybody_has_the_same_risk():
    risks = {sample_truth(seed, frozenset()).true_probability for seed in range(5)}
    assert len(risks) == 1
    assert risks.pop() == pytest.approx(0.52, abs=0.02)


def test_causes_change_the_risk_but_not_the_pictures():
    plain, reduced = simulate_patient(7), simulate_patient(7, ALL_CAUSES - {"location"})
    assert plain.true_probability != reduced.true_probability
    np.testing.assert_array_equal(
        plain.case.views["transverse"].image.pixels, reduced.case.views["transverse"].image.pixels
    )


def test_an_unknown_cause_is_refused_by_name():
    with pytest.raises(InputError, match="weather.*choose from location"):
        sample_truth(0, frozenset({"weather"}))
