"""What a prediction says beyond its probability: calibrations in turn, sets of answers, levels, places that matter."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.special import logit

from llnm import Case, predict
from llnm.case import PLANES
from llnm.errors import InputError
from llnm.explain import contributions, heat_maps
from llnm.explain.heat import distance_of_the_rest, gland_depth_mm
from llnm.features import capsule_distance
from llnm.features.network_images import PATCH_PX, PATCHES, on_frame
from llnm.pipeline import Calibration
from llnm.pipeline.calibration import Conformal, shipped_calibration
from llnm.pipeline.result import as_result
from llnm.simulate import simulate_patient


@pytest.fixture(scope="module")
def patient():
    return simulate_patient(11).case


@pytest.fixture(scope="module")
def prediction(patient):
    return predict(patient)


def test_a_sites_calibration_is_applied_to_the_probabilities_that_the_weights_own_gives(patient, prediction):
    site = Calibration("site", 0.6, 0.4)
    risk = predict(patient, calibration=site).risk
    assert logit(risk.probability) == pytest.approx(0.6 * logit(prediction.risk.probability) + 0.4, abs=1e-6)
    assert prediction.risk.calibration == shipped_calibration()


@pytest.mark.parametrize(("most", "answers"), [(1.0, 2), (0.0, 0)])
def test_who_asks_for_it_gets_no_decision_unless_one_answer_is_left(patient, most, answers):
    site = Calibration("site", conformal=Conformal(0.9, most, most))
    risk = predict(patient, calibration=site, abstain=True).risk
    assert len(risk.answers) == answers
    assert risk.decision == "abstain"
    assert predict(patient, calibration=site).risk.probability == risk.probability


def test_who_asks_to_abstain_by_a_calibration_without_sets_is_told(patient):
    with pytest.raises(InputError, match="abstain: the calibration 'old' has no sets of answers"):
        predict(patient, calibration=Calibration("old", 1.0, 0.0), abstain=True)


def test_a_patient_who_lacks_an_input_is_judged_by_the_threshold_of_such_patients(patient):
    site = Calibration("site", conformal=Conformal(0.9, complete=0.0, incomplete=1.0))
    whole = predict(patient, calibration=site).risk
    without_age = predict(Case(patient.views, patient.report, None, patient.sex), calibration=site).risk
    assert (len(whole.answers), len(without_age.answers)) == (0, 2)


def test_contributions_add_up_to_the_calibrated_probability_minus_that_of_knowing_nothing(patient):
    flat = predict(patient, calibration=Calibration("flat", 1e-9, 0.0))
    assert sum(contributions(flat, "full").values()) == pytest.approx(0, abs=1e-6)
    steep = predict(patient, calibration=Calibration("steep", 2.0, 0.0))
    shares = contributions(steep, "full")
    assert 0 < steep.risk.probability - sum(shares.values()) < 1


def test_only_a_positive_patient_has_a_level(patient):
    positive = as_result(predict(patient, calibration=Calibration("high", 1e-6, 5.0)))["stage"]
    assert sum(positive[name] for name in ("low", "medium", "high")) == pytest.approx(1, abs=1e-6)
    assert positive[positive["level"]] == max(positive[name] for name in ("low", "medium", "high"))
    assert as_result(predict(patient, calibration=Calibration("low", 1e-6, -5.0)))["stage"] is None


def test_the_heat_lies_on_the_nodule_and_is_what_covering_it_changes(prediction):
    maps = heat_maps(prediction)
    assert set(maps) == set(prediction.views)
    for plane, heat in maps.items():
        nodule = prediction.views[plane].nodule
        assert heat.shape == nodule.shape
        assert heat.min() >= 0
        assert 0 < heat.max() < 1
        assert not heat[ndimage.distance_transform_edt(~nodule) > 30].any()
    assert np.median(maps["transverse"][prediction.views["transverse"].nodule]) > 0


@pytest.mark.parametrize("plane", PLANES)
def test_what_is_left_of_a_covered_nodule_is_as_far_from_the_capsule_as_its_mask(prediction, plane):
    """Row by row of patches, and all of those that hold a nearest place."""
    view, index = prediction.views[plane], PLANES.index(plane)
    location = prediction.risk.inputs["location"][0, index, 0]
    of_patch = location.view(PATCHES, PATCH_PX, PATCHES, PATCH_PX).amax(dim=(1, 3))
    nearest = (of_patch == of_patch.max()).float()
    row_by_row = [torch.eye(PATCHES)[row][:, None].expand(-1, PATCHES) for row in of_patch.amax(dim=1).nonzero()[:, 0]]
    for patches in (nearest, *row_by_row):
        cover = patches.repeat_interleave(PATCH_PX, 0).repeat_interleave(PATCH_PX, 1)
        rest = view.nodule & (on_frame(cover.numpy(), view.nodule) == 0)
        expected = capsule_distance(rest, view.gland, view.spacing_mm).distance
        covered = (location * (1 - cover)).expand(1, 2, 1, -1, -1)
        found = distance_of_the_rest(prediction.risk.inputs, covered, index, gland_depth_mm(view))
        assert float(found) == pytest.approx(expected, abs=1e-3)
        if patches is nearest:
            assert expected > view.features.capsule_distance_mm
