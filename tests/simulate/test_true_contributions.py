"""The true contributions: what they add up to, what shows nothing, and what is shared; against drawn patients."""

import numpy as np
import pytest
from scipy.special import expit

from llnm.explain.shapley import exact_shapley
from llnm.simulate import CAUSES, RiskModel, sample_truth, true_contributions
from llnm.simulate.contributions import told_by
from llnm.simulate.risk import INTERCEPT

OTHERS = [sample_truth(seed) for seed in range(600, 700)]


@pytest.mark.parametrize("seed", range(3))
def test_they_add_up_to_the_true_probability_minus_the_mean_of_the_others(seed):
    truth = sample_truth(seed)
    found = true_contributions(truth, OTHERS)
    mean = np.mean([other.true_probability for other in OTHERS])
    assert sum(found.values()) == pytest.approx(truth.true_probability - mean, abs=1e-12)


def test_an_input_whose_causes_are_switched_off_contributes_nothing():
    model = RiskModel().without({"age"})
    others = [sample_truth(seed, model) for seed in range(600, 640)]
    assert true_contributions(sample_truth(1, model), others, model)["age"] == pytest.approx(0, abs=1e-12)


def test_what_a_detailed_report_describes_is_shared_with_the_report():
    """Of patients whose one finding is told twice, the report's share grows and the texture's shrinks."""
    model = RiskModel().without({"location", "margin", "echogenicity", "shape", "report", "age", "sex"})
    truths = [sample_truth(seed, model) for seed in range(700, 760)]
    for truth in truths:
        found = true_contributions(truth, truths, model)
        if truth.detailed:
            assert found["texture"] == pytest.approx(found["report"])
        else:
            assert found["report"] == pytest.approx(0, abs=1e-12)
        assert abs(found["texture"]) > 0.01
        assert found["location"] == pytest.approx(0, abs=1e-12)


def test_a_finding_that_is_seen_in_a_share_of_the_patients_counts_as_often():
    """Against Shapley values of a game that is played by drawing what each input tells, many times."""
    model = RiskModel().without({"location", "margin", "shape", "report", "age", "sex"})
    others = [sample_truth(seed, model) for seed in range(600, 620)]
    truth = next(one for one in (sample_truth(seed, model) for seed in range(50)) if not one.detailed)
    shown = {
        "microcalcification": {"texture": 0.9, "margin": 0.6},
        "markedly_hypoechoic": {"texture": 0.7, "echogenicity": 0.5},
    }
    rng = np.random.default_rng(0)
    tells = {name: {i: rng.random(4000) < share for i, share in inputs.items()} for name, inputs in shown.items()}

    def value(coalitions):
        found = []
        for coalition in coalitions:
            present = {name for name, there in zip(CAUSES, coalition, strict=True) if there}
            logit = np.full((4000, len(others)), INTERCEPT)
            for name, inputs in tells.items():
                told = np.any([drawn for i, drawn in inputs.items() if i in present] or [np.zeros(4000, bool)], axis=0)
                rest = np.array([other.terms[name] for other in others])
                logit += np.where(told[:, None], truth.terms[name], rest[None])
            found.append(expit(logit).mean())
        return np.array(found)

    drawn = exact_shapley(value, len(CAUSES))
    found = true_contributions(truth, others, model, shown)
    np.testing.assert_allclose(list(found.values()), drawn, atol=0.01)
    assert min(abs(found[name]) for name in ("texture", "margin", "echogenicity")) > 0.02, "the test is about something"


def test_a_detailed_report_tells_of_a_finding_however_it_is_seen():
    detailed, brief = (next(t for t in map(sample_truth, range(50)) if t.detailed is told) for told in (True, False))
    shown = {"microcalcification": {"margin": 0.3}}
    assert told_by(detailed, "microcalcification", shown=shown) == {"margin": 0.3, "report": 1.0}
    assert told_by(brief, "microcalcification", shown=shown) == {"margin": 0.3}
    assert told_by(brief, "infiltrative_margin", shown=shown) == {"margin": 1.0}
