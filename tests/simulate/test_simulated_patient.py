"""One simulated patient: reproducible, both planes of one anatomy, its causes visible in the pictures."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_erosion, distance_transform_edt, uniform_filter

from llnm.simulate import sample_truth, simulate_patient, simulate_view
from llnm.simulate.findings import sample_findings
from llnm.simulate.views import render_view

DATA = Path(os.environ.get("LLNM_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))


@pytest.fixture(scope="module")
def patients():
    return {seed: simulate_patient(seed) for seed in range(10)}


@pytest.fixture(scope="module")
def renderings():
    found = []
    for seed in range(10):
        truth = sample_truth(seed)
        views = {
            plane: render_view(truth.anatomy, truth.findings, plane, np.random.default_rng([seed, number]))
            for number, plane in enumerate(("transverse", "longitudinal"))
        }
        found.append((truth, views))
    return found


def test_the_same_seed_gives_the_same_patient(patients):
    again = simulate_patient(3)
    for plane, view in patients[3].case.views.items():
        np.testing.assert_array_equal(view.image.pixels, again.case.views[plane].image.pixels)
        for structure, mask in view.masks.items():
            np.testing.assert_array_equal(mask, again.case.views[plane].masks[structure])
    assert again.case.report == patients[3].case.report
    assert again.true_probability == patients[3].true_probability
    assert len({patient.true_probability for patient in patients.values()}) == len(patients)


def test_views_have_the_documented_size_spacing_and_grey_levels(patients):
    for patient in patients.values():
        for view in patient.case.views.values():
            rows, columns = view.image.spacing_mm
            assert rows == columns
            assert 0.06 <= rows <= 0.12
            assert 400 <= view.image.shape[1] <= 640 + 100
            pixels = view.image.pixels
            assert pixels.dtype == np.float32
            assert pixels.min() >= 0
            assert pixels.max() <= 1
            np.testing.assert_allclose(pixels * 255, np.round(pixels * 255), atol=1e-4)


def test_the_nodule_lies_in_the_gland_and_off_the_border(patients):
    for patient in patients.values():
        for view in patient.case.views.values():
            nodule, gland = view.masks["nodule"], view.masks["gland"]
            assert (nodule & gland).sum() > 0.97 * nodule.sum()
            border = np.ones_like(nodule)
            border[1:-1, 1:-1] = False
            assert not (nodule & border).any()


def test_both_planes_show_the_same_depths_where_they_cross(renderings):
    for truth, views in renderings:
        x, _, z = truth.anatomy.nodule.centre
        ends = []
        for plane, position in (("transverse", x), ("longitudinal", -z)):
            rendered = views[plane]
            column = round((position - rendered.window.start) / rendered.window.spacing_mm - 0.5) + rendered.offset[1]
            rows = np.flatnonzero(rendered.view.masks["nodule"][:, column]) - rendered.offset[0]
            ends.append((rows[[0, -1]] + 0.5) * rendered.window.spacing_mm)
        np.testing.assert_allclose(ends[0], ends[1], atol=0.25)


def test_the_stated_size_is_that_of_the_masks(renderings):
    for truth, views in renderings:
        stated = {
            "transverse": (truth.measured.height_mm, truth.measured.width_mm),
            "longitudinal": (None, truth.measured.length_mm),
        }
        for plane, (height, width) in stated.items():
            mask, step = views[plane].view.masks["nodule"], views[plane].window.spacing_mm
            assert np.ptp(np.nonzero(mask)[1]) * step == pytest.approx(width, abs=0.45)
            if height is not None:
                assert np.ptp(np.nonzero(mask)[0]) * step == pytest.approx(height, abs=0.45)


def test_the_stated_capsule_distance_is_the_smaller_of_the_two_masks(renderings):
    for truth, views in renderings:
        measured = []
        for rendered in views.values():
            masks, step = rendered.view.masks, rendered.window.spacing_mm
            measured.append(distance_transform_edt(masks["gland"])[masks["nodule"]].min() * step - step / 2)
        assert min(measured) == pytest.approx(truth.measured.capsule_distance_mm, abs=0.3)


def test_views_hold_findings_that_the_risk_model_uses():
    contrast = {"markedly hypoechoic": [], "isoechoic": []}
    brightest = {"microcalcification": [], "none": []}
    for seed in range(50):
        truth = sample_truth(seed)
        findings = truth.findings
        if findings.composition != "solid" or truth.measured.size_mm < 5:
            continue
        view = render_view(truth.anatomy, findings, "transverse", np.random.default_rng(seed)).view
        inside = view.image.pixels[binary_erosion(view.masks["nodule"], iterations=3)]
        around = np.median(view.image.pixels[view.masks["gland"] & ~view.masks["nodule"]])
        if findings.echogenicity in contrast and findings.foci == "none":
            contrast[findings.echogenicity].append(np.median(inside) - around)
        if findings.foci in brightest:
            brightest[findings.foci].append(np.percentile(inside, 99.5) - np.median(inside))
    assert max(contrast["markedly hypoechoic"]) < min(contrast["isoechoic"])
    assert np.median(brightest["microcalcification"]) > np.median(brightest["none"]) + 0.12


def test_randomised_views_vary_more_than_realistic_ones_and_keep_their_masks():
    spread = {}
    for randomise in (False, True):
        greys = []
        for seed in range(14):
            plane = ("transverse", "longitudinal")[seed % 2]
            view = simulate_view(np.random.default_rng(seed), plane, randomise=randomise)
            assert view.plane == plane
            assert (view.masks["nodule"] & view.masks["gland"]).sum() > 0.9 * view.masks["nodule"].sum()
            greys.append(view.image.pixels[view.masks["gland"]].mean())
        spread[randomise] = np.std(greys)
    assert spread[True] > 1.5 * spread[False]


def test_simulated_glands_have_grey_levels_and_grain_of_photographed_ones():
    def grain(pixels, mask):
        mean = uniform_filter(pixels, 9)
        spread = np.sqrt(np.clip(uniform_filter(pixels**2, 9) - mean**2, 0, None))
        return float(np.median(spread[mask]))

    real, simulated = [], []
    for path in sorted((DATA / "gland" / "gland").glob("*.png"))[:40]:
        image = Image.open(next((DATA / "gland" / "images").glob(f"{path.stem}.*"))).convert("L")
        mask = np.asarray(Image.open(path).convert("L").resize(image.size)) > 127
        real.append(grain(np.asarray(image, np.float32) / 255, mask))
    for seed in range(12):
        view = simulate_view(np.random.default_rng(seed), "transverse")
        half = tuple(slice(None, None, 2) for _ in range(2))
        size = (view.image.shape[1] // 2, view.image.shape[0] // 2)
        small = Image.fromarray((view.image.pixels * 255).astype(np.uint8)).resize(size)
        mask = view.masks["gland"][half][: size[1], : size[0]]
        simulated.append(grain(np.asarray(small, np.float32) / 255, mask))
    low, high = np.percentile(real, [2, 98])
    assert low < np.median(simulated) < high


def test_findings_of_any_nodule_reach_cysts_and_large_nodules():
    findings = [sample_findings(np.random.default_rng(seed), any_nodule=True) for seed in range(300)]
    assert {found.composition for found in findings} >= {"solid", "cystic", "spongiform", "predominantly cystic"}
    assert sum(found.size_mm > 20 for found in findings) > 15
