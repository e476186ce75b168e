"""Organs that are no thyroid: what is known of each is there, and the picture is a scanner's."""

from __future__ import annotations

import numpy as np
import pytest

from llnm.errors import InputError
from llnm.imaging import prepare
from llnm.simulate.other_organs import ORGANS, simulate_other_organ
from llnm.simulate.plane import scan_convert
from llnm.simulate.views import Window


def frames(organ, number=6, randomise=False):
    return [simulate_other_organ(organ, np.random.default_rng([7, seed]), randomise) for seed in range(number)]


def dark_share(image):
    """Share of the middle of the frame that is anechoic."""
    rows, columns = (slice(size // 4, -size // 4) for size in image.shape)
    return float((image.pixels[rows, columns] < 0.08).mean())


@pytest.mark.parametrize("organ", ORGANS)
def test_a_seed_gives_one_frame_and_another_seed_another(organ):
    first, again = (simulate_other_organ(organ, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first.pixels, again.pixels)
    other = simulate_other_organ(organ, np.random.default_rng(4))
    assert other.shape != first.shape or np.abs(other.pixels - first.pixels).mean() > 0.02
    np.testing.assert_allclose(first.pixels * 255, np.round(first.pixels * 255), atol=1e-4)
    assert first.pixels.min() >= 0 and first.pixels.max() <= 1


def test_deep_organs_are_seen_deeper_than_shallow_ones():
    depths = {name: [image.shape[0] * image.spacing_mm[0] for image in frames(name)] for name in ("kidney", "eye")}
    assert min(depths["kidney"]) > 75 and max(depths["eye"]) < 65


def test_a_bladder_is_mostly_fluid_and_a_liver_is_not():
    bladder, liver = ([dark_share(image) for image in frames(name)] for name in ("bladder", "liver"))
    assert np.median(bladder) > 0.25
    assert max(liver) < 0.1


def test_tissue_behind_the_bladder_is_enhanced():
    """Fluid attenuates less than the tissue beside it, and the time gain takes tissue for granted."""
    gains = []
    for image in frames("bladder", 12):
        rows, columns = image.shape
        deep = image.pixels[int(0.86 * rows) : int(0.93 * rows)]
        middle = deep[:, int(0.45 * columns) : int(0.55 * columns)].mean()
        sides = np.r_[deep[:, int(0.12 * columns) : int(0.2 * columns)].ravel()]
        if sides.mean() > 0.05:  # not the black corner of a sector
            gains.append(middle - sides.mean())
    assert len(gains) >= 3 and np.mean(gains) > 0.05


def test_ribs_throw_shadows_and_the_pleura_between_them_does_not():
    """Shadows run along the beams: at depth, a lung's columns differ more from one another than a muscle's do."""

    def spread(image):
        area = prepare(image).bmode
        deep = area[int(0.6 * len(area)) : int(0.85 * len(area)), int(0.12 * area.shape[1]) : int(0.88 * area.shape[1])]
        return float(deep.mean(axis=0).std())

    lungs, muscles = ([spread(image) for image in frames(name, 8)] for name in ("lung", "muscle"))
    assert np.median(lungs) > 2 * np.median(muscles)


def test_the_heart_is_seen_in_a_sector():
    for image in frames("heart"):
        shown = (image.pixels > 0.1).sum(axis=1)
        assert shown[round(0.7 * len(shown))] > 2 * shown[round(0.25 * len(shown))]


def test_scan_conversion_fills_the_sector_and_nothing_else():
    window = Window(0.0, 40.0, 40.0, 0.1)
    angle, radius = 0.6, 20.0
    picture = scan_convert(np.ones((400, 200), np.float32), window, angle, radius)
    area = (picture > 0.5).sum() * window.spacing_mm**2
    assert area == pytest.approx(angle * ((radius + window.depth) ** 2 - radius**2), rel=0.01)
    assert picture[0, 0] == picture[-1, 0] == 0


def test_scan_conversion_puts_a_beam_where_it_points():
    """One bright sample at a known depth and angle, against the trigonometry."""
    window = Window(0.0, 40.0, 40.0, 0.1)
    angle, radius = 0.6, 20.0
    grey = np.zeros((400, 201), np.float32)
    grey[250:253, 149:152] = 1  # depth 25.15 mm, 0.3 radians to the right
    rows, columns = np.nonzero(scan_convert(grey, window, angle, radius) > 0.5)
    reach, top = (radius + 40.0) * np.sin(angle), radius * np.cos(angle) - radius
    assert columns.mean() * 0.1 - reach == pytest.approx((radius + 25.15) * np.sin(0.3), abs=0.15)
    assert rows.mean() * 0.1 + top == pytest.approx((radius + 25.15) * np.cos(0.3) - radius, abs=0.15)


def test_randomised_organs_differ_more_in_brightness_than_scanners_do():
    plain, wide = ([float(i.pixels.mean()) for i in frames("kidney", 12, wide)] for wide in (False, True))
    assert np.std(wide) > 1.4 * np.std(plain)


def test_an_unknown_organ_is_refused_with_the_choice():
    with pytest.raises(InputError, match="spleen.*liver"):
        simulate_other_organ("spleen", np.random.default_rng(0))
