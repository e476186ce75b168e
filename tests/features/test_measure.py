import json

import numpy as np
import pytest
from drawn import box, ellipse, real_gland_views, repeatable, speckle
from hypothesis import given
from hypothesis import strategies as st

from llnm.errors import InputError
from llnm.features import measure, network_images

SHAPE = (300, 400)
NODULE = box(SHAPE, 120, 100, 150, 160)
GLAND = box(SHAPE, 100, 60, 250, 350)
IMAGE = np.where(NODULE, 0.3, 0.55).astype(np.float32)


def test_a_view_with_everything_known_gives_every_feature():
    features = measure(IMAGE, NODULE, GLAND, (0.05, 0.1), "transverse", "left")
    assert features.as_dict() == pytest.approx(
        {
            "width_mm": 6.0,
            "height_mm": 1.5,
            "aspect_ratio": 0.25,
            "area_mm2": 9.0,
            "echogenicity_difference": 0.25,
            "capsule_distance_mm": 1.0,
            "width_px": 60,
            "height_px": 30,
            "area_px": 1800,
            "capsule_distance_px": 20,
            "capsule_direction": "anterior",
            "capsule_at_image_border": False,
            "nodule_outside_gland": False,
            "fraction_inside_gland": 1.0,
        }
    )


def test_without_a_spacing_there_are_pixels_and_ratios_but_no_millimetres():
    features = measure(IMAGE, NODULE, GLAND)
    assert [features.width_mm, features.height_mm, features.area_mm2, features.capsule_distance_mm] == [None] * 4
    assert (features.width_px, features.height_px, features.area_px, features.capsule_distance_px) == (60, 30, 1800, 20)
    assert features.aspect_ratio == 0.5
    assert features.echogenicity_difference == pytest.approx(0.25)


def test_without_a_gland_there_is_no_location():
    features = measure(IMAGE, NODULE, spacing_mm=(0.1, 0.1))
    assert features.width_mm == pytest.approx(6)
    assert features.capsule_distance_mm is None
    assert features.capsule_distance_px is None
    assert features.capsule_direction is None
    assert features.fraction_inside_gland is None
    assert features.nodule_outside_gland is False


def test_a_nodule_wholly_outside_the_gland_gives_no_distance():
    features = measure(IMAGE, box(SHAPE, 10, 10, 40, 50), GLAND, (0.1, 0.1))
    assert features.nodule_outside_gland is True
    assert features.fraction_inside_gland == 0
    assert features.capsule_distance_mm is None
    assert features.capsule_distance_px is None
    assert features.capsule_direction is None
    assert features.width_mm == pytest.approx(4)


def test_a_nodule_across_the_capsule_says_how_much_of_it_is_inside():
    features = measure(IMAGE, box(SHAPE, 70, 100, 110, 140), GLAND, (0.1, 0.1))
    assert (features.nodule_outside_gland, features.fraction_inside_gland) == (False, 0.25)
    assert (features.capsule_distance_mm, features.capsule_direction) == (0, "anterior")


@pytest.mark.parametrize(
    ("plane", "side", "name"),
    [
        ("transverse", "right", "medial"),
        ("transverse", "left", "lateral"),
        ("transverse", None, "right of image"),
        ("longitudinal", None, "inferior"),
    ],
)
def test_the_direction_has_the_name_for_plane_and_side(plane, side, name):
    assert measure(IMAGE, box(SHAPE, 160, 320, 190, 345), GLAND, None, plane, side).capsule_direction == name


def test_the_direction_is_the_one_in_millimetres():
    nodule = box(SHAPE, 112, 70, 180, 160)  # 12 px from the top and 10 px from the left of the gland
    pixels, millimetres = measure(IMAGE, nodule, GLAND), measure(IMAGE, nodule, GLAND, (0.05, 0.1))
    assert (pixels.capsule_direction, pixels.capsule_distance_px) == ("left of image", 10)
    assert (millimetres.capsule_direction, millimetres.capsule_distance_px) == ("anterior", 12)
    assert millimetres.capsule_distance_mm == pytest.approx(0.6)


@repeatable
@given(st.integers(0, 40), st.integers(0, 90), st.sampled_from([0, 1]))
def test_features_do_not_change_when_the_scene_is_moved_or_mirrored(down, across, axis):
    scene = [ellipse(SHAPE, (120, 150), (20, 33), 25), ellipse(SHAPE, (130, 160), (60, 100))]
    image = np.where(scene[0], 0.3, np.where(scene[1], 0.6, 0.45)).astype(np.float32)
    still = measure(image, *scene, (0.05, 0.1)).as_dict()
    moved = measure(
        *(np.roll(np.flip(a, axis), (down, across), (0, 1)) for a in (image, *scene)), (0.05, 0.1)
    ).as_dict()
    mirrored = {"anterior": "posterior", "left of image": "right of image"}
    direction, moved_direction = still.pop("capsule_direction"), moved.pop("capsule_direction")
    assert moved == pytest.approx(still, abs=1e-6)
    flips = (axis == 0) == (direction in ("anterior", "posterior"))
    assert moved_direction == ({**mirrored, **{b: a for a, b in mirrored.items()}}[direction] if flips else direction)


def test_features_are_written_to_json_and_read_back_unchanged():
    for features in (measure(IMAGE, NODULE, GLAND, (0.05, 0.1)), measure(speckle(SHAPE), np.ones(SHAPE, dtype=bool))):
        values = features.as_dict()
        assert json.loads(json.dumps(values, allow_nan=False)) == values


def test_real_views_give_sane_features_and_pictures():
    measured = {}
    for name, bmode, nodule, gland in real_gland_views():
        features = measured[name] = measure(bmode, nodule, gland, (0.1, 0.1), "longitudinal")
        assert 0 < features.width_px <= bmode.shape[1]
        assert 0 < features.height_px <= bmode.shape[0]
        assert features.area_px <= features.width_px * features.height_px
        assert features.echogenicity_difference is not None and abs(features.echogenicity_difference) < 0.5
        assert features.nodule_outside_gland is False
        assert 0 <= features.capsule_distance_mm <= max(gland.shape) / 20
        assert features.capsule_distance_mm == pytest.approx(features.capsule_distance_px / 10)
        assert features.capsule_direction in ("anterior", "posterior", "superior", "inferior")
    assert len(measured) == 206
    # Two nodules of this data were drawn beside their gland; the share inside tells them from all others.
    assert {name for name, f in measured.items() if f.fraction_inside_gland < 0.9} == {"212", "215"}
    assert 0.6 < np.median([f.aspect_ratio for f in measured.values()]) < 0.9
    assert np.median([f.echogenicity_difference for f in measured.values()]) > 0.03  # most nodules are hypoechoic


def test_real_views_give_pictures_with_the_brightness_of_the_nodule():
    for _, bmode, nodule, gland in list(real_gland_views())[::7]:
        images = network_images(bmode, nodule, gland, (0.1, 0.1))
        assert images.texture[images.location > 0].mean() == pytest.approx(bmode[nodule].mean(), abs=0.03)
        assert all(i.min() >= 0 and i.max() <= 1 for i in (images.location, images.texture, images.margin))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"bmode": IMAGE * 255}, "image: its values reach from"),
        ({"bmode": np.full(SHAPE, np.nan)}, "image: it holds pixels that are not finite"),
        ({"nodule": NODULE[1:]}, "nodule mask: its size (299, 400) differs from the image's (300, 400)"),
        ({"nodule": NODULE & False}, "nodule mask: it is empty"),
        ({"gland": GLAND[1:]}, "gland mask: its size"),
        ({"gland": GLAND & False}, "gland mask: it is empty"),
        ({"spacing_mm": (0.1, -0.1)}, "column spacing: -0.1"),
        ({"spacing_mm": ("a", 0.1)}, "row spacing: 'a' is not a number"),
        ({"spacing_mm": 0.1}, "spacing: expected (row, column)"),
        ({"plane": "coronal"}, "plane: 'coronal' is not known"),
        ({"side": "R"}, "side: 'R' is not known"),
    ],
)
def test_input_that_cannot_be_measured_is_refused_in_one_line(change, says):
    with pytest.raises(InputError) as refused:
        measure(**{"bmode": IMAGE, "nodule": NODULE, **change})
    assert str(refused.value).startswith(says)
    assert "\n" not in str(refused.value)
