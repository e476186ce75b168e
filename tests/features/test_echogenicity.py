import numpy as np
import pytest
from drawn import box, ellipse, masks, repeatable, speckle
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from llnm.errors import InputError
from llnm.features import echogenicity_difference

SHAPE = (240, 320)
NODULE = ellipse(SHAPE, (120, 160), (40, 60))


def two_levels(nodule, outside, inside):
    return np.where(nodule, inside, outside).astype(np.float32)


@pytest.mark.parametrize(("outside", "inside"), [(0.6, 0.25), (0.3, 0.8), (0.5, 0.5), (0.9, 0.0)])
def test_two_levels_differ_by_outside_minus_inside(outside, inside):
    assert echogenicity_difference(two_levels(NODULE, outside, inside), NODULE) == pytest.approx(
        outside - inside, abs=1e-6
    )


@pytest.mark.parametrize("degrees", [0, 30, 75])
def test_a_blurred_margin_does_not_blur_the_difference(degrees):
    nodule = ellipse(SHAPE, (120, 160), (30, 70), degrees)
    sharp = two_levels(nodule, 0.7, 0.3)
    blurred = ndimage.uniform_filter(sharp, 3)  # 1 px on either side; the transition left out is 4 px
    assert echogenicity_difference(blurred, nodule) == pytest.approx(0.4, abs=1e-6)


def test_a_hand_drawn_margin_two_pixels_off_gives_the_same():
    image = two_levels(NODULE, 0.7, 0.3)
    for drawn in (ndimage.binary_dilation(NODULE, iterations=2), ndimage.binary_erosion(NODULE, iterations=2)):
        assert echogenicity_difference(image, drawn) == pytest.approx(0.4, abs=1e-6)


def test_only_tissue_within_a_third_of_the_diameter_counts_as_outside():
    diameter = 2 * np.sqrt(NODULE.sum() / np.pi)
    distance = ndimage.distance_transform_edt(~NODULE)
    image = two_levels(NODULE, 0.6, 0.3)
    image[distance > 0.31 * diameter] = 1.0
    assert echogenicity_difference(image, NODULE) == pytest.approx(0.3, abs=1e-6)
    image[(distance > 0.1 * diameter) & (distance < 0.2 * diameter)] = 0.8
    assert echogenicity_difference(image, NODULE) > 0.35


@pytest.mark.parametrize(("column", "counts"), [(141, False), (142, True), (153, True), (154, False)])
def test_the_ring_begins_and_ends_at_the_stated_distances_from_the_margin(column, counts):
    # A square of 40 px, its right edge at 139.5: D = 45.1, so the ring runs from 2.3 to 13.5 px, 141.8 to 153.04.
    square = box(SHAPE, 100, 100, 140, 140)
    image = two_levels(square, 0.6, 0.3)
    image[110:130, column] = 1.0
    assert (echogenicity_difference(image, square) > 0.3001) == counts


@pytest.mark.parametrize(("column", "counts"), [(137, True), (138, False)])
def test_the_inside_begins_where_the_transition_ends(column, counts):
    square = box(SHAPE, 100, 100, 140, 140)  # its edge at 139.5, the transition ends at 137.2
    image = two_levels(square, 0.6, 0.3)
    image[110:130, column] = 0.0
    assert (echogenicity_difference(image, square) > 0.3001) == counts


def test_the_black_beyond_the_scan_area_does_not_count():
    image = two_levels(NODULE, 0.6, 0.3)
    image[:, 225:] = 0  # a few pixels to the right of the nodule, inside its ring
    assert echogenicity_difference(image, NODULE) == pytest.approx(0.3, abs=1e-6)


def test_a_nodule_at_the_image_border_is_compared_with_what_is_seen():
    nodule = ellipse(SHAPE, (5, 310), (40, 60))
    assert echogenicity_difference(two_levels(nodule, 0.6, 0.3), nodule) == pytest.approx(0.3, abs=1e-6)


def test_a_nodule_that_fills_the_picture_has_no_surroundings_to_compare_with():
    full = np.ones(SHAPE, dtype=bool)
    assert echogenicity_difference(speckle(SHAPE), full) is None
    assert echogenicity_difference(two_levels(NODULE, 0.0, 0.5), NODULE) is None


def test_a_nodule_of_one_pixel_is_measured():
    pixel = box(SHAPE, 50, 60, 51, 61)
    assert echogenicity_difference(two_levels(pixel, 0.6, 0.1), pixel) == pytest.approx(0.5, abs=1e-6)


def test_speckle_averages_out():
    image = np.clip(two_levels(NODULE, 0.55, 0.35) + (speckle(SHAPE) - 0.5), 0.001, 1)
    assert echogenicity_difference(image, NODULE) == pytest.approx(0.2, abs=0.01)


def test_zooming_in_does_not_change_it():
    image = ndimage.gaussian_filter(speckle(SHAPE), 4)
    zoomed = np.kron(image, np.ones((3, 3), dtype=np.float32))
    larger = np.kron(NODULE, np.ones((3, 3), dtype=bool))
    assert echogenicity_difference(zoomed, larger) == pytest.approx(echogenicity_difference(image, NODULE), abs=2e-3)


@repeatable
@given(masks((20, 26)), st.sampled_from([0, 1]), st.integers(0, 99))
def test_mirroring_does_not_change_it_and_a_negative_changes_its_sign(nodule, axis, seed):
    image = speckle(nodule.shape, seed)
    value = echogenicity_difference(image, nodule)
    mirrored = echogenicity_difference(np.flip(image, axis), np.flip(nodule, axis))
    negative = echogenicity_difference(1 - image, nodule)
    if value is None:
        assert mirrored is None and negative is None
    else:
        assert mirrored == pytest.approx(value, abs=1e-6)
        assert negative == pytest.approx(-value, abs=1e-6)


@repeatable
@given(masks((20, 26)), st.floats(-0.15, 0.15))
def test_a_brighter_picture_of_the_same_tissue_gives_the_same(nodule, brighter):
    image = speckle(nodule.shape)
    value = echogenicity_difference(image, nodule)
    shifted = echogenicity_difference(image + np.float32(brighter), nodule)
    assert shifted == (None if value is None else pytest.approx(value, abs=1e-6))


@pytest.mark.parametrize(
    ("image", "nodule", "says"),
    [
        (np.full(SHAPE, np.nan, np.float32), NODULE, "image: it holds pixels that are not finite"),
        (np.where(NODULE, np.inf, 0.5), NODULE, "image: it holds pixels that are not finite"),
        (np.full(SHAPE, 200, np.uint8), NODULE, "image: its values reach from 200 to 200"),
        (np.full(SHAPE, -0.1), NODULE, "image: its values reach from -0.1"),
        (np.full(SHAPE, "x"), NODULE, "image: its pixels are"),
        (np.zeros((*SHAPE, 3)), NODULE, "image: expected (row, column)"),
        (np.zeros((0, 5)), NODULE, "image: expected (row, column)"),
        (speckle((10, 10)), NODULE, "nodule mask: its size (240, 320) differs from the image's (10, 10)"),
        (speckle(SHAPE), NODULE & False, "nodule mask: it is empty"),
    ],
)
def test_input_without_an_echo_is_refused_in_one_line(image, nodule, says):
    with pytest.raises(InputError) as refused:
        echogenicity_difference(image, nodule)
    assert str(refused.value).startswith(says)
    assert "\n" not in str(refused.value)
