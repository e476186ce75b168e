"""What prepare leaves of a frame: the echo alone, its brightness by the paper's percentiles."""

import numpy as np
import pytest
from imaging_examples import DATA, scan_on_black, speckle
from PIL import Image, ImageDraw

from llnm.case import Box, UltrasoundImage
from llnm.errors import InputError
from llnm.imaging import find_scan_outline, load_image, prepare, standardise_brightness

BOX = (30, 50, 200, 280)


def marked_frame(colour=None, shape="cross"):
    """An echo frame with drawn marks: (image, where they were drawn)."""
    base = scan_on_black(box=BOX) * 0.7
    grey = (base * 255).astype(np.uint8)
    ink = Image.new("L", grey.shape[::-1])
    draw = ImageDraw.Draw(ink)
    if shape == "cross":
        for x, y in ((120, 90), (180, 150)):
            draw.line((x - 6, y, x + 6, y), fill=1, width=1)
            draw.line((x, y - 6, x, y + 6), fill=1, width=1)
    else:
        for step in range(12):
            x, y = 100 + 7 * step, 80 + 4 * step
            draw.rectangle((x, y, x + 1, y + 1), fill=1)
    drawn = np.asarray(ink) > 0
    rgb = np.repeat(grey[..., None], 3, axis=2)
    rgb[drawn] = colour or (255, 255, 255)
    pixels = (rgb @ np.array([0.299, 0.587, 0.114]) / 255).astype(np.float32)
    return UltrasoundImage(pixels, rgb if colour else None), drawn, base


def test_standardised_brightness_equals_the_formula_by_hand():
    pixels = np.random.default_rng(0).gamma(2, 0.1, (80, 90)).clip(0, 1).astype(np.float32)
    inside = np.zeros((80, 90), bool)
    inside[10:60, 20:70] = True
    ordered = np.sort(pixels[inside].astype(float))

    def percentile(share):
        position = share * (len(ordered) - 1)
        below = int(position)
        return ordered[below] + (position - below) * (ordered[below + 1] - ordered[below])

    low, high = percentile(0.01), percentile(0.99)
    expected = np.clip(0.1 + 0.8 * (pixels - low) / (high - low), 0, 1)
    for where in (inside, Box(10, 20, 60, 70)):
        np.testing.assert_allclose(standardise_brightness(pixels, where), expected, atol=1e-5)


def test_standardising_does_not_depend_on_gain_and_offset():
    pixels = speckle(100, 100).astype(np.float32) / 255
    inside = np.ones(pixels.shape, bool)
    once = standardise_brightness(pixels, inside)
    np.testing.assert_allclose(standardise_brightness(0.2 + 0.4 * pixels, inside), once, atol=1e-4)
    assert np.percentile(once, 1) == pytest.approx(0.1, abs=1e-4)
    assert np.percentile(once, 99) == pytest.approx(0.9, abs=1e-4)


def test_nothing_inside_or_no_contrast_is_refused():
    with pytest.raises(InputError, match="no pixel"):
        standardise_brightness(np.zeros((9, 9), np.float32), np.zeros((9, 9), bool))
    with pytest.raises(InputError, match="no contrast"):
        standardise_brightness(np.full((9, 9), 0.5, np.float32), np.ones((9, 9), bool))


@pytest.mark.parametrize("path", ["ddti/images/1_1.jpg", "sweeps/images/24_056.jpg", "gland/images/100.jpg"])
def test_real_frames_keep_their_size_and_are_zero_outside_the_scan(path):
    image = load_image(DATA / path, spacing_mm=0.1)
    ready = prepare(image)
    outline = find_scan_outline(image)
    assert ready.bmode.shape == ready.shape == image.shape
    assert ready.bmode.dtype == np.float32
    assert ready.spacing_mm == (0.1, 0.1)
    assert not ready.bmode[~outline].any()
    assert ready.bmode.min() >= 0 and ready.bmode.max() <= 1
    low, high = np.percentile(ready.bmode[outline], (1, 99))
    assert (low, high) == pytest.approx((0.1, 0.9), abs=0.01)
    assert 0.2 < ready.quality["scan_area_fraction"] < 1


@pytest.mark.parametrize("colour", [None, (0, 255, 255), (255, 255, 0), (0, 255, 0)])
@pytest.mark.parametrize("shape", ["cross", "dots"])
def test_caliper_marks_are_filled_in_and_the_rest_is_untouched(colour, shape):
    image, drawn, base = marked_frame(colour, shape)
    clean = UltrasoundImage(base.astype(np.float32))
    marked, wanted = prepare(image), prepare(clean)
    before = np.abs(image.pixels - base)[drawn].mean()
    scale = 0.8 / wanted.quality["contrast"]
    error = np.abs(marked.bmode - wanted.bmode)
    assert error[drawn].mean() < 0.35 * before * scale
    assert marked.quality["overlay_fraction"] > 0
    far = np.asarray(Image.fromarray(drawn).resize(drawn.shape[::-1]))
    near = np.zeros_like(far)
    rows, columns = np.nonzero(far)
    for row, column in zip(rows, columns, strict=True):
        near[row - 2 : row + 3, column - 2 : column + 3] = True
    assert error[~near].max() < 0.02


def test_bright_spots_of_the_echo_are_no_marks():
    """Punctate echogenic foci: round, bright, at random places."""
    pixels = scan_on_black(box=BOX) * 0.6
    rows, columns = np.indices(pixels.shape)
    for row, column in np.random.default_rng(5).integers((40, 60), (190, 270), (25, 2)):
        pixels = np.maximum(pixels, np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 3))
    ready = prepare(UltrasoundImage(pixels.astype(np.float32)))
    assert ready.quality["overlay_fraction"] == 0


def test_real_calipers_go_and_unmarked_frames_stay():
    assert prepare(load_image(DATA / "samples" / "benign_2.jpg")).quality["overlay_fraction"] > 0
    frames = sorted((DATA / "sweeps" / "images").glob("*.jpg"))[::80]
    assert all(prepare(load_image(path)).quality["overlay_fraction"] == 0 for path in frames)


def test_doubtful_frames_are_named_in_warnings():
    pixels = scan_on_black(box=BOX)
    dull = prepare(UltrasoundImage(0.2 * pixels))
    assert any("contrast" in note for note in dull.warnings)
    white = prepare(UltrasoundImage(np.where(pixels > 0.35, 1, pixels).astype(np.float32)))
    assert any("saturated" in note for note in white.warnings)
    assert not prepare(UltrasoundImage(pixels)).warnings
    told = prepare(UltrasoundImage(pixels, warnings=("file: something",)))
    assert told.warnings == ("file: something",)
