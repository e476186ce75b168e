"""The multi-reader multi-case analysis against published results, brute force, DeLong's test and simulated studies."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from llnm.errors import InputError
from llnm.evaluation.delong import delong_test
from llnm.evaluation.mrmc import area_covariance, compare_modalities, compare_with_model, mean_area, obuchowski_rockette

# Van Dyke et al. 1993 (two modalities, five readers, 114 cases) as OR-DBM MRMC 2.51 of the University of Iowa reports
# it with trapezoidal areas and jackknife covariances: areas, and averages of their covariances.
AREAS = np.array(
    [
        [0.91964573, 0.85877617, 0.90386473, 0.97310789, 0.82979066],
        [0.94782609, 0.90531401, 0.92173913, 0.99935588, 0.92995169],
    ]
)
VARIANCE, SAME_MODALITY = (0.00101410, 0.00059047), (0.00048396, 0.00020419)
SAME_READER, DIFFERENT = 0.00034661, 0.00023903


def published_covariance():
    readers = AREAS.shape[1]
    covariance = np.empty((2, readers, 2, readers))
    covariance[0, :, 1, :] = covariance[1, :, 0, :] = DIFFERENT + (SAME_READER - DIFFERENT) * np.eye(readers)
    for index, (variance, shared) in enumerate(zip(VARIANCE, SAME_MODALITY, strict=True)):
        covariance[index, :, index, :] = shared + (variance - shared) * np.eye(readers)
    return covariance


def roe_metz(rng, readers, cases, separation=(1.5, 1.5), reader=0.03, interaction=0.03):
    """A study after Roe and Metz (1997): (ratings (2, r, 2 * cases), labels), and the expected area of each modality.

    Ratings are sums of normal effects of reader, case and their interactions, within modalities and not; the cases'
    variances add up to 1.
    """
    label = np.repeat([False, True], cases)
    modality_reader = rng.normal(0, interaction**0.5, (2, readers, 2)) + rng.normal(0, reader**0.5, (1, readers, 2))
    rating = modality_reader[:, :, label.astype(int)]
    rating = rating + rng.normal(0, 0.3**0.5, 2 * cases) + rng.normal(0, 0.3**0.5, (2, 1, 2 * cases))
    rating = rating + rng.normal(0, 0.2**0.5, (1, readers, 2 * cases)) + rng.normal(0, 0.2**0.5, rating.shape)
    rating = rating + np.array(separation)[:, None, None] * label
    return rating, label, stats.norm.cdf(np.array(separation) / np.sqrt(2 + 2 * (reader + interaction)))


def test_the_published_analysis_of_random_readers_and_cases():
    found = obuchowski_rockette(AREAS, published_covariance())
    difference = found.random.differences[0]
    assert found.variance == pytest.approx(0.00080229, abs=1e-8)
    assert found.reader == pytest.approx(0.00153500, abs=2e-8)
    assert found.interaction == pytest.approx(0.00020040, abs=2e-8)
    assert (found.random.statistic, found.random.degrees) == pytest.approx((4.46, 15.26), abs=0.006)
    assert found.random.p == pytest.approx(0.0517, abs=6e-5)
    assert difference.p == pytest.approx(found.random.p, rel=1e-9)
    assert difference.statistic == pytest.approx(-2.11, abs=0.006)
    interval = difference.difference
    assert (interval.value, interval.low, interval.high) == pytest.approx((-0.04380, -0.08796, 0.00036), abs=6e-6)
    first, second = found.random.areas.values()
    assert (first.low, first.high) == pytest.approx((0.82522360, 0.96885048), abs=1e-6)
    assert (second.low, second.high) == pytest.approx((0.89413783, 0.98753689), abs=1e-6)


def test_the_published_analysis_of_fixed_readers():
    found = obuchowski_rockette(AREAS, published_covariance(), ["spin echo", "cine"]).fixed
    assert found.statistic == pytest.approx(5.47595, abs=1e-3)
    assert found.degrees is None
    assert found.p == pytest.approx(0.0193, abs=6e-5)
    interval = found.differences[0].difference
    assert (interval.low, interval.high) == pytest.approx((-0.08049, -0.00711), abs=6e-6)
    areas = found.areas
    assert (areas["spin echo"].low, areas["spin echo"].high) == pytest.approx((0.84943008, 0.94464399), abs=1e-6)
    assert (areas["cine"].low, areas["cine"].high) == pytest.approx((0.90795637, 0.97371835), abs=1e-6)


@pytest.mark.parametrize("grades", [3, 50])
def test_jackknife_covariances_are_those_of_areas_with_each_case_left_out(grades):
    rng = np.random.default_rng(1)
    label = rng.random(31) < 0.4
    rating = rng.integers(0, grades, (4, 31)) + label * rng.integers(0, grades, (4, 31))
    area, covariance = area_covariance(rating.astype(float), label)
    left = np.empty((31, 4))
    for case in range(31):
        others = np.arange(31) != case
        for reader in range(4):
            left[case, reader] = roc_auc_score(label[others], rating[reader, others])
    expected = np.zeros((4, 4))
    for one in range(4):
        for other in range(4):
            for case in range(31):
                expected[one, other] += (left[case, one] - left[:, one].mean()) * (
                    left[case, other] - left[:, other].mean()
                )
    assert area == pytest.approx([roc_auc_score(label, row) for row in rating])
    assert covariance == pytest.approx(expected * 30 / 31)


def test_averages_of_covariances_are_taken_over_the_right_pairs():
    rating, label, _ = roe_metz(np.random.default_rng(2), readers=3, cases=20)
    rating = np.concatenate([rating, rating[:1] + np.random.default_rng(3).normal(size=rating[:1].shape)])
    found = compare_modalities(rating, label)
    joint = area_covariance(rating.reshape(9, 40), label)[1]
    sums = {(same_modality, same_reader): [] for same_modality in (0, 1) for same_reader in (0, 1)}
    for one in range(9):
        for other in range(9):
            sums[(one // 3 == other // 3, one % 3 == other % 3)].append(joint[one, other])
    assert found.variance == pytest.approx(np.mean(sums[(1, 1)]))
    assert found.same_reader == pytest.approx(np.mean(sums[(0, 1)]))
    assert found.same_modality == pytest.approx(np.mean(sums[(1, 0)]))
    assert found.different == pytest.approx(np.mean(sums[(0, 0)]))


def test_without_correlated_errors_random_readers_are_an_ordinary_analysis_of_variance():
    """With Cov2 = Cov3 the test of three modalities is that of repeated measures, and of two the paired t-test."""
    area = np.random.default_rng(4).uniform(0.7, 0.9, (3, 6))
    nothing = np.zeros((3, 6, 3, 6))
    found = obuchowski_rockette(area, nothing).random
    by_modality, by_reader = area.mean(axis=1, keepdims=True), area.mean(axis=0, keepdims=True)
    rest = ((area - by_modality - by_reader + area.mean()) ** 2).sum() / 10
    expected = 6 * ((by_modality - area.mean()) ** 2).sum() / 2 / rest
    assert found.statistic == pytest.approx(expected)
    assert found.p == pytest.approx(stats.f.sf(expected, 2, 10))
    assert len(found.differences) == 3
    pair = obuchowski_rockette(area[:2], nothing[:2, :, :2]).random.differences[0]
    paired = stats.ttest_rel(area[0], area[1])
    assert (pair.statistic, pair.p, pair.degrees) == pytest.approx((paired.statistic, paired.pvalue, 5))
    interval = paired.confidence_interval()
    assert (pair.difference.low, pair.difference.high) == pytest.approx((interval.low, interval.high))


def test_one_fixed_reader_is_the_paired_test_of_delong():
    rng = np.random.default_rng(5)
    label = rng.random(60) < 0.5
    rating = rng.normal(size=(2, 1, 60)) + label
    found = compare_modalities(rating, label, covariance="delong")
    expected = delong_test(rating[0, 0], rating[1, 0], label, np.arange(60))
    difference = found.fixed.differences[0]
    assert found.random is None
    assert (difference.statistic, difference.p) == pytest.approx((expected.z, expected.p))
    assert (difference.difference.low, difference.difference.high) == pytest.approx(
        (expected.difference.low, expected.difference.high)
    )
    alone = compare_with_model(rating[0], rating[1, 0], label, covariance="delong")
    assert alone.random is None
    assert (alone.fixed.statistic, alone.fixed.p) == pytest.approx((-expected.z, expected.p))


@pytest.mark.parametrize("covariance", ["jackknife", "delong"])
def test_identical_modalities_do_not_differ(covariance):
    rating, label, _ = roe_metz(np.random.default_rng(6), readers=4, cases=25)
    found = compare_modalities(np.stack([rating[0], rating[0]]), label, covariance=covariance)
    for inference in (found.random, found.fixed):
        difference = inference.differences[0]
        assert (difference.difference.value, difference.p) == (0, 1)
        assert inference.p == pytest.approx(1, abs=1e-6)
    same = compare_with_model(np.stack([rating[0, 0]] * 3), rating[0, 0], label, covariance=covariance)
    assert (same.random.difference.value, same.random.p, same.fixed.p) == (0, 1, 1)


@pytest.mark.parametrize("covariance", ["jackknife", "delong"])
def test_a_model_is_a_second_modality_in_which_every_reader_is_the_model(covariance):
    rating, label, _ = roe_metz(np.random.default_rng(7), readers=5, cases=30, separation=(1.0, 1.8))
    model = rating[1, 0]
    alone = compare_with_model(rating[0], model, label, covariance=covariance)
    doubled = compare_modalities(np.stack([np.stack([model] * 5), rating[0]]), label, covariance=covariance)
    for one, other in ((alone.random, doubled.random.differences[0]), (alone.fixed, doubled.fixed.differences[0])):
        assert (one.statistic, one.p) == pytest.approx((other.statistic, other.p))
        assert one.degrees == (None if other.degrees is None else pytest.approx(other.degrees))
        for bound in ("value", "low", "high"):
            assert getattr(one.difference, bound) == pytest.approx(getattr(other.difference, bound))
    assert alone.model == pytest.approx(roc_auc_score(label, model))
    assert alone.readers == mean_area(rating[0], label, covariance=covariance)


def test_more_than_one_kind_of_rating_scale_gives_the_same():
    rating, label, _ = roe_metz(np.random.default_rng(8), readers=3, cases=15)
    found, stretched = compare_modalities(rating, label), compare_modalities(np.exp(rating) * 7, label)
    assert found.random.p == pytest.approx(stretched.random.p)


def test_of_equal_modalities_one_study_in_twenty_finds_a_difference():
    """Type-I error in 500 simulated studies of 5 readers and 60 cases, and how often intervals hold the true area."""
    rng = np.random.default_rng(9)
    rejected = {"random": 0, "fixed": 0}
    held = 0
    for _ in range(500):
        rating, label, truth = roe_metz(rng, readers=5, cases=30)
        found = compare_modalities(rating, label)
        for kind in rejected:
            rejected[kind] += getattr(found, kind).p < 0.05
        held += found.random.areas["1"].low <= truth[0] <= found.random.areas["1"].high
    # Three standard deviations of 500 draws about 1 in 20.
    assert 0.021 <= rejected["random"] / 500 <= 0.079
    # Fixed readers do not answer for others: where readers differ between modalities they find too much.
    assert rejected["fixed"] > rejected["random"]
    assert 0.90 <= held / 500 <= 0.98


def test_the_interval_of_model_less_readers_holds_the_true_difference():
    """Coverage in 300 simulated studies of 5 readers and 60 cases that are hard or easy for readers and model alike."""
    rng = np.random.default_rng(10)
    label = np.repeat([False, True], 30)
    truth = stats.norm.cdf(1.2 / 2**0.5) - stats.norm.cdf(1 / (2 + 2 * 0.06) ** 0.5)
    held = 0
    for _ in range(300):
        hard = rng.normal(0, 0.6**0.5, 60)
        reader = rng.normal(0, 0.06**0.5, (5, 2))[:, label.astype(int)]
        rating = label + hard + reader + rng.normal(0, 0.4**0.5, (5, 60))
        model = 1.2 * label + hard + rng.normal(0, 0.4**0.5, 60)
        interval = compare_with_model(rating, model, label).random.difference
        held += interval.low <= truth <= interval.high
    assert 0.912 <= held / 300 <= 0.988


def test_what_cannot_be_analysed_is_refused_by_name():
    rating, label, _ = roe_metz(np.random.default_rng(11), readers=3, cases=10)
    with pytest.raises(InputError, match="at least two"):
        compare_modalities(rating[:1], label)
    with pytest.raises(InputError, match="modalities, readers and cases"):
        compare_modalities(rating[0], label)
    with pytest.raises(InputError, match="names"):
        compare_modalities(rating, label, ["same", "same"])
    with pytest.raises(InputError, match="0 cases with the condition"):
        compare_modalities(rating, np.zeros(20, dtype=bool))
    with pytest.raises(InputError, match="choose jackknife or delong"):
        compare_modalities(rating, label, covariance="bootstrap")
    with pytest.raises(InputError, match="every reader must have read every case"):
        compare_modalities(np.where(np.arange(20) == 3, np.nan, rating), label)
    with pytest.raises(InputError, match="20 cases"):
        area_covariance(rating[0][:, :5], label)
    with pytest.raises(InputError, match="one alone says nothing about others"):
        mean_area(rating[0][:1], label)
