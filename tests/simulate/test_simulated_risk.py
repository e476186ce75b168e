"""The stated risk model: the cohort's margins, the published 0.25 cm figure, and what each cause is worth."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from llnm.errors import InputError
from llnm.simulate import ALL_CAUSES, CAUSES, RiskModel, sample_truth, simulate_patient
from llnm.simulate.risk import EFFECTS, probability, values
from llnm.staging import LEVELS, UNCLASSIFIABLE

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


def without(truth, causes):
    """The probability of a patient under the model with these causes switched off."""
    return probability({name: 0.0 if EFFECTS[name].cause in causes else term for name, term in truth.terms.items()})


@pytest.mark.parametrize("cause", CAUSES)
def test_a_score_that_ignores_a_cause_ranks_worse(truths, cause):
    p = [truth.true_probability for truth in truths]
    blind = [without(truth, {cause}) for truth in truths]
    assert expected_auc(p, blind) < expected_auc(p) - 0.0005


def test_switching_causes_off_one_after_the_other_lowers_the_best_possible_auc_and_keeps_the_prevalence(truths):
    off, aucs = set(), []
    for cause in ("location", "report", "texture", "margin", "echogenicity", "age", "shape", "sex"):
        p = [without(truth, off) for truth in truths]
        aucs.append(expected_auc(p))
        assert np.mean(p) == pytest.approx(0.52, abs=0.04)
        off.add(cause)
    assert all(later < earlier - 0.01 for earlier, later in itertools.pairwise(aucs))


def test_the_means_of_the_effects_are_those_written_down(truths):
    table = [values(truth.findings, truth.measured) for truth in truths]
    for name, effect in EFFECTS.items():
        found = np.array([row[name] for row in table])
        assert found.mean() == pytest.approx(effect.mean, abs=4 * found.std() / math.sqrt(PATIENTS))


def test_without_any_cause_everybody_has_the_same_risk():
    nothing = RiskModel().without(CAUSES)
    risks = {sample_truth(seed, nothing).true_probability for seed in range(5)}
    assert len(risks) == 1
    assert risks.pop() == pytest.approx(0.52, abs=0.02)


def test_a_switched_off_cause_is_that_cause_alone():
    model = RiskModel().without({"texture"})
    assert model.causes == ALL_CAUSES - {"texture"}
    for seed in range(5):
        plain, reduced = sample_truth(seed), sample_truth(seed, model)
        assert reduced.true_probability == pytest.approx(without(plain, {"texture"}))


def test_causes_change_the_risk_but_not_the_pictures():
    plain, reduced = simulate_patient(7), simulate_patient(7, RiskModel().without({"location"}))
    assert plain.true_probability != reduced.true_probability
    assert plain.case.report == reduced.case.report
    np.testing.assert_array_equal(
        plain.case.views["transverse"].image.pixels, reduced.case.views["transverse"].image.pixels
    )


def test_other_sizes_of_effects_come_from_a_file(tmp_path):
    path = tmp_path / "effects.json"
    path.write_text('{"male": 0, "age": 0}')
    model = RiskModel.from_file(path)
    truth = sample_truth(3, model)
    assert (truth.terms["male"], truth.terms["age"]) == (0, 0)
    assert truth.terms["third"] == sample_truth(3).terms["third"]


@pytest.mark.parametrize("text", ['{"weather": 1}', '{"male": "much"}', '{"male": NaN}', "[1]", "{"])
def test_effects_that_cannot_be_used_are_refused(tmp_path, text):
    path = tmp_path / "effects.json"
    path.write_text(text)
    with pytest.raises(InputError, match="choose from|no number|no effects|JSON"):
        RiskModel.from_file(path)


def test_patients_with_metastasis_have_nodes_and_a_level_and_the_others_none(truths):
    positive = [truth for truth in truths if truth.llnm]
    assert all(truth.nodes is None for truth in truths if not truth.llnm)
    count = np.array([truth.nodes.count for truth in positive])
    # Table 1 of the paper: 17,504, 2,144 and 1,036 of 20,684.
    assert np.mean(count <= 5) == pytest.approx(0.846, abs=0.04)
    assert np.mean(count > 10) == pytest.approx(0.050, abs=0.025)
    levels = [truth.nodes.level for truth in positive]
    assert all(levels.count(level) > 0.02 * len(levels) for level in (*LEVELS, UNCLASSIFIABLE))
    risk = {level: np.mean([t.true_probability for t in positive if t.nodes.level == level]) for level in LEVELS}
    assert risk["low"] < risk["medium"] < risk["high"]


def test_an_unknown_cause_is_refused_by_name():
    with pytest.raises(InputError, match="weather.*choose from location"):
        RiskModel().without({"weather"})
