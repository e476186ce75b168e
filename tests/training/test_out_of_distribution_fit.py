"""Fitting the detector and measuring it: AUROC against brute force, what the fit learns, and a small whole run."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import mannwhitneyu

from llnm.errors import InputError
from llnm.imaging import is_colour_doppler, load_image
from llnm.segmentation.out_of_distribution import DETECTOR_FILE, OutOfDistributionDetector
from llnm.training.out_of_distribution import Amounts, fit_out_of_distribution
from llnm.training.out_of_distribution.detector import FALSE_ALARMS, RIDGE, SOURCES, fit_detector
from llnm.training.out_of_distribution.features import Sample
from llnm.training.out_of_distribution.frames import BLANKS, blanks, colour_doppler, photographs
from llnm.training.out_of_distribution.separation import auroc, comparisons, share
from llnm.weights import weights_file


def test_auroc_equals_brute_force_and_mann_whitney():
    rng = np.random.default_rng(0)
    low, high = rng.integers(0, 8, 23), rng.integers(2, 10, 31)  # with ties
    pairs = [1.0 if b > a else 0.5 if a == b else 0.0 for a, b in itertools.product(low, high)]
    figure = auroc(comparisons(low, high), [str(i) for i in range(23)], [str(i) for i in range(31)])
    assert figure["value"] == pytest.approx(np.mean(pairs), abs=5e-4)
    assert figure["value"] == pytest.approx(mannwhitneyu(high, low).statistic / (23 * 31), abs=5e-4)
    assert figure["low"] < figure["value"] < figure["high"]


def test_auroc_of_swapped_sides_is_its_complement():
    rng = np.random.default_rng(1)
    low, high = rng.standard_normal(20), rng.standard_normal(15) + 1
    assert comparisons(low, high).mean() + comparisons(high, low).mean() == pytest.approx(1)


def test_frames_of_one_patient_do_not_narrow_the_interval():
    """Each frame ten times, with its patient: the interval of the frames alone; as ten patients: a narrower one."""
    rng = np.random.default_rng(2)
    hits, names = rng.random(30) < 0.4, [str(i) for i in range(30)]
    width = lambda figure: figure["high"] - figure["low"]  # noqa: E731
    single = width(share(hits, names))
    assert width(share(np.repeat(hits, 10), np.repeat(names, 10))) == pytest.approx(single, abs=0.05)
    assert width(share(np.repeat(hits, 10), [str(i) for i in range(300)])) < 0.5 * single


def drawn_samples(shift, number=200, features=80, seed=0):
    """Thyroid about 0, an organ shifted along the first feature, in the same anisotropic noise."""
    rng = np.random.default_rng(seed)
    spread = np.geomspace(3.0, 0.3, features)

    def sample(offset):
        values = spread * rng.standard_normal((number, features))
        values[:, 0] += offset
        return Sample(values.astype(np.float32), tuple(str(index) for index in range(number)))

    return {name: sample(0.0) for name in SOURCES}, {"organ": sample(shift)}, sample


def test_the_discriminant_finds_a_shift_that_the_distance_misses():
    thyroid, organs, sample = drawn_samples(shift=9.0)
    detector = fit_detector(thyroid, organs)
    inside, outside = sample(0.0), sample(9.0)
    areas = [
        comparisons(measure(inside.features), measure(outside.features)).mean()
        for measure in (detector.distance, detector.discriminant)
    ]
    assert areas[1] > 0.95 > areas[0]


def test_the_discriminant_is_a_weighted_ridge_regression():
    """Against the normal equations with every frame written out; the organs count the same though one has fewer."""
    thyroid, organs, sample = drawn_samples(shift=9.0, number=60)
    organs = {"organ": organs["organ"], "rare": sample(-4.0).part(np.arange(60) < 20)}
    detector = fit_detector(thyroid, organs)
    parts = [*thyroid.values(), *organs.values()]
    shares = [*(value / 2 for value in SOURCES.values()), 0.25, 0.25]
    weight = np.concatenate([np.full(len(p.groups), w / len(p.groups)) for p, w in zip(parts, shares, strict=True)])
    target = np.concatenate([np.full(len(p.groups), float(i >= len(SOURCES))) for i, p in enumerate(parts)])
    values = np.clip((np.concatenate([p.features for p in parts]) - detector.centre) / detector.scale, -8, 8)
    design = np.column_stack([np.ones(len(values)), values])
    penalty = RIDGE * np.diag([0.0] + [1.0] * values.shape[1])
    solved = np.linalg.solve((design * weight[:, None]).T @ design + penalty, (design * weight[:, None]).T @ target)
    np.testing.assert_allclose(detector.direction, solved[1:], atol=1e-4)
    assert float(detector.offset[0]) == pytest.approx(solved[0], abs=1e-4)


def test_the_distance_finds_what_no_example_was_given_of():
    thyroid, organs, sample = drawn_samples(shift=9.0)
    stranger = sample(0.0).features
    stranger[:, 40:] *= 6
    assert (fit_detector(thyroid, organs).margins(stranger)[:, 0] > 0).mean() > 0.95


def test_false_alarms_on_new_frames_keep_to_the_stated_rate():
    thyroid, organs, sample = drawn_samples(shift=9.0, number=600)
    margins = fit_detector(thyroid, organs).margins(sample(0.0).features)
    assert (margins > 0).mean(axis=0) == pytest.approx(FALSE_ALARMS, abs=0.025)
    assert np.median(margins, axis=0) == pytest.approx([-1, -1], abs=0.2)


def test_painted_flow_is_seen_as_colour_doppler(data):
    paths = sorted((data / "ddti" / "images").glob("*.jpg"))[:60:10]
    frames = [(path.stem, load_image(path)) for path in paths]
    painted = list(colour_doppler(frames))
    assert all(is_colour_doppler(frame.image) for frame in painted)
    assert not any(is_colour_doppler(image) for _, image in frames)
    for frame, (_, image) in zip(painted, frames, strict=True):
        grey = frame.image.colour.max(axis=2) == frame.image.colour.min(axis=2)
        assert np.abs(frame.image.pixels - image.pixels)[grey].max() < 0.01


def test_photographs_and_blanks_are_of_every_sort_and_repeatable():
    first, again = list(blanks(2)), list(blanks(2))
    assert len(first) == 2 * len(BLANKS)
    for one, other in zip(first, again, strict=True):
        assert (one.image is None) == (other.image is None)
        assert one.image is None or np.array_equal(one.image.pixels, other.image.pixels)
    shots = list(photographs(2))
    assert len({frame.group for frame in shots}) >= 15
    assert sum(frame.image.colour is None for frame in shots) >= len(shots) / 2


@pytest.fixture
def few_images(data, tmp_path):
    """Twelve annotated frames of different patients."""
    for folder, ending in (("images", ".jpg"), ("nodule", ".png")):
        (tmp_path / "few" / folder).mkdir(parents=True)
        for path in sorted((data / "ddti" / folder).glob(f"*_1{ending}"))[:12]:
            (tmp_path / "few" / folder / path.name).write_bytes(path.read_bytes())
    return tmp_path / "few"


def test_a_whole_run_writes_a_detector_for_these_weights_and_its_figures(few_images, tmp_path):
    amounts = Amounts(augmented=1, simulated=10, organs=2, phantoms=6, measured=2)
    weights, out = weights_file("nodule"), tmp_path / "out"
    record = fit_out_of_distribution([few_images], weights, out, folds=3, amounts=amounts)
    assert record == json.loads((out / "out_of_distribution.json").read_text(encoding="utf-8"))
    assert record["frames_in_fit"]["images"] + record["false_alarms"]["few"]["frames"] == 12
    assert record["auroc"]["few"]["colour Doppler"]["value"] > 0.9
    table = pd.read_csv(out / "out_of_distribution.csv")
    assert table["score"].between(0, 1).all()
    assert (table[table["kind"] == "colour Doppler"]["score"] == 1).all()
    assert (out / DETECTOR_FILE).stat().st_size < 300_000
    assert OutOfDistributionDetector.load(out / DETECTOR_FILE, weights).centre.shape == (1024,)


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(InputError, match="images"):
        fit_out_of_distribution([tmp_path], weights_file("nodule"), tmp_path / "out")
