import math

import numpy as np
import pytest
from drawn import box, ellipse, masks, repeatable, shapes, spacings
from hypothesis import assume, given
from hypothesis import strategies as st

from llnm.errors import InputError
from llnm.features import capsule_distance, central_point_distance_transform, direction_name, location_image

SHAPE = (90, 120)


def capsule_by_hand(gland):
    """Gland pixels with a neighbour, above, below, left or right, that is background or beyond the image."""
    rows, columns = gland.shape
    capsule = np.zeros_like(gland)
    for r, c in np.argwhere(gland):
        for nr, nc in ((r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)):
            if not (0 <= nr < rows and 0 <= nc < columns) or not gland[nr, nc]:
                capsule[r, c] = True
    return capsule


def phi_by_hand(gland, spacing):
    """Equations 1-3 with every pair of a gland pixel and a capsule pixel."""
    scale = np.array(spacing or (1.0, 1.0))
    inside, capsule = np.argwhere(gland) * scale, np.argwhere(capsule_by_hand(gland)) * scale
    distance = np.sqrt(((inside[:, None] - capsule[None]) ** 2).sum(axis=2)).min(axis=1)
    phi = np.ones(gland.shape)
    if distance.max() > 0:
        phi[gland] = 1 - distance / distance.max()
    return phi


GLANDS = {
    "an ellipse": ellipse(SHAPE, (45, 60), (25, 40)),
    "cut by the image border": ellipse(SHAPE, (5, 110), (30, 40)),
    "two lobes": ellipse(SHAPE, (40, 30), (20, 15)) | ellipse(SHAPE, (45, 90), (25, 20)),
    "with a hole": ellipse(SHAPE, (45, 60), (30, 45)) & ~ellipse(SHAPE, (50, 50), (6, 9)),
    "one pixel": box(SHAPE, 7, 9, 8, 10),
    "one row": box(SHAPE, 7, 9, 8, 80),
    "the whole image": box(SHAPE, 0, 0, *SHAPE),
}


@pytest.mark.parametrize("spacing", [None, (0.08, 0.08), (0.05, 0.11)])
@pytest.mark.parametrize("gland", GLANDS.values(), ids=GLANDS.keys())
def test_cpdt_equals_brute_force(gland, spacing):
    phi = central_point_distance_transform(gland, spacing)
    assert phi.dtype == np.float32
    np.testing.assert_allclose(phi, phi_by_hand(gland, spacing), rtol=0, atol=1e-6)


@repeatable
@given(masks(), spacings)
def test_cpdt_equals_brute_force_on_any_mask(gland, spacing):
    phi = central_point_distance_transform(gland, spacing)
    np.testing.assert_allclose(phi, phi_by_hand(gland, spacing), rtol=0, atol=1e-6)


@repeatable
@given(masks(), spacings)
def test_phi_is_one_on_and_beyond_the_capsule_and_zero_at_the_central_point(gland, spacing):
    phi = central_point_distance_transform(gland, spacing)
    capsule = capsule_by_hand(gland)
    assert phi.min() >= 0
    assert (phi[capsule | ~gland] == 1).all()
    inside = gland & ~capsule
    assert (phi[inside] < 1).all()
    if inside.any():
        assert phi.min() == 0


def test_phi_of_a_disc_falls_linearly_from_the_capsule_to_the_centre():
    y, x = np.mgrid[:201, :201]
    radius = np.hypot(y - 100, x - 100)
    phi = central_point_distance_transform(radius <= 80)
    inside = radius <= 78
    np.testing.assert_allclose(phi[inside], radius[inside] / 80, atol=1.5 / 80)


def test_phi_of_an_ellipse_on_oblong_pixels_is_that_of_a_disc():
    y, x = np.mgrid[:121, :241]
    radius = np.hypot((y - 60) * 0.2, (x - 120) * 0.1)  # a disc of 10 mm
    phi = central_point_distance_transform(radius <= 10, (0.2, 0.1))
    inside = radius <= 9.5
    np.testing.assert_allclose(phi[inside], radius[inside] / 10, atol=0.03)


@repeatable
@given(masks(), st.integers(0, 9), st.integers(0, 9))
def test_phi_moves_with_the_gland(gland, down, across):
    # Background all round first, so that the move does not turn an image border into background.
    near = np.pad(gland, 1)
    far = np.pad(gland, ((1 + down, 1), (1 + across, 1)))
    expected = np.ones(far.shape)
    expected[down:, across:] = central_point_distance_transform(near)
    np.testing.assert_allclose(central_point_distance_transform(far), expected, atol=1e-6)


@repeatable
@given(masks(), spacings, st.sampled_from([0, 1]))
def test_phi_of_a_mirrored_gland_is_the_mirrored_phi(gland, spacing, axis):
    mirrored = central_point_distance_transform(np.flip(gland, axis), spacing)
    np.testing.assert_allclose(mirrored, np.flip(central_point_distance_transform(gland, spacing), axis), atol=1e-6)


@repeatable
@given(masks(), st.floats(0.1, 1.5))
def test_phi_does_not_depend_on_the_size_of_square_pixels(gland, spacing):
    np.testing.assert_allclose(
        central_point_distance_transform(gland, (spacing, spacing)), central_point_distance_transform(gland), atol=1e-6
    )


def test_location_image_is_phi_on_the_nodule_and_zero_elsewhere():
    gland, nodule = GLANDS["an ellipse"], ellipse(SHAPE, (45, 85), (8, 20))  # reaches beyond the capsule
    image = location_image(nodule, gland, (0.05, 0.1))
    phi = phi_by_hand(gland, (0.05, 0.1))
    np.testing.assert_allclose(image[nodule], phi[nodule], atol=1e-6)
    assert (image[~nodule] == 0).all()
    assert image[nodule & ~gland].min() == 1


@repeatable
@given(st.data(), shapes, spacings)
def test_capsule_distance_equals_brute_force_over_all_pairs(data, shape, spacing):
    nodule, gland = data.draw(masks(shape)), data.draw(masks(shape))
    if data.draw(st.booleans()):
        nodule &= gland
    assume((nodule & gland).any())
    scale = np.array(spacing or (1.0, 1.0))
    capsule = capsule_by_hand(gland)
    pairs = np.argwhere(nodule)[:, None] * scale - np.argwhere(capsule)[None] * scale
    nearest = np.sqrt((pairs**2).sum(axis=2)).min()
    crosses = bool((nodule & ~gland).any())

    found = capsule_distance(nodule, gland, spacing)

    assert found.distance == pytest.approx(0.0 if crosses else nearest, abs=1e-9)
    assert found.unit == ("px" if spacing is None else "mm")
    assert nodule[found.point_nodule]
    assert capsule[found.point_capsule] or not (nodule & capsule).any()
    if not crosses:
        assert capsule[found.point_capsule]
        ends = (np.array(found.point_nodule) - found.point_capsule) * scale
        assert math.hypot(*ends) == pytest.approx(found.distance, abs=1e-9)
    if found.direction is not None:
        assert math.hypot(*found.direction) == pytest.approx(1)


@repeatable
@given(st.data(), shapes, spacings)
def test_capsule_distance_is_where_the_location_image_is_brightest(data, shape, spacing):
    gland = data.draw(masks(shape))
    nodule = data.draw(masks(shape)) & gland
    assume(nodule.any())
    inside = np.argwhere(gland) * (spacing or (1, 1))
    capsule = np.argwhere(capsule_by_hand(gland)) * (spacing or (1, 1))
    furthest = np.sqrt(((inside[:, None] - capsule[None]) ** 2).sum(axis=2)).min(axis=1).max()
    phi = central_point_distance_transform(gland, spacing)
    expected = (1 - phi[nodule].max()) * furthest
    assert capsule_distance(nodule, gland, spacing).distance == pytest.approx(expected, abs=1e-5)


def test_distance_of_concentric_discs_is_the_difference_of_their_radii():
    gland, nodule = ellipse((301, 301), (150, 150), (120, 120)), ellipse((301, 301), (150, 150), (50, 50))
    assert capsule_distance(nodule, gland, (0.1, 0.1)).distance == pytest.approx(7.0, abs=0.1)
    assert capsule_distance(nodule, gland).distance == pytest.approx(70, abs=1)


def test_distance_in_pixels_runs_between_pixel_centres():
    found = capsule_distance(box(SHAPE, 15, 40, 20, 60), box(SHAPE, 10, 10, 80, 110))
    assert (found.distance, found.point_nodule, found.point_capsule) == (5, (15, 40), (10, 40))
    assert found.direction == (-1, 0)


@pytest.mark.parametrize(
    ("nodule", "towards"),
    [
        (box(SHAPE, 20, 50, 30, 60), (-1, 0)),
        (box(SHAPE, 60, 50, 88, 60), (1, 0)),
        (box(SHAPE, 40, 5, 50, 30), (0, -1)),
        (box(SHAPE, 40, 90, 50, 115), (0, 1)),
    ],
    ids=["touches above", "crosses below", "crosses on the left", "crosses on the right"],
)
def test_a_nodule_on_the_capsule_is_at_no_distance_and_points_to_where_they_meet(nodule, towards):
    found = capsule_distance(nodule, box(SHAPE, 20, 10, 80, 110))
    assert found.distance == 0
    assert found.point_nodule == found.point_capsule
    assert found.direction == pytest.approx(towards, abs=1e-9)


def test_a_nodule_that_is_the_whole_gland_has_no_direction():
    gland = ellipse(SHAPE, (45, 60), (25, 40))
    found = capsule_distance(gland, gland)
    assert (found.distance, found.direction) == (0, None)


def test_oblong_pixels_decide_which_capsule_is_nearest():
    gland, nodule = box(SHAPE, 10, 10, 80, 110), box(SHAPE, 22, 18, 40, 40)  # 12 px from the top, 8 px from the left
    assert capsule_distance(nodule, gland).direction == (0, -1)
    found = capsule_distance(nodule, gland, (0.1, 0.2))
    assert found.direction == (-1, 0)
    assert found.distance == pytest.approx(1.2)


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_the_image_border_is_told_apart_from_a_capsule_that_is_seen(turns):
    nodule, cut, seen = box(SHAPE, 40, 5, 50, 15), box(SHAPE, 20, 0, 80, 110), box(SHAPE, 20, 1, 80, 110)
    assert capsule_distance(np.rot90(nodule, turns), np.rot90(cut, turns)).at_image_border
    assert not capsule_distance(np.rot90(nodule, turns), np.rot90(seen, turns)).at_image_border


@repeatable
@given(st.data(), shapes, st.integers(2, 5))
def test_capsule_distance_grows_with_the_pixel(data, shape, factor):
    gland = data.draw(masks(shape))
    nodule = data.draw(masks(shape)) & gland
    assume(nodule.any())
    small, large = (capsule_distance(nodule, gland, (0.1 * k, 0.2 * k)).distance for k in (1, factor))
    assert large == pytest.approx(factor * small)


@pytest.mark.parametrize(
    ("plane", "side", "up", "down", "left", "right"),
    [
        ("transverse", "right", "anterior", "posterior", "lateral", "medial"),
        ("transverse", "left", "anterior", "posterior", "medial", "lateral"),
        ("transverse", None, "anterior", "posterior", "left of image", "right of image"),
        ("longitudinal", "right", "anterior", "posterior", "superior", "inferior"),
        ("longitudinal", None, "anterior", "posterior", "superior", "inferior"),
    ],
)
def test_directions_have_the_names_of_the_usual_display(plane, side, up, down, left, right):
    vectors = {(-0.72, 0.69): up, (0.72, -0.69): down, (0.69, -0.72): left, (-0.69, 0.72): right, (-1.0, 1.0): up}
    assert {vector: direction_name(vector, plane, side) for vector in vectors} == vectors


OUTSIDE = box(SHAPE, 0, 0, 5, 5)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: capsule_distance(OUTSIDE, GLANDS["an ellipse"]), "nodule mask: it lies wholly outside the gland"),
        (lambda: capsule_distance(OUTSIDE[:40], GLANDS["an ellipse"]), "nodule mask: its size"),
        (lambda: location_image(OUTSIDE & False, GLANDS["an ellipse"]), "nodule mask: it is empty"),
        (lambda: central_point_distance_transform(OUTSIDE & False), "gland mask: it is empty"),
        (lambda: central_point_distance_transform(np.zeros((0, 0), bool)), "gland mask: it is empty"),
        (lambda: central_point_distance_transform(OUTSIDE * 0.7), "gland mask: its pixels are float64"),
        (lambda: central_point_distance_transform(OUTSIDE[None]), "gland mask: expected"),
        (lambda: central_point_distance_transform(OUTSIDE, (0.0, 0.1)), "row spacing: 0 mm"),
        (lambda: central_point_distance_transform(OUTSIDE, (0.1, math.nan)), "column spacing: nan"),
        (lambda: central_point_distance_transform(OUTSIDE, (0.1,)), "spacing: expected"),
        (lambda: direction_name((0, 1), "coronal"), "plane: 'coronal'"),
        (lambda: direction_name((0, 1), "transverse", "middle"), "side: 'middle'"),
    ],
)
def test_input_without_a_location_is_refused_in_one_line(call, says):
    with pytest.raises(InputError) as refused:
        call()
    message = str(refused.value)
    assert message.startswith(says)
    assert "\n" not in message
    assert ";" in message  # what to do next follows
