import numpy as np
import pytest
from drawn import box, ellipse, masks, repeatable, speckle
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view
from scipy import ndimage, stats
from skimage.segmentation import find_boundaries

from llnm.errors import InputError
from llnm.features import location_image, margin_mosaic, network_images
from llnm.features.network_images import on_frame

SHAPE = (600, 800)
IMAGE = speckle(SHAPE)
NODULE = ellipse(SHAPE, (250, 420), (60, 85))
GLAND = ellipse(SHAPE, (270, 400), (150, 250))


def tiles_of(mosaic):
    return [mosaic[r : r + 16, c : c + 16] for r in range(0, 224, 16) for c in range(0, 224, 16)]


def centres_of(mosaic, image):
    """The pixel each tile is centred on, found by looking for the tile in the whole reflected image."""
    windows = sliding_window_view(np.pad(image, 8, mode="reflect"), (16, 16))
    found = []
    for tile in tiles_of(mosaic):
        candidates = np.argwhere(windows[:, :, 8, 8] == tile[8, 8])
        (place,) = [tuple(p) for p in candidates if (windows[tuple(p)] == tile).all()]
        found.append(place)
    return found


def where_it_lies(image, whole):
    """The (row, column) shift at which the pixels of `image` that are not 0 stand in `whole`."""
    r, c = np.argwhere(image > 0)[0]
    (place,) = np.argwhere(whole == image[r, c])
    return place - (r, c)


MARGINS = {
    "large": NODULE,
    "smaller than the mosaic": ellipse(SHAPE, (300, 300), (9, 12)),
    "of one pixel": box(SHAPE, 100, 100, 101, 101),
    "in a corner of the image": ellipse(SHAPE, (0, 799), (40, 60)),
    "along the bottom": box(SHAPE, 560, 300, 600, 500),
}


@pytest.mark.parametrize("nodule", MARGINS.values(), ids=MARGINS.keys())
def test_every_tile_stands_in_the_image_centred_on_a_margin_pixel(nodule):
    mosaic = margin_mosaic(IMAGE, nodule, seed=3)
    assert mosaic.shape == (224, 224)
    assert mosaic.dtype == np.float32
    margin = find_boundaries(nodule, connectivity=1, mode="inner")
    centres = centres_of(mosaic, IMAGE)
    assert all(margin[place] for place in centres)
    if margin.sum() >= 196:
        assert len(set(centres)) == 196
    else:  # 196 draws with replacement leave hardly any of a few pixels out
        assert len(set(centres)) > 0.9 * min(margin.sum(), 100)


def test_a_nodule_that_fills_the_image_has_the_image_border_for_a_margin():
    image = speckle((60, 80))
    centres = centres_of(margin_mosaic(image, np.ones((60, 80), dtype=bool)), image)
    assert all(r in (0, 59) or c in (0, 79) for r, c in centres)


@pytest.mark.parametrize("axis", [0, 1])
def test_the_order_of_the_tiles_says_nothing_of_where_they_were(axis):
    # The image holds the row (or column) number, and each tile's centre so its place; rank correlation with the order.
    image = np.indices(SHAPE)[axis].astype(np.float32) / 1000
    correlations = [
        stats.spearmanr(margin_mosaic(image, NODULE, seed)[8::16, 8::16].ravel(), np.arange(196)).statistic
        for seed in range(200)
    ]
    by_chance = 1 / np.sqrt(195)
    assert abs(np.mean(correlations)) < 3 * by_chance / np.sqrt(200)
    assert np.std(correlations) == pytest.approx(by_chance, rel=0.15)


def test_two_nodules_of_different_shape_with_the_same_edges_give_the_same_kinds_of_tiles():
    # One rectangle, and an L of the same straight edges: away from the corners nothing tells them apart.
    wide, angled = box(SHAPE, 100, 100, 300, 500), box(SHAPE, 50, 50, 550, 250) | box(SHAPE, 300, 50, 550, 700)
    straight = []
    for nodule in (wide, angled):
        image = np.where(nodule, 0.3, 0.7).astype(np.float32)
        tiles = tiles_of(margin_mosaic(image, nodule))
        constant = [t for t in tiles if (t == t[0]).all() or (t == t[:, :1]).all()]
        assert len(constant) > 0.85 * len(tiles)
        straight.append({tile.tobytes() for tile in constant})
    assert len(straight[0]) == 4
    assert straight[0] == straight[1]


def test_the_seed_and_nothing_else_chooses_the_tiles():
    first, again, other = (margin_mosaic(IMAGE, NODULE, seed) for seed in (5, 5, 6))
    assert (first == again).all()
    assert (first != other).any()
    np.random.seed(0)
    assert (margin_mosaic(IMAGE, NODULE, 5) == first).all()
    assert (network_images(IMAGE, NODULE, seed=5).margin == first).all()


def test_the_blur_of_the_edge_is_kept():
    step = np.where(NODULE, 0.2, 0.8).astype(np.float32)
    steepness = [
        np.abs(np.diff(margin_mosaic(image, NODULE).reshape(14, 16, 14, 16), axis=3)).max(axis=(1, 3)).mean()
        for image in (step, ndimage.gaussian_filter(step, 2), ndimage.gaussian_filter(step, 5))
    ]
    assert steepness[0] > 2 * steepness[1] > 4 * steepness[2]


@repeatable
@given(masks(), st.integers(0, 2**32))
def test_any_nodule_gives_a_mosaic_of_image_values(nodule, seed):
    image = speckle(nodule.shape, 1)
    assert np.isin(margin_mosaic(image, nodule, seed), image).all()


@pytest.mark.parametrize(
    "nodule",
    [NODULE, ellipse(SHAPE, (0, 799), (90, 100)), box(SHAPE, 100, 100, 308, 308), box(SHAPE, 100, 100, 101, 301)],
    ids=["in the middle", "in a corner", "as large as fits", "a line"],
)
def test_padded_keeps_every_nodule_pixel_at_its_own_value(nodule):
    images = network_images(IMAGE, nodule, GLAND)
    shift = where_it_lies(images.texture, IMAGE)
    rows, columns = (np.argwhere(nodule) - shift).T
    assert rows.min() >= 0 and columns.min() >= 0 and rows.max() < 224 and columns.max() < 224
    np.testing.assert_array_equal(images.texture[rows, columns], IMAGE[nodule])
    np.testing.assert_array_equal(images.location[rows, columns], location_image(nodule, GLAND)[nodule])
    elsewhere = np.ones((224, 224), dtype=bool)
    elsewhere[rows, columns] = False
    assert (images.location[elsewhere] == 0).all()


def test_texture_shows_the_nodule_and_eight_pixels_around_it_in_the_middle():
    texture = network_images(IMAGE, NODULE).texture
    shown = np.argwhere(texture > 0)
    shift = where_it_lies(texture, IMAGE)
    expected = ndimage.distance_transform_edt(~NODULE) <= 8
    assert {tuple(p) for p in shown + shift} == {tuple(p) for p in np.argwhere(expected)}
    np.testing.assert_allclose((shown.min(axis=0) + shown.max(axis=0)) / 2, 111.5, atol=0.5)


def test_without_a_gland_the_location_is_zero_and_the_rest_as_with_one():
    without, with_gland = network_images(IMAGE, NODULE), network_images(IMAGE, NODULE, GLAND)
    assert (without.location == 0).all()
    assert with_gland.location.max() > 0
    np.testing.assert_array_equal(without.texture, with_gland.texture)
    np.testing.assert_array_equal(without.margin, with_gland.margin)


@pytest.mark.parametrize("radii", [(180, 120), (100, 290), (20, 300)])
def test_a_nodule_too_large_is_shrunk_by_one_factor_and_not_cut(radii):
    nodule = ellipse(SHAPE, (300, 400), radii)
    smooth = ndimage.gaussian_filter(speckle(SHAPE), 15)
    images = network_images(smooth, nodule, np.ones(SHAPE, dtype=bool))
    factor = 224 / (2 * max(radii) + 1 + 16)
    y, x = np.argwhere(images.location > 0).T
    assert np.ptp(y) + 1 == pytest.approx((2 * radii[0] + 1) * factor, abs=1.5)
    assert np.ptp(x) + 1 == pytest.approx((2 * radii[1] + 1) * factor, abs=1.5)
    assert (images.location > 0).sum() == pytest.approx(nodule.sum() * factor**2, rel=0.03)
    # The same place of the tissue at the same place of both pictures: compare with the image read at the scaled grid.
    y, x = np.argwhere(images.texture > 0).T
    source = [(np.array((y, x)[axis]) - 111.5) / factor + (300, 400)[axis] for axis in (0, 1)]
    np.testing.assert_allclose(
        images.texture[y, x], ndimage.map_coordinates(smooth, source, order=1, mode="nearest"), atol=0.02
    )


def test_shrinking_averages_speckle_instead_of_picking_pixels():
    nodule = ellipse(SHAPE, (300, 400), (200, 290))  # to a third: 7 pixels a pixel
    texture = network_images(IMAGE, nodule).texture
    values = texture[texture > 0]
    assert values.mean() == pytest.approx(IMAGE[nodule].mean(), abs=0.005)
    assert values.std() < 0.5 * IMAGE[nodule].std()


def test_resize_crop_scales_the_shorter_side_to_256_and_cuts_the_ends():
    ramp = np.broadcast_to(np.linspace(0.1, 0.9, 800, dtype=np.float32), SHAPE)
    nodule = box(SHAPE, 200, 300, 248, 412)  # with context 64 x 128 px: four times as large, of which 56 x 56 px stay
    texture = network_images(ramp, nodule, size="resize-crop").texture
    inside = texture[112]
    centre, step = ramp[0, 355:357].mean(), (0.9 - 0.1) / 799 / 4
    np.testing.assert_allclose(inside, centre + (np.arange(224) - 111.5) * step, atol=1e-5)
    assert (texture[20:-20] > 0).all()


def test_resize_crop_and_padded_differ_only_in_geometry():
    cut, padded = (network_images(IMAGE, NODULE, GLAND, size=size) for size in ("resize-crop", "padded"))
    np.testing.assert_array_equal(cut.margin, padded.margin)
    assert cut.texture[112, 112] == pytest.approx(padded.texture[111:114, 111:114].mean(), abs=0.3)
    assert 0 < cut.location.max() <= 1


@repeatable
@given(masks(), masks((24, 24)), st.sampled_from(["padded", "resize-crop"]))
def test_any_masks_give_three_images_from_0_to_1(nodule, gland, size):
    gland = np.pad(gland, 24)[: nodule.shape[0], : nodule.shape[1]] | nodule
    images = network_images(speckle(nodule.shape), nodule, gland, (0.1, 0.2), size=size)
    for image in (images.location, images.texture, images.margin):
        assert image.shape == (224, 224)
        assert image.dtype == np.float32
        assert image.min() >= 0 and image.max() <= 1


@repeatable
@given(masks(), st.integers(0, 20), st.integers(0, 20))
def test_the_images_do_not_depend_on_where_in_the_frame_the_nodule_lies(nodule, down, across):
    image = np.pad(speckle(nodule.shape), 20, constant_values=0.5)
    nodule = np.pad(nodule, 20)
    gland = ndimage.binary_dilation(nodule, iterations=4)
    moved = [
        np.roll(a, (down - 8, across - 8), (0, 1)) for a in (np.pad(x, 20, mode="edge") for x in (image, nodule, gland))
    ]
    here, there = network_images(image, nodule, gland), network_images(*moved)
    for name in ("location", "texture", "margin"):
        np.testing.assert_allclose(getattr(here, name), getattr(there, name), atol=1e-6)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"size": "squashed"}, "size: 'squashed' is not known"),
        ({"seed": -1}, "seed: -1 is not usable"),
        ({"seed": 0.5}, "seed: 0.5 is not usable"),
        ({"nodule": NODULE[1:]}, "nodule mask: its size (599, 800)"),
        ({"nodule": NODULE & False}, "nodule mask: it is empty"),
        ({"gland": GLAND[:, 1:]}, "gland mask: its size (600, 799)"),
        ({"gland": GLAND & False}, "gland mask: it is empty"),
        ({"gland": GLAND, "spacing_mm": (9.0, 0.1)}, "row spacing: 9 mm"),
        ({"bmode": np.where(GLAND, np.nan, IMAGE)}, "image: it holds pixels that are not finite"),
    ],
)
def test_input_without_a_picture_is_refused_in_one_line(change, says):
    with pytest.raises(InputError) as refused:
        network_images(**{"bmode": IMAGE, "nodule": NODULE, **change})
    assert str(refused.value).startswith(says)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("size", ["padded", "resize-crop"])
@pytest.mark.parametrize("nodule", [NODULE, ellipse(SHAPE, (250, 420), (20, 30)), ellipse(SHAPE, (20, 790), (60, 40))])
def test_what_the_network_sees_lies_back_in_its_place_on_the_frame(nodule, size):
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    for position in (rows, columns):
        ramp = (0.1 + position / 1000).astype(np.float32)
        back = on_frame(network_images(ramp, nodule, GLAND, size=size).texture, nodule, size)
        assert back.shape == SHAPE
        assert not back[ndimage.distance_transform_edt(~nodule) > 12].any()
        seen = nodule & (back > 0)
        assert seen.sum() > (0.98 if size == "padded" else 0.5) * nodule.sum()
        np.testing.assert_allclose(back[seen], ramp[seen], atol=2 / 1000)
