"""The out-of-distribution check: its distance against SciPy, and what a detector fitted to a few real frames flags."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydicom.data import get_testdata_file
from scipy.spatial.distance import mahalanobis

from llnm.case import UltrasoundImage
from llnm.errors import InputError
from llnm.imaging import load_image, prepare
from llnm.segmentation.out_of_distribution import (
    DETECTOR_FILE,
    OutOfDistributionDetector,
    canvas,
    check_distribution,
    encoder_features,
    judge,
    nodule_encoder,
)
from llnm.weights import weights_file


def detector(features=12, components=4, seed=0):
    """Random numbers of the right shapes; the components are orthonormal."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.standard_normal((features, features)))[0]
    return OutOfDistributionDetector(
        centre=rng.standard_normal(features),
        scale=rng.uniform(0.5, 2.0, features),
        components=basis[:, :components].T,
        variances=rng.uniform(1.0, 5.0, components),
        residual_variance=np.array([0.3]),
        direction=rng.standard_normal(features),
        offset=np.array([0.2]),
        thresholds=np.zeros(2),
        spreads=np.ones(2),
    )


def test_distance_equals_scipys_mahalanobis_with_the_same_covariance():
    fitted = detector()
    basis = np.linalg.qr(np.concatenate([fitted.components, np.eye(12)]).T)[0][:, 4:]
    covariance = (fitted.components.T * fitted.variances) @ fitted.components + 0.3 * basis @ basis.T
    inverse = np.linalg.inv(np.diag(fitted.scale) @ covariance @ np.diag(fitted.scale))
    features = np.random.default_rng(1).standard_normal((5, 12))
    expected = [np.log(mahalanobis(row, fitted.centre, inverse) ** 2 / 12) for row in features]
    np.testing.assert_allclose(fitted.distance(features), expected, rtol=1e-6)


def test_units_of_a_feature_do_not_matter():
    fitted, features = detector(), np.random.default_rng(2).standard_normal((6, 12))
    unit = np.geomspace(0.01, 100, 12)
    other = replace(fitted, centre=fitted.centre * unit, scale=fitted.scale * unit)
    np.testing.assert_allclose(other.margins(features * unit), fitted.margins(features), rtol=1e-9)


def test_order_of_the_frames_does_not_matter():
    fitted, features = detector(), np.random.default_rng(3).standard_normal((6, 12))
    order = [3, 0, 5, 1, 4, 2]
    np.testing.assert_allclose(fitted.margins(features)[order], fitted.margins(features[order]))


def test_the_larger_margin_decides_and_a_half_is_the_threshold():
    assert judge(np.array([-1.0, -0.2])).score == pytest.approx(1 / (1 + np.exp(0.2)))
    assert not judge(np.array([-1.0, -1e-6])).out_of_distribution
    at_threshold = judge(np.array([0.0, -3.0]))
    assert at_threshold.score == 0.5 and at_threshold.out_of_distribution and "unlike" in at_threshold.reason
    assert "another organ" in judge(np.array([0.1, 5.0])).reason
    assert judge(np.array([1e9, 0.0])).score <= 1.0


@pytest.fixture(scope="module")
def weights():
    return weights_file("nodule")


def test_a_detector_survives_its_file_and_is_refused_for_other_weights(tmp_path, weights):
    fitted, path = detector(), tmp_path / DETECTOR_FILE
    fitted.save(path, weights)
    again = OutOfDistributionDetector.load(path, weights)
    features = np.random.default_rng(4).standard_normal((3, 12)).astype(np.float32)
    np.testing.assert_allclose(again.margins(features), fitted.margins(features), rtol=1e-3, atol=1e-4)
    other = tmp_path / "model.pt"
    other.write_bytes(weights.read_bytes() + b"0")
    with pytest.raises(InputError, match="fitted for other weights"):
        OutOfDistributionDetector.load(path, other)
    path.write_bytes(b"not numbers")
    with pytest.raises(InputError, match="no out-of-distribution file"):
        OutOfDistributionDetector.load(path, weights)


def test_without_a_detector_there_is_no_verdict(tmp_path, weights, data):
    alone = tmp_path / "model.pt"
    alone.write_bytes(weights.read_bytes())
    assert check_distribution(load_image(data / "ddti" / "images" / "1_1.jpg"), alone) is None


def test_features_are_means_and_deviations_of_every_channel(weights, data):
    encoder = nodule_encoder(weights)
    image = canvas(prepare(load_image(data / "ddti" / "images" / "1_1.jpg")))[None]
    features = encoder_features(encoder, image)[0]
    with torch.no_grad():
        levels = [level[0].numpy() for level in encoder(image)]
    means = [channel.mean() for level in levels for channel in level]
    deviations = [channel.std(ddof=1) for level in levels for channel in level]
    np.testing.assert_allclose(features, means + deviations, rtol=1e-3, atol=1e-5)


def real_frames(data):
    """Thyroid frames of three sources, spread over each."""
    for source, number in (("ddti", 10), ("sweeps", 10), ("gland", 10)):
        paths = sorted((data / source / "images").iterdir())
        yield from ((source, load_image(path)) for path in paths[:: len(paths) // number][:number])


def photographs():
    import skimage.data

    folder = Path(skimage.data.__file__).parent
    return [load_image(folder / f"{name}.png") for name in ("astronaut", "camera", "coffee", "chelsea", "coins")]


def test_the_shipped_detector_passes_thyroids_and_flags_photographs(weights, data):
    checks = [check_distribution(image, weights) for _, image in real_frames(data)]
    assert sum(check.out_of_distribution for check in checks) <= 0.2 * len(checks)
    for image in photographs():
        check = check_distribution(image, weights)
        assert check.out_of_distribution and check.score > 0.5


def test_noise_bars_and_gradients_are_flagged_and_blank_frames_never_pass(weights):
    rng = np.random.default_rng(0)
    noise = np.clip(rng.normal(0.5, 0.2, (400, 560)), 0, 1)
    bars = np.repeat((np.arange(560) // 56 % 2).astype(float)[None], 400, axis=0)
    gradient = np.repeat(np.linspace(0, 1, 560)[None], 400, axis=0)
    for pixels in (noise, bars, gradient):
        assert check_distribution(UltrasoundImage(pixels.astype(np.float32)), weights).out_of_distribution
    for grey in (0.0, 0.4, 1.0):
        check = check_distribution(UltrasoundImage(np.full((300, 400), grey, np.float32)), weights)
        assert check.score == 1 and check.reason.startswith("blank")


def test_real_colour_doppler_is_named_as_such(weights, tmp_path, data):
    doppler = load_image(get_testdata_file("examples_rgb_color.dcm", download=False))
    assert check_distribution(doppler, weights).reason == "colour Doppler"
    bmode = np.asarray(Image.open(data / "ddti" / "images" / "1_1.jpg").convert("RGB")).copy()
    bmode[120:160, 200:260] = (220, 40, 20)
    Image.fromarray(bmode).save(tmp_path / "flow.png")
    check = check_distribution(load_image(tmp_path / "flow.png"), weights)
    assert check.reason == "colour Doppler" and check.score == 1


def test_a_prepared_frame_gets_the_verdict_of_the_frame(weights, data):
    image = load_image(data / "ddti" / "images" / "10_1.jpg")
    assert check_distribution(prepare(image), weights) == check_distribution(image, weights)
