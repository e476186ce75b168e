"""The physics against closed forms: Rayleigh statistics, point spread, attenuation."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from llnm.simulate.speckle import Scanner, received_db, scattered_field

STEP = (0.07, 0.16)


@pytest.fixture
def scanner():
    return replace(
        Scanner.sample(np.random.default_rng(0)),
        axial_mm=0.12,
        lateral_mm=0.25,
        focus_mm=10.0,
        focal_zone_mm=10.0,
        noise_db=-300.0,
        gain_waves=np.zeros((0, 3), np.float32),
        smoothing=0.0,
    )


def test_even_tissue_gives_fully_developed_speckle(scanner):
    field = scattered_field(np.ones((500, 400), np.complex64), STEP, scanner, np.random.default_rng(1))
    envelope = np.abs(field)
    assert envelope.mean() / envelope.std() == pytest.approx(1.91, abs=0.05)
    assert (envelope**2).mean() == pytest.approx(1.0, abs=0.05)


def test_speckle_is_finest_at_the_focus_and_has_the_width_of_the_point_spread(scanner):
    field = scattered_field(np.ones((600, 1200), np.complex64), STEP, scanner, np.random.default_rng(2))

    def width(depth_mm):
        row = round(depth_mm / STEP[0])
        band = field[row - 20 : row + 20]
        neighbour = (band[:, :-1] * band[:, 1:].conj()).mean().real / (np.abs(band) ** 2).mean()
        return STEP[1] / (2 * math.sqrt(-math.log(neighbour)))  # a Gaussian's autocorrelation is sqrt(2) wider

    assert width(10.0) == pytest.approx(0.25, rel=0.08)
    assert width(30.0) == pytest.approx(0.25 * math.hypot(1, 2), rel=0.12)


def test_a_layer_of_known_attenuation_darkens_what_lies_behind_it(scanner):
    amplitude = np.ones((500, 300), np.complex64)
    plain = np.full(amplitude.shape, 0.8, np.float32)
    layer = plain.copy()
    layer[200:243, :] += 2.0
    received = [
        received_db(
            scattered_field(amplitude, STEP, scanner, np.random.default_rng(3)),
            attenuation,
            STEP,
            scanner,
            np.random.default_rng(4),
        )
        for attenuation in (plain, layer)
    ]
    drop = received[0] - received[1]
    np.testing.assert_allclose(drop[:190], 0.0, atol=1e-2)
    np.testing.assert_allclose(drop[260:], 2.0 * 43 * STEP[0], atol=0.05)


def test_the_time_gain_takes_back_the_nominal_attenuation(scanner):
    amplitude = np.ones((500, 300), np.complex64)
    field = scattered_field(amplitude, STEP, scanner, np.random.default_rng(5))
    level = received_db(field, np.full(field.shape, 0.8, np.float32), STEP, scanner, np.random.default_rng(6))
    assert level[:100].mean() == pytest.approx(level[-100:].mean(), abs=0.6)
