import numpy as np
import pytest
from drawn import DATA, box, ellipse, masks, repeatable
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from skimage.measure import regionprops

from llnm.features import shape_of

SHAPE = (300, 400)


def test_a_rectangle_has_its_own_size_in_pixels_and_in_millimetres():
    mask = box(SHAPE, 20, 30, 50, 110)
    pixels, millimetres = shape_of(mask), shape_of(mask, (0.05, 0.1))
    assert (pixels.width, pixels.height, pixels.area) == (80, 30, 2400)
    assert (millimetres.width, millimetres.height, millimetres.area) == pytest.approx((8.0, 1.5, 12.0))
    assert pixels.aspect_ratio == 30 / 80
    assert millimetres.aspect_ratio == pytest.approx(1.5 / 8)


@pytest.mark.parametrize("degrees", [0, 20, 45, 70, 90, 135])
def test_a_turned_ellipse_has_the_extent_and_area_of_the_formula(degrees):
    rows, columns = 90.0, 50.0
    angle = np.deg2rad(degrees)
    height = 2 * np.hypot(rows * np.cos(angle), columns * np.sin(angle))
    width = 2 * np.hypot(rows * np.sin(angle), columns * np.cos(angle))
    shape = shape_of(ellipse(SHAPE, (150.3, 200.6), (rows, columns), degrees), (0.1, 0.1))
    assert shape.height == pytest.approx(height / 10, abs=0.15)
    assert shape.width == pytest.approx(width / 10, abs=0.15)
    assert shape.area == pytest.approx(np.pi * rows * columns / 100, rel=0.005)
    assert shape.aspect_ratio == pytest.approx(height / width, rel=0.015)


def test_a_disc_seen_with_oblong_pixels_is_as_tall_as_wide():
    row, column = 0.06, 0.15
    mask = ellipse(SHAPE, (150, 200), (8 / row, 8 / column))  # 16 mm across
    shape = shape_of(mask, (row, column))
    assert shape.width == pytest.approx(16, abs=0.2)
    assert shape.height == pytest.approx(16, abs=0.2)
    assert shape.aspect_ratio == pytest.approx(1, abs=0.02)
    assert shape_of(mask).aspect_ratio == pytest.approx(2.5, abs=0.05)


def test_taller_than_wide_is_above_one():
    assert shape_of(box(SHAPE, 0, 0, 40, 20)).aspect_ratio == 2
    assert shape_of(box(SHAPE, 0, 0, 20, 40)).aspect_ratio == 0.5


def test_one_pixel_has_the_size_of_a_pixel():
    shape = shape_of(box(SHAPE, 299, 399, 300, 400), (0.1, 0.2))
    assert (shape.height, shape.width, shape.area) == pytest.approx((0.1, 0.2, 0.02))


@repeatable
@given(masks(), st.integers(0, 9), st.integers(0, 9))
def test_the_size_does_not_depend_on_the_place(mask, down, across):
    assert shape_of(np.pad(mask, ((down, 2), (across, 1))), (0.1, 0.2)) == shape_of(mask, (0.1, 0.2))


@repeatable
@given(masks())
def test_turning_by_a_right_angle_swaps_width_and_height(mask):
    upright, turned = shape_of(mask, (0.1, 0.2)), shape_of(np.rot90(mask), (0.2, 0.1))
    assert (turned.width, turned.height) == pytest.approx((upright.height, upright.width))
    assert turned.aspect_ratio == pytest.approx(1 / upright.aspect_ratio)
    assert turned.area == pytest.approx(upright.area)


@repeatable
@given(masks(), st.integers(2, 4), st.integers(2, 4))
def test_finer_pixels_leave_the_millimetres_as_they_are(mask, rows, columns):
    coarse = shape_of(mask, (0.4, 0.6))
    fine = shape_of(np.kron(mask, np.ones((rows, columns), dtype=bool)), (0.4 / rows, 0.6 / columns))
    assert (fine.width, fine.height, fine.area) == pytest.approx((coarse.width, coarse.height, coarse.area))


def test_real_nodules_have_the_size_that_scikit_image_measures():
    paths = sorted((DATA / "ddti" / "nodule").iterdir())[::8]
    assert len(paths) > 30
    for path in paths:
        mask = np.asarray(Image.open(path)) > 127
        (region,) = regionprops(mask.astype(np.uint8))
        top, left, bottom, right = region.bbox
        shape = shape_of(mask)
        assert (shape.height, shape.width, shape.area) == (bottom - top, right - left, region.area)
