"""The true contributions: what they add up to, what shows nothing, and what is shared."""

import numpy as np
import pytest

from llnm.simulate import RiskModel, sample_truth, true_contributions

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
