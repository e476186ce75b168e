"""The way of one patient, from Python: what holds whatever the weights."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from llnm import Case, UltrasoundImage, View, load_image, predict, segment
from llnm.errors import InputError
from llnm.features import capsule_distance
from llnm.pipeline.risk import decide, is_complete, view_inputs
from llnm.pipeline.views import MeasuredView, measure_view
from llnm.simulate import simulate_patient
from llnm.simulate.other_organs import simulate_other_organ
from llnm.tmdl import preset_config


@pytest.fixture(scope="module")
def patient():
    return simulate_patient(11).case


def disc(shape, centre, radius):
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2


def view_with(patient, plane="transverse", **masks):
    return View(plane, patient.views[plane].image, masks)


def test_the_second_view_changes_the_risk(patient):
    both = predict(patient).risk.probability
    one = predict(Case({"transverse": patient.views["transverse"]}, patient.report, patient.age, patient.sex))
    assert both != pytest.approx(one.risk.probability, abs=1e-6)
    assert one.missing == ("longitudinal",)


def test_the_order_in_which_views_are_given_does_not_matter(patient):
    turned = Case(dict(reversed(patient.views.items())), patient.report, patient.age, patient.sex)
    assert predict(patient).risk.probability == predict(turned).risk.probability


def test_the_interval_holds_the_probability_and_decides_whether_to_abstain(patient):
    risk = predict(patient).risk
    low, high = risk.interval
    assert low <= risk.probability <= high
    inside = predict(patient, threshold=(low + high) / 2)
    assert inside.risk.decision == "abstain"
    assert predict(patient, threshold=min(0.999, high + 1e-3)).risk.decision == "negative"
    assert predict(patient, threshold=max(0.001, low - 1e-3)).risk.decision == "positive"


@pytest.mark.parametrize(
    ("interval", "decision"),
    [((0.1, 0.2), "negative"), ((0.4, 0.6), "abstain"), ((0.5, 0.6), "positive"), ((0.6, 0.9), "positive")],
)
def test_decide_at_one_half(interval, decision):
    assert decide(np.mean(interval), interval, 0.5) == decision


def test_a_frame_of_noise_gives_no_number():
    noise = np.random.default_rng(0).uniform(0.4, 0.6, (200, 240)).astype(np.float32)
    prediction = predict(Case({"transverse": View("transverse", UltrasoundImage(noise))}))
    assert prediction.risk is None
    assert "no thyroid B-mode image" in " ".join(prediction.warnings)


def test_a_gland_without_a_nodule_gives_no_number(data):
    """Unmarked frames of a sweep: where the network finds nothing there is no risk, and the warning says so."""
    frames = pd.read_csv(data / "sweeps" / "frames.csv", dtype=str)
    empty = frames[frames["marked"] == "0"]["image"].iloc[::5]
    for name in empty:
        image = load_image(data / "sweeps" / "images" / f"{name}.jpg")
        if segment(image).found:
            continue
        prediction = predict(Case({"transverse": View("transverse", image)}))
        assert prediction.risk is None
        assert "no nodule was found" in " ".join(prediction.warnings)
        return
    pytest.fail("the network found a nodule in every frame")


@pytest.mark.parametrize("organ", ["liver", "kidney", "eye"])
def test_another_organ_is_warned_of_and_mostly_gives_no_number(organ):
    images = [simulate_other_organ(organ, np.random.default_rng(seed)) for seed in range(8)]
    predictions = [predict(Case({"transverse": View("transverse", image)})) for image in images]
    assert all("no thyroid B-mode image" in " ".join(prediction.warnings) for prediction in predictions)
    assert sum(prediction.risk is None for prediction in predictions) > len(images) / 2


def test_whoever_draws_the_nodule_by_hand_gets_a_number_and_the_warning():
    image = simulate_other_organ("liver", np.random.default_rng(7))
    nodule = disc(image.shape, (image.shape[0] // 2, image.shape[1] // 2), 30)
    insisted = predict(Case({"transverse": View("transverse", image, {"nodule": nodule})}))
    assert insisted.risk is not None
    assert any("may be no thyroid B-mode image" in warning for warning in insisted.warnings)
    assert insisted.views["transverse"].quality["out_of_distribution"] > 0.5


def test_real_thyroid_frames_of_three_sources_are_not_refused(data):
    for source in ("ddti", "sweeps", "gland"):
        paths = sorted((data / source / "images").iterdir())
        for path in paths[:: len(paths) // 8]:
            measured = measure_view(View("transverse", load_image(path)))
            assert isinstance(measured, MeasuredView) or "no nodule" in measured, (path.name, measured)


def test_a_colour_doppler_frame_never_reaches_the_networks(patient):
    grey = patient.views["transverse"].image.pixels
    colour = np.repeat((255 * grey).astype(np.uint8)[..., None], 3, axis=2)
    flow = disc(grey.shape, (grey.shape[0] // 2, grey.shape[1] // 2), 30)
    colour[flow] = (200, 20, 20)
    frame = UltrasoundImage(colour.mean(axis=2).astype(np.float32) / 255, colour=colour)
    alone = predict(Case({"transverse": View("transverse", frame)}))
    assert alone.risk is None
    assert "Doppler" in alone.warnings[0]
    mask = disc(grey.shape, (grey.shape[0] // 2, grey.shape[1] // 2), 40)
    with_doppler = predict(Case(patient.views, doppler=View("transverse", frame, {"nodule": mask})))
    assert with_doppler.risk.probability == predict(Case(patient.views)).risk.probability
    assert with_doppler.vascularity.inside_fraction == pytest.approx(flow.sum() / mask.sum(), rel=0.1)


def test_of_several_nodules_in_a_given_mask_the_largest_is_taken_or_the_one_pointed_at(patient):
    shape = patient.views["transverse"].image.shape
    large, small = disc(shape, (90, 100), 30), disc(shape, (90, 250), 15)
    view = view_with(patient, nodule=large | small)
    taken = measure_view(view)
    assert np.array_equal(taken.nodule, large)
    assert np.array_equal(taken.other_nodules[0], small)
    pointed = measure_view(view, point=(250, 90))
    assert np.array_equal(pointed.nodule, small)
    with pytest.raises(InputError, match="no nodule"):
        measure_view(view, point=(5, 5))


def test_a_gland_mask_with_the_nodule_cut_out_is_the_same_gland(patient):
    shape = patient.views["transverse"].image.shape
    gland, nodule = disc(shape, (120, 150), 80), disc(shape, (120, 190), 20)
    whole = measure_view(view_with(patient, nodule=nodule, gland=gland))
    cut = measure_view(view_with(patient, nodule=nodule, gland=gland & ~nodule))
    assert cut.features == whole.features
    # Centres 40 px apart in circles of 80 and 20: 20 px are left between them.
    assert whole.features.capsule_distance_px == pytest.approx(20, abs=1.5)


def test_masks_that_disagree_are_refused_or_warned_of(patient):
    shape = patient.views["transverse"].image.shape
    gland = disc(shape, (120, 100), 60)
    with pytest.raises(InputError, match="transverse nodule mask"):
        measure_view(view_with(patient, nodule=disc(shape, (120, 260), 20), gland=gland))
    half = measure_view(view_with(patient, nodule=disc(shape, (120, 160), 20), gland=gland))
    assert any("of the nodule lies inside" in text for text in half.warnings)


def test_without_spacing_there_are_pixels_and_no_millimetres(patient):
    image = patient.views["transverse"].image
    bare = UltrasoundImage(image.pixels)
    view = View("transverse", bare, patient.views["transverse"].masks)
    features = measure_view(view).features
    assert (features.width_mm, features.capsule_distance_mm, features.area_mm2) == (None, None, None)
    assert features.width_px > 0
    assert "transverse spacing" in predict(Case({"transverse": view})).missing


def test_twice_the_spacing_is_twice_the_size_and_the_same_shape(patient):
    given = patient.views["transverse"]
    views = [View("transverse", given.image.with_spacing(mm), given.masks) for mm in (0.05, 0.1)]
    small, large = (measure_view(view).features for view in views)
    assert large.width_mm == pytest.approx(2 * small.width_mm)
    assert large.capsule_distance_mm == pytest.approx(2 * small.capsule_distance_mm)
    assert large.aspect_ratio == pytest.approx(small.aspect_ratio)


def test_only_the_outcome_of_the_networks_is_refused_for_another_preset(patient):
    with pytest.raises(InputError, match="'default'"):
        predict(patient, preset="released")


def test_what_a_view_says_it_measured_is_what_the_network_sees(patient):
    measured = measure_view(patient.views["longitudinal"])
    assert isinstance(measured, MeasuredView)
    risk = predict(patient).risk
    assert float(risk.inputs["shape"][0, 1]) == pytest.approx(measured.features.aspect_ratio)
    assert bool(risk.inputs["view_mask"].all())


def test_the_network_is_given_the_distance_of_the_outline_it_sees(patient):
    """Of each view and outline in millimetres; below 0 without a spacing, which makes the patient an incomplete one."""
    views = {plane: measure_view(view, judged=False) for plane, view in patient.views.items()}
    config, given = preset_config(size="small"), {plane: view.nodule for plane, view in views.items()}
    found = view_inputs(config, views, given, 0)
    assert found["capsule_distance"][0].tolist() == pytest.approx(
        [view.features.capsule_distance_mm for view in views.values()]
    )
    grown = {plane: ndimage.binary_dilation(mask, iterations=4) for plane, mask in given.items()}
    nearer = view_inputs(config, views, grown, 0)["capsule_distance"][0].tolist()
    expected = [capsule_distance(grown[plane], view.gland, view.spacing_mm).distance for plane, view in views.items()]
    assert nearer == pytest.approx(expected)
    unknown = {
        plane: View(plane, replace(view.image, spacing_mm=None), view.masks) for plane, view in patient.views.items()
    }
    measured = {plane: measure_view(view, judged=False) for plane, view in unknown.items()}
    without = view_inputs(config, measured, given, 0)
    assert (without["capsule_distance"] < 0).all()
    assert bool(is_complete(found)) and not bool(is_complete(without))
