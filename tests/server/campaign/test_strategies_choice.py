"""What the strategies choose, and how uncertainty is told."""

import numpy as np
import pytest
from lib.activelearning import Pool, strategies
from lib.activelearning.strategies import farthest_first
from lib.activelearning.uncertainty import dice_shortfall, disagreement, region_entropy
from scipy import ndimage

from llnm.errors import InputError

MEASURES = (dice_shortfall, region_entropy)


def nodule(radius, softness, size=120):
    """A probability map of one round nodule whose outline is `softness` pixels wide."""
    rows, columns = np.mgrid[:size, :size]
    distance = np.hypot(rows - size / 2, columns - size / 2)
    return 1 / (1 + np.exp((distance - radius) / softness))


def pool_of(features, uncertainty=None):
    features = np.asarray(features, dtype=np.float32)
    names = tuple(f"i{n}" for n in range(len(features)))
    unsure = np.linspace(0, 1, len(features)) if uncertainty is None else uncertainty
    return Pool(names, np.asarray(unsure, dtype=np.float32), features)


def choose(pool, name, candidates=None, covered=(), count=3, seed=0):
    return strategies(lambda: pool, seed)[name](candidates or pool.images, list(covered), count)


@pytest.mark.parametrize("measure", MEASURES)
def test_a_small_nodule_in_doubt_comes_before_a_large_one_that_is_clear(measure):
    small_unsure, large_sure = nodule(5, 2.5), nodule(40, 1)
    frame = [(-p * np.log2(p + 1e-12)).mean() for p in (small_unsure, large_sure)]
    assert frame[0] < frame[1]
    assert measure(small_unsure) > measure(large_sure)


@pytest.mark.parametrize("measure", MEASURES)
def test_doubt_does_not_hang_on_the_size_of_the_nodule_or_the_frame(measure):
    plain = nodule(12, 2)
    assert measure(ndimage.zoom(plain, 3, order=1)) == pytest.approx(measure(plain), rel=0.12)
    assert measure(np.pad(plain, 300)) == pytest.approx(measure(plain), rel=1e-6)


@pytest.mark.parametrize("measure", MEASURES)
def test_doubt_grows_as_the_outline_softens(measure):
    values = [measure(nodule(20, softness)) for softness in (0.3, 1, 3, 6)]
    assert values == sorted(values)
    assert 0 <= values[0] < 0.2 < values[-1] <= 1


@pytest.mark.parametrize("measure", [*MEASURES, lambda p: disagreement(p[None])])
@pytest.mark.parametrize("highest", [0, 0.4])
def test_an_image_in_which_nothing_is_found_is_in_doubt_altogether(measure, highest):
    assert measure(highest * nodule(10, 1)) == 1


def test_passes_that_agree_leave_no_doubt_and_those_that_part_do():
    same = np.stack([nodule(15, 1)] * 4)
    apart = np.stack([np.roll(nodule(15, 1), shift, axis=1) for shift in (-12, -4, 4, 12)])
    assert disagreement(same) == 0
    assert disagreement(apart) > 0.3


def test_uncertainty_takes_the_most_uncertain_in_order():
    assert choose(pool_of(np.zeros((6, 1)), [0.1, 0.9, 0.3, 0.8, 0.2, np.nan]), "uncertainty") == ["i1", "i3", "i2"]


def test_diversity_takes_one_of_each_cluster_and_leaves_those_that_are_covered():
    clusters = np.repeat([[0, 0], [10, 0], [0, 10], [10, 10]], 5, axis=0) + 0.01 * np.arange(20)[:, None]
    pool = pool_of(clusters)
    chosen = choose(pool, "diversity", covered=["i0"], candidates=pool.images[1:])
    assert sorted(int(name[1:]) // 5 for name in chosen) == [1, 2, 3]


def test_farthest_first_covers_at_most_twice_as_far_as_the_best_cover():
    rng = np.random.default_rng(3)
    points = rng.normal(size=(9, 2))
    chosen = farthest_first(points, 3)

    def radius(rows):
        return np.linalg.norm(points[:, None] - points[list(rows)][None], axis=2).min(axis=1).max()

    best = min(radius((a, b, c)) for a in range(9) for b in range(a) for c in range(b))
    assert radius(chosen) <= 2 * best


def test_what_is_kept_between_questions_changes_no_answer():
    rng = np.random.default_rng(5)
    pool = pool_of(rng.normal(size=(60, 4)), rng.random(60))
    kept = strategies(lambda: pool)["hybrid"]
    covered = []
    for turn in range(12):
        candidates = [image for image in pool.images if image not in covered]
        answer = kept(candidates, covered, 3)
        assert answer == choose(pool, "hybrid", candidates, covered)
        covered += answer
        if turn % 4 == 3:  # somebody gives an image back
            covered.pop(0)


def test_the_hybrid_takes_the_unsure_of_each_cluster():
    clusters = np.repeat([[0.0], [10.0], [20.0]], 4, axis=0)
    unsure = np.tile([0.1, 0.2, 0.9, 0.3], 3)
    assert sorted(choose(pool_of(clusters, unsure), "hybrid")) == ["i10", "i2", "i6"]


def test_the_hybrid_takes_no_two_images_that_are_the_same():
    twice = np.repeat(np.arange(5.0)[:, None], 2, axis=0)
    chosen = choose(pool_of(twice, np.full(10, 0.5)), "hybrid", count=5)
    assert sorted(int(name[1:]) // 2 for name in chosen) == [0, 1, 2, 3, 4]


def test_a_channel_of_large_numbers_does_not_decide_alone():
    rng = np.random.default_rng(0)
    features = np.column_stack([1000 * rng.normal(size=40), np.repeat([0.0, 1.0], 20)])
    chosen = choose(pool_of(features), "diversity", count=4)
    assert {int(name[1:]) // 20 for name in chosen} == {0, 1}


@pytest.mark.parametrize("name", ["random", "uncertainty", "diversity", "hybrid"])
@pytest.mark.parametrize("count", [1, 4, 99])
def test_as_many_as_asked_for_all_different_all_candidates(name, count):
    pool = pool_of(np.random.default_rng(1).normal(size=(12, 3)))
    candidates = [*pool.images[3:], "new"]
    chosen = choose(pool, name, candidates, pool.images[:3], count)
    assert len(chosen) == min(count, len(candidates)) == len(set(chosen))
    assert set(chosen) <= set(candidates)


@pytest.mark.parametrize("name", ["random", "uncertainty", "diversity", "hybrid"])
def test_the_same_question_has_the_same_answer_in_any_order_of_the_images(name):
    pool = pool_of(np.random.default_rng(1).normal(size=(12, 3)), np.full(12, 0.5))
    assert choose(pool, name, pool.images) == choose(pool, name, pool.images[::-1])


def test_another_seed_is_another_chance_and_new_images_move_no_old_ones():
    pool = pool_of(np.zeros((20, 1)))
    orders = [choose(pool, "random", count=20, seed=seed) for seed in (0, 1)]
    assert orders[0] != orders[1]
    with_more = choose(pool, "random", [*pool.images, "x", "y"], count=22)
    assert [name for name in with_more if name in orders[0]] == orders[0]


@pytest.mark.parametrize("name", ["uncertainty", "diversity", "hybrid"])
def test_images_nobody_has_scored_come_by_chance_and_last(name):
    known, empty = pool_of([[0.0], [1.0]]), Pool.empty()
    assert choose(known, name, ["new", "i0", "i1"])[-1] == "new"
    assert choose(empty, name, ["a", "b", "c"]) == choose(empty, "random", ["a", "b", "c"])


def test_a_pool_comes_back_from_its_file_and_a_damaged_one_is_named(tmp_path):
    pool = pool_of([[1.0, 2.0], [3.0, 4.0]], [0.5, np.nan])
    pool.save(tmp_path / "pool.npz")
    again = Pool.load(tmp_path / "pool.npz")
    assert again.images == pool.images
    np.testing.assert_array_equal(again.uncertainty, pool.uncertainty)
    np.testing.assert_array_equal(again.features, pool.features)
    assert Pool.load(tmp_path / "none.npz").images == ()
    (tmp_path / "pool.npz").write_bytes((tmp_path / "pool.npz").read_bytes()[:100])
    with pytest.raises(InputError, match="is no pool file"):
        Pool.load(tmp_path / "pool.npz")
