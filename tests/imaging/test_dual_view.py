"""Side-by-side frames: found, parted, and single views left alone."""

import numpy as np
import pytest
from imaging_examples import DATA, scan_on_black
from scipy import ndimage

from llnm.case import Box, UltrasoundImage
from llnm.errors import InputError
from llnm.imaging import find_seam, load_image, prepare, split_dual_view

# Looked at: these frames of ddti hold two views, these one.
DUAL = ("100_1", "121_1", "179_1", "248_1", "163_1", "105_1", "213_1", "227_1", "83_1", "131_1")
SINGLE = ("109_1", "130_2", "139_2", "316_1", "7_1", "173_2", "210_2", "169_1", "1_1", "9_1")


def drawn_pair(gap=0):
    left = scan_on_black(200, 160, (10, 10, 190, 160), seed=1)
    right = scan_on_black(200, 160, (10, 0, 190, 150), seed=2)
    return np.concatenate([left, np.zeros((200, gap), np.float32), right], axis=1)


@pytest.mark.parametrize("gap", [0, 6, 12])
def test_drawn_views_are_parted_where_they_meet(gap):
    pair = drawn_pair(gap)
    rgb = np.repeat((pair * 255).astype(np.uint8)[..., None], 3, axis=2)
    image = UltrasoundImage(pair, rgb, (0.1, 0.09), "file header", Box(10, 10, 190, 310 + gap))
    left, right = split_dual_view(image)
    np.testing.assert_array_equal(left.pixels, pair[:, :160])
    np.testing.assert_array_equal(right.pixels, pair[:, 160 + gap :])
    np.testing.assert_array_equal(right.colour, rgb[:, 160 + gap :])
    assert left.spacing_mm == right.spacing_mm == (0.1, 0.09)
    assert left.region == Box(10, 10, 190, 160) and right.region == Box(10, 0, 190, 150)


def test_real_dual_views_are_found_at_their_seam():
    for name in DUAL:
        seam = find_seam(load_image(DATA / "ddti" / "images" / f"{name}.jpg"))
        assert seam is not None, name
        assert 270 < seam[0] <= seam[1] < 325, name


def test_real_single_views_are_refused():
    single = [DATA / "ddti" / "images" / f"{name}.jpg" for name in SINGLE]
    for folder, step in (("samples", 1), ("sweeps/images", 60), ("gland/images", 15)):
        single += sorted((DATA / folder).glob("*.jpg"))[::step]
    for path in single:
        with pytest.raises(InputError, match="no seam"):
            split_dual_view(load_image(path))


def test_a_dark_frame_with_little_echo_has_no_seam():
    pixels = np.zeros((200, 300), np.float32)
    pixels[10:40, 100:200] = scan_on_black(30, 100, (0, 0, 30, 100))
    assert find_seam(UltrasoundImage(pixels, region=Box(0, 0, 200, 300))) is None


def test_a_smooth_shadow_in_the_middle_is_no_seam():
    pixels = scan_on_black(200, 320, (10, 10, 190, 310))
    shadow = np.ones(320)
    shadow[140:180] = 0.3
    assert find_seam(UltrasoundImage((pixels * ndimage.gaussian_filter1d(shadow, 4)).astype(np.float32))) is None


def test_prepare_says_that_a_frame_holds_two_views():
    assert any("side by side" in note for note in prepare(UltrasoundImage(drawn_pair())).warnings)
