"""Colour Doppler: told from other colour, and flow measured where it was painted."""

import numpy as np
import pytest
from imaging_examples import DATA, scan_on_black
from PIL import Image, ImageDraw
from pydicom.data import get_testdata_file

from llnm.case import UltrasoundImage
from llnm.errors import InputError
from llnm.imaging import is_colour_doppler, load_image, measure_vascularity, prepare

ROWS, COLUMNS = np.indices((240, 320))
DISTANCE = np.hypot(ROWS - 115, COLUMNS - 165)
NODULE = DISTANCE < 40


def frame(paint=None, colour=(220, 30, 20), tint=(1, 1, 1)):
    """An echo frame with `paint` (bool) in a flow colour and everything tinted."""
    grey = scan_on_black()
    rgb = np.repeat((grey * 255)[..., None], 3, axis=2)
    if paint is not None:
        rgb[paint] = colour
    rgb = np.clip(rgb * tint, 0, 255).astype(np.uint8)
    return UltrasoundImage((rgb @ np.array([0.299, 0.587, 0.114]) / 255).astype(np.float32), rgb)


@pytest.mark.parametrize("colour", [(220, 30, 20), (30, 60, 230), (255, 140, 20), (120, 10, 10)])
def test_red_and_blue_flow_is_doppler(colour):
    assert is_colour_doppler(frame(DISTANCE < 10, colour))
    assert is_colour_doppler(frame(DISTANCE < 10, colour, tint=(0.85, 0.9, 1)))


def test_grey_labels_calipers_and_tints_are_no_doppler():
    assert not is_colour_doppler(frame())
    assert not is_colour_doppler(UltrasoundImage(scan_on_black()))
    for tint in ((1, 0.85, 0.6), (0.6, 0.8, 1), (0.7, 1, 0.8)):
        assert not is_colour_doppler(frame(tint=tint))
    for colour in ((0, 255, 255), (255, 255, 0), (0, 255, 0), (255, 60, 60), (80, 80, 255)):
        label = Image.new("L", (320, 240))
        draw = ImageDraw.Draw(label)
        draw.text((90, 60), "d1 12.3 mm LOBE", fill=255)
        draw.line((100, 100, 200, 140), fill=255)
        assert not is_colour_doppler(frame(np.asarray(label) > 128, colour))


def test_real_power_doppler_is_found_and_real_bmode_with_a_blue_banner_is_not():
    for name, flow in (
        ("examples_rgb_color.dcm", True),
        ("examples_jpeg2k.dcm", True),
        ("examples_palette.dcm", False),
        ("examples_ybr_color.dcm", False),
    ):
        assert is_colour_doppler(load_image(get_testdata_file(name, download=False))) is flow, name
    for path in sorted((DATA / "samples").glob("*.jpg")):
        rgb = np.asarray(Image.open(path).convert("RGB"))
        assert not is_colour_doppler(UltrasoundImage(load_image(path).pixels, rgb))


def test_fractions_equal_the_painted_area():
    paint = NODULE & (COLUMNS > 165)
    found = measure_vascularity(frame(paint), NODULE, spacing_mm=0.1)
    assert found.inside_fraction == pytest.approx(paint.sum() / NODULE.sum(), abs=0.01)
    assert found.margin_px == pytest.approx(15)
    centre = DISTANCE < 25
    assert found.centre_fraction == pytest.approx((paint & centre).sum() / centre.sum(), abs=0.02)
    ring = (DISTANCE >= 25) & (DISTANCE < 55)
    assert found.margin_fraction == pytest.approx((paint & ring).sum() / ring.sum(), abs=0.02)
    assert found.pattern == "mixed" or found.centre_fraction >= 2 * found.margin_fraction


@pytest.mark.parametrize(
    ("paint", "pattern"),
    [
        (DISTANCE > 500, "none"),
        (np.abs(DISTANCE - 40) < 6, "peripheral"),
        (DISTANCE < 15, "central"),
        ((DISTANCE < 60) & (COLUMNS % 12 < 6), "mixed"),
    ],
)
@pytest.mark.parametrize("spacing", [None, 0.1, (0.1, 0.12)])
def test_the_pattern_follows_where_the_flow_is(paint, pattern, spacing):
    assert measure_vascularity(frame(paint), NODULE, spacing).pattern == pattern


def test_the_image_own_spacing_is_used_and_coloured_calipers_are_no_flow():
    calipers = (np.abs(ROWS - 115) < 2) & (np.abs(COLUMNS - 165) < 10)
    image = frame(calipers, (0, 255, 255))
    assert measure_vascularity(image.with_spacing(0.1), NODULE).inside_fraction == 0
    assert measure_vascularity(image.with_spacing(0.1), NODULE).margin_px == pytest.approx(15)
    assert measure_vascularity(image, NODULE).margin_px == pytest.approx(8, abs=0.1)


def test_a_nodule_of_a_few_pixels_still_has_a_centre():
    tiny = DISTANCE < 2
    found = measure_vascularity(frame(DISTANCE < 8), tiny, spacing_mm=0.1)
    assert found.inside_fraction == 1 and found.centre_fraction == 1


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(InputError, match="no colour"):
        measure_vascularity(UltrasoundImage(scan_on_black()), NODULE)
    with pytest.raises(InputError, match="size"):
        measure_vascularity(frame(NODULE), NODULE[:-1])
    with pytest.raises(InputError, match="empty"):
        measure_vascularity(frame(NODULE), np.zeros_like(NODULE))


def test_prepare_warns_of_doppler_and_leaves_the_flow_where_it_is():
    ready = prepare(frame(DISTANCE < 20))
    assert any("colour Doppler" in note for note in ready.warnings)
    assert ready.quality["overlay_fraction"] == 0 and ready.quality["colour_fraction"] > 0.01
