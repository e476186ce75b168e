"""Decision curve and clinical impact against dcurves and the published Figures 6c and 6d."""

import dcurves
import numpy as np
import pytest
from published_data import cohort_table, sheet

from llnm.errors import InputError
from llnm.evaluation import check_scores
from llnm.evaluation.benefit import PAPER_COLUMNS, THRESHOLDS, clinical_impact, decision_curve


@pytest.fixture(scope="module")
def validation(data):
    """Figure 6c's patients."""
    table = sheet(data, "Figure 6c").iloc[2:].dropna(how="all")
    return check_scores(table[0].to_numpy(), table[1].to_numpy())


def test_the_published_clinical_impact_comes_out_at_all_91_thresholds(data, validation):
    published = sheet(data, "Figure 6d").iloc[2:].astype(float).set_axis(["cutoffs", "accept", "false"], axis=1)
    ours = clinical_impact(validation).rename(columns=PAPER_COLUMNS)
    assert len(ours) == len(published) == 91
    assert np.allclose(ours["cutoffs"], published["cutoffs"])
    assert np.allclose(ours["Accept LLN FNA"], published["accept"], atol=1e-12)
    # What the paper calls false negatives are false alarms.
    assert np.allclose(ours["False negative LLNM"], published["false"], atol=1e-12)
    assert np.allclose(ours["share_missed"], 1 - ours["found_per_1000"] / (1000 * validation.label.mean()))


@pytest.mark.parametrize("cohort", ["validation", "external"])
def test_net_benefit_equals_dcurves_at_every_threshold(data, cohort):
    table = cohort_table(data, cohort).astype(float)
    scores = check_scores(table["score"], table["llnm"])
    ours = decision_curve(scores, resamples=100)
    inner = np.array(THRESHOLDS[1:])
    theirs = dcurves.dca(data=table, outcome="llnm", modelnames=["score"], thresholds=inner).set_index("model")
    for name, column in (("score", "model"), ("all", "treat_all"), ("none", "treat_none")):
        assert np.allclose(ours[column].iloc[1:], theirs.loc[name, "net_benefit"], atol=1e-9)
    spared = theirs.loc["score", "net_intervention_avoided"]
    assert np.allclose(ours["net_reduction_per_1000"].iloc[1:], 10 * spared, atol=1e-6) or np.allclose(
        ours["net_reduction_per_1000"].iloc[1:], 1000 * spared, atol=1e-6
    )


def test_at_a_threshold_of_a_tenth_treating_everybody_beats_the_external_model(data):
    table = cohort_table(data, "external")
    row = decision_curve(check_scores(table["score"], table["llnm"]), [0.1], resamples=300).iloc[0]
    assert (f"{row['treat_all']:.3f}", f"{row['model']:.3f}") == ("0.509", "0.486")
    assert row["net_reduction_high"] < 0
    assert row["model_low"] < row["model"] < row["model_high"]
    assert row["cost_ratio"] == pytest.approx(9)


def test_what_happens_to_a_thousand_patients_adds_up(validation):
    for row in clinical_impact(validation, [0.2, 0.6]).to_dict("records"):
        called = validation.score >= row["threshold"]
        assert row["treated_per_1000"] == pytest.approx(1000 * called.mean())
        assert row["found_per_1000"] + row["missed_per_1000"] == pytest.approx(1000 * validation.label.mean())
        assert row["number_needed_to_test"] == pytest.approx(called.sum() / (called & validation.label).sum())


def test_nobody_above_the_threshold_leaves_the_shares_of_the_treated_empty():
    row = clinical_impact(check_scores([0.1, 0.2, 0.3, 0.4], [0, 1, 0, 1]), [0.9]).iloc[0]
    assert row["share_treated"] == 0
    assert np.isnan([row["share_treated_in_vain"], row["number_needed_to_test"]]).all()


def test_a_threshold_of_1_is_refused(validation):
    with pytest.raises(InputError, match="threshold"):
        decision_curve(validation, [1.0], resamples=100)
