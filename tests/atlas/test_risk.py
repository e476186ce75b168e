"""Risk: against brute force and SciPy, and against what was planted."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from llnm.atlas.capsule import capsule_curve
from llnm.atlas.compare import compare
from llnm.atlas.place import BLUR_MM, Place
from llnm.atlas.planted import PlantedRisk, planted_places
from llnm.atlas.risk import METHODS, MINIMUM, beta_interval, region_risks, risk_atlas
from llnm.atlas.template import thyroid_template
from llnm.errors import InputError

SHARP = PlantedRisk(
    {"left lobe, upper third, lateral": 4.0, "right lobe, lower third, medial": 4.0}, background=0.3, width_mm=4.5
)


@pytest.fixture(scope="module")
def template():
    return thyroid_template()


@pytest.fixture(scope="module")
def coarse():
    return thyroid_template(1.5)


def at(template, name, count=1, blur=BLUR_MM):
    """Places of `count` voxels of a region."""
    number = next(n for n, region in template.regions.items() if region == name)
    voxels = np.argwhere(template.labels == number)
    chosen = voxels[np.linspace(0, len(voxels) - 1, count).astype(int)]
    return [
        Place(v[None].astype(np.int16), np.ones(1, np.float32), tuple(template.position(v)), (blur,) * 3, {})
        for v in chosen
    ]


def test_the_probability_is_that_of_kernel_weighted_patients_with_a_beta_prior(coarse):
    places, labels = planted_places(coarse, 150, seed=3)
    atlas = risk_atlas(coarse, places, labels, "beta", bandwidth_mm=3.0)
    rng = np.random.default_rng(0)
    known = np.argwhere(np.isfinite(atlas.risk))
    for voxel in known[rng.choice(len(known), 40, replace=False)]:
        away = (coarse.position(voxel) - np.array([place.centre_mm for place in places])) / 3.0
        weight = np.where((np.abs(away) <= 2.5).all(1), np.exp(-(away**2).sum(1) / 2), 0)
        n = min(weight.sum() ** 2 / (weight**2).sum(), np.sqrt(8) * weight.sum())
        share = weight @ labels / weight.sum()
        posterior = stats.beta(2 * labels.mean() + n * share, 2 * (1 - labels.mean()) + n * (1 - share))
        here = tuple(voxel)
        assert atlas.count[here] == pytest.approx(n, rel=1e-4)
        assert atlas.risk[here] == pytest.approx(posterior.mean(), abs=1e-5)
        assert (atlas.low[here], atlas.high[here]) == pytest.approx(posterior.interval(0.95), abs=1e-5)
    blank = np.isnan(atlas.risk) & (coarse.labels > 0)
    assert (atlas.count[blank] < MINIMUM).all() and (atlas.count[~blank & (coarse.labels > 0)] >= MINIMUM).all()


@pytest.mark.parametrize("method", ["sum", "class means"])
def test_differences_are_those_of_equation_15(coarse, method):
    places, labels = planted_places(coarse, 60, seed=1)
    atlas = risk_atlas(coarse, places, labels, method)
    volumes = np.stack([place.density(coarse.labels.shape) for place in places]).astype(float)
    one, other = volumes[labels], volumes[~labels]
    raw = one.sum(0) - other.sum(0) if method == "sum" else one.mean(0) - other.mean(0)
    known = np.isfinite(atlas.risk)
    expected = (raw - raw[known].min()) / np.ptp(raw[known])
    assert np.allclose(atlas.risk[known], expected[known], atol=1e-4)
    assert np.isnan(atlas.low).all() and not atlas.is_probability


def test_the_sum_follows_the_larger_class_and_the_means_do_not(coarse):
    """Every place has one metastatic and nine other patients: nowhere is worse, yet the sum sees a pattern."""
    places = (
        at(coarse, "left lobe, upper third, medial", 4) * 10 + at(coarse, "right lobe, lower third, lateral", 8) * 10
    )
    labels = [index < 4 for index in range(40)] + [index < 8 for index in range(80)]
    means, sums = (risk_atlas(coarse, places, labels, method) for method in ("class means", "sum"))
    known = np.isfinite(means.risk) & np.isfinite(sums.risk) & (means.count > 8)
    at_places = tuple(np.array([place.voxels[0] for place in places]).T)
    assert np.ptp(means.risk[at_places]) < 1e-6
    assert np.nanmin(sums.risk[at_places]) < 0.01 and known.any()


def test_recovered_risk_follows_the_planted_one_and_more_closely_with_more_patients(template):
    true = PlantedRisk().volume(template)
    correlation, covered = {}, {}
    for patients in (200, 1000, 4000):
        places, labels = planted_places(template, patients, seed=2)
        atlas = risk_atlas(template, places, labels)
        known = np.isfinite(atlas.risk)
        correlation[patients] = np.corrcoef(atlas.risk[known], true[known])[0, 1]
        covered[patients] = ((atlas.low <= true) & (true <= atlas.high))[known].mean()
    assert correlation[4000] >= 0.9
    assert correlation[200] < correlation[1000] < correlation[4000]
    assert min(covered.values()) > 0.88, "of one cohort; the mean over cohorts is measured in atlas/README.md"


def test_intervals_cover_the_truth_in_95_of_100_cohorts(coarse):
    """At fixed voxels over many cohorts, where a flat risk leaves nothing to smoothing."""
    risk = PlantedRisk({}, background=0.35)
    covered = []
    for seed in range(40):
        places, labels = planted_places(coarse, 150, seed=seed, risk=risk)
        atlas = risk_atlas(coarse, places, labels)
        known = np.isfinite(atlas.risk)
        covered.append(((atlas.low <= 0.35) & (atlas.high >= 0.35))[known].mean())
    assert 0.93 <= np.mean(covered) <= 0.99


def test_the_planted_regions_are_ranked_first_and_called_hot(template):
    places, labels = planted_places(template, 2000, seed=5, risk=SHARP)
    ranked = region_risks(template, places, labels)
    assert {region.name for region in ranked[:2]} == set(SHARP.hot)
    assert all(region.hot and region.p_value < 0.01 for region in ranked[:2])
    assert [region.probability for region in ranked] == sorted((r.probability for r in ranked), reverse=True)


def test_without_an_effect_of_location_hardly_any_cohort_has_a_hot_region(coarse):
    hot = []
    for seed in range(30):
        places, labels = planted_places(coarse, 200, seed=seed, risk=PlantedRisk({}))
        hot.append(any(region.hot for region in region_risks(coarse, places, labels)))
    # Five of a hundred is the promise: more than 5 of 30 would happen in one of three hundred runs.
    assert sum(hot) <= 5


def test_region_shares_and_intervals_are_those_of_whole_patients(coarse):
    names = ("left lobe, upper third, medial", "right lobe, lower third, lateral")
    places = at(coarse, names[0], 10) + at(coarse, names[1], 30)
    labels = [index < 7 for index in range(10)] + [index < 6 for index in range(30)]
    found = {region.name: region for region in region_risks(coarse, places, labels)}
    for name, n, k in ((names[0], 10, 7), (names[1], 30, 6)):
        posterior = stats.beta(2 * 13 / 40 + k, 2 * 27 / 40 + n - k)
        region = found[name]
        assert region.patients == pytest.approx(n)
        assert (region.probability, region.low, region.high) == pytest.approx(
            (posterior.mean(), *posterior.interval(0.95)), abs=1e-6
        )
    # Of all deals of 13 metastases to 40 patients, those with at least 7 in the first ten.
    exact = stats.hypergeom(40, 13, 10).sf(6)
    assert found[names[0]].p_value == pytest.approx(exact, abs=0.01) and found[names[0]].hot
    assert found["isthmus"].probability is None and not found["isthmus"].hot


@pytest.mark.parametrize("positive", [True, False])
def test_a_cohort_of_one_class_has_probabilities_no_difference_and_nothing_hot(coarse, positive):
    places = at(coarse, "left lobe, upper third, medial", 20)
    atlas = risk_atlas(coarse, places, [positive] * 20)
    known = np.isfinite(atlas.risk)
    assert known.any() and ((atlas.risk[known] > 0.9) == positive).all()
    assert not any(region.hot for region in region_risks(coarse, places, [positive] * 20))
    for method in METHODS[1:]:
        with pytest.raises(InputError, match="llnm: all patients are of one class"):
            risk_atlas(coarse, places, [positive] * 20, method)


def test_one_patient_or_few_leave_everything_blank(coarse):
    places = at(coarse, "left lobe, upper third, medial")
    atlas = risk_atlas(coarse, places, [True])
    assert np.isnan(atlas.risk).all() and np.isnan(atlas.high).all()
    assert all(region.probability is None and not region.hot for region in region_risks(coarse, places, [True]))


def test_a_cohort_at_one_place_is_blank_elsewhere(coarse):
    places = at(coarse, "left lobe, upper third, medial") * 40
    atlas = risk_atlas(coarse, places, [True, False] * 20)
    known = np.isfinite(atlas.risk)
    away = np.linalg.norm(coarse.position(np.argwhere(known)) - places[0].centre_mm, axis=1)
    assert known.any() and away.max() < 3.5 * 2.5 * np.sqrt(3)
    assert np.allclose(atlas.risk[known], 0.5) and np.isnan(atlas.risk[coarse.labels > 12]).all()


def test_no_patient_and_impossible_settings_are_refused(coarse):
    places = at(coarse, "isthmus", 3)
    for call, message in (
        (lambda: risk_atlas(coarse, [], []), "nothing to build from"),
        (lambda: risk_atlas(coarse, places, [True]), "3 places and 1 labels"),
        (lambda: risk_atlas(coarse, places, [True] * 3, "mean"), "method: 'mean'"),
        (lambda: risk_atlas(coarse, places, [True] * 3, bandwidth_mm=-1), "bandwidth"),
        (lambda: PlantedRisk({"left ear": 1.0}).at(coarse, np.zeros((1, 3))), "left ear"),
    ):
        with pytest.raises(InputError, match=message):
            call()


def test_an_uncertain_place_counts_over_a_wider_range(coarse):
    name = "left lobe, middle third, lateral"
    sure, unsure = (risk_atlas(coarse, at(coarse, name, 8, blur), [True, False] * 4) for blur in (BLUR_MM, 8.0))
    assert np.isfinite(unsure.risk).sum() > 1.5 * np.isfinite(sure.risk).sum()


def test_the_beta_interval_is_scipys():
    mean, low, high = beta_interval(np.array([0.25, np.nan]), np.array([8.0, 0.0]), 0.5)
    assert mean[0] == pytest.approx(3 / 10) and mean[1] == 0.5
    assert (low[0], high[0]) == pytest.approx(stats.beta(3, 7).interval(0.95))


def test_capsule_curve_has_wilson_intervals_and_finds_the_planted_limit():
    rng = np.random.default_rng(0)
    distance = rng.uniform(0, 6, 4000)
    positive = rng.random(4000) < np.where(distance < 2.0, 0.9, 0.2)
    curve = capsule_curve(distance, positive)
    nearest = curve.bins[0]
    inside = distance < 0.5
    k, n = positive[inside].sum(), inside.sum()
    z = stats.norm.ppf(0.975)
    centre, half = (k + z * z / 2) / (n + z * z), z / (n + z * z) * np.sqrt(k * (n - k) / n + z * z / 4)
    assert (nearest.share, nearest.low, nearest.high) == pytest.approx((k / n, centre - half, centre + half))
    # 0.9 within 2 mm and 0.2 beyond: the mean falls to 0.72 at d with 0.9 * 2 + 0.2 * (d - 2) = 0.72 d.
    expected = 1.4 / 0.52
    assert curve.limit_mm == pytest.approx(expected, abs=0.15)
    low, high = curve.limit_interval_mm
    assert low < expected < high and high - low < 0.5
    assert sum(part.patients for part in curve.bins) == 4000
    assert curve.bins[-1].high_mm is None and curve.bins[-1].share is None


def test_a_capsule_curve_of_ties_or_of_no_metastasis_is_honest():
    tied = capsule_curve([1.0] * 10, [True] * 7 + [False] * 3)
    assert tied.limit_mm is None, "0.7 of those at 1 mm, whatever their order"
    assert capsule_curve([1.0, 2.0], [False, False]).limit_interval_mm is None
    with pytest.raises(InputError, match="no patient has one"):
        capsule_curve([], [])
    with pytest.raises(InputError, match="negative"):
        capsule_curve([-1.0], [True])


def test_comparison_finds_the_correlation_and_the_difference(coarse):
    places, labels = planted_places(coarse, 800, seed=0)
    atlas = risk_atlas(coarse, places, labels)
    rng = np.random.default_rng(0)

    def with_risk(values):
        return replace(atlas, risk=values.astype(np.float32))

    noisy = with_risk(atlas.risk + rng.normal(0, 0.02, atlas.risk.shape))
    found = compare(atlas, noisy)
    known = np.isfinite(atlas.risk)
    assert found.correlation == pytest.approx(np.corrcoef(atlas.risk[known], noisy.risk[known])[0, 1])
    assert found.interval[0] < found.correlation < found.interval[1] and found.voxels == known.sum()
    assert np.allclose(found.difference[known], (atlas.risk - noisy.risk)[known], atol=1e-6)
    same = compare(atlas, atlas)
    assert same.correlation == pytest.approx(1) and same.mean_difference == 0
    flat = with_risk(np.where(known, 0.5, np.nan))
    assert compare(atlas, flat).correlation is None
    empty = with_risk(np.full(atlas.risk.shape, np.nan))
    with pytest.raises(InputError, match="no place with evidence in common"):
        compare(atlas, empty)


def test_atlases_on_two_grids_are_compared_in_millimetres(coarse, template):
    fine, rough = (risk_atlas(t, *planted_places(t, 600, seed=4)) for t in (template, coarse))
    expected = compare(rough, rough).correlation
    assert 0.7 < compare(fine, rough).correlation < expected
