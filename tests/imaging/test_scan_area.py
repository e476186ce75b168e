"""The scan area on drawn frames, where it is known, and on real ones, where the nodule must stay inside."""

import numpy as np
import pytest
from imaging_examples import DATA, scan_on_black, speckle
from PIL import Image, ImageDraw

from llnm.case import Box, UltrasoundImage
from llnm.imaging import find_scan_area, find_scan_outline, load_image, load_mask

TRUE_BOX = (30, 50, 200, 280)
LETTER = "P100 12L6 31fps DR65"


def overlap(found, truth):
    """Intersection over union of two boxes."""
    a, b = np.zeros((2, 300, 400), bool)
    a[found.slices], b[truth.slices] = True, True
    return (a & b).sum() / (a | b).sum()


def decorated(level=0):
    """A frame with ruler ticks, a grey bar, text and a logo around the scan."""
    picture = Image.fromarray((scan_on_black(box=TRUE_BOX, level=level) * 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((8, 100, 15, 180), fill=230)
    draw.text((90, 215), "DER", fill=255)
    for line, word in enumerate(LETTER.split()):
        draw.text((288, 40 + 11 * line), word, fill=255)
    for row in range(30, 200, 20):
        draw.rectangle((44, row, 46, row + 1), fill=255)
    draw.ellipse((290, 205, 312, 225), outline=255)
    return UltrasoundImage(np.asarray(picture, dtype=np.float32) / 255)


@pytest.mark.parametrize("level", [0, 28])
def test_rulers_text_grey_bar_and_logo_stay_outside(level):
    assert overlap(find_scan_area(decorated(level)), Box(*TRUE_BOX)) > 0.94


def test_photograph_of_a_screen_with_uneven_light_and_noise_is_cut_to_the_scan():
    frame = decorated(level=20).pixels
    rows, columns = np.indices(frame.shape)
    light = 0.06 + 0.10 * columns / frame.shape[1] + 0.04 * rows / frame.shape[0]
    noise = np.random.default_rng(3).normal(0, 0.004, frame.shape)
    photograph = UltrasoundImage(np.clip(frame + light + noise, 0, 1).astype(np.float32))
    assert overlap(find_scan_area(photograph), Box(*TRUE_BOX)) > 0.88


def test_the_outline_of_a_sector_scan_follows_its_slanted_sides():
    rows, columns = np.indices((300, 400))
    sector = (np.abs(columns - 200) < 60 + 0.4 * rows) & (rows > 20) & (rows < 280)
    pixels = np.where(sector, 0.1 + speckle(300, 400) / 400, 0).astype(np.float32)
    outline = find_scan_outline(UltrasoundImage(pixels))
    assert (outline & sector).sum() / (outline | sector).sum() > 0.95


def test_a_frame_that_is_all_echo_is_kept_whole():
    image = UltrasoundImage((0.2 + speckle(200, 300) / 400).astype(np.float32))
    assert find_scan_area(image) == Box(0, 0, 200, 300)


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_the_area_grows_with_the_frame(factor):
    small = decorated()
    large = UltrasoundImage(np.kron(small.pixels, np.ones((factor, factor), np.float32)))
    found = find_scan_area(large)
    truth = Box(*(factor * edge for edge in TRUE_BOX))
    for edge in ("top", "left", "bottom", "right"):
        assert abs(getattr(found, edge) - getattr(truth, edge)) <= 5 * factor


def test_a_declared_region_is_taken_as_it_stands():
    plain = decorated()
    region = Box(40, 60, 150, 250)
    image = UltrasoundImage(plain.pixels, region=region)
    assert find_scan_area(image) == region
    outside = np.ones(image.shape, bool)
    outside[region.slices] = False
    assert not find_scan_outline(image)[outside].any()


@pytest.mark.parametrize(("source", "step", "least"), [("ddti", 6, 0.99), ("sweeps", 40, 1.0), ("gland", 6, 1.0)])
def test_no_real_nodule_is_cut(source, step, least):
    """Four of ddti's 365 masks reach up to 0.9 % of their pixels over the edge of the echo; no other mask is cut."""
    masks = sorted((DATA / source / "nodule").glob("*.png"))[::step]
    shares = []
    for path in masks:
        image = load_image(DATA / source / "images" / f"{path.stem}.jpg")
        nodule = np.asarray(Image.open(path)) > 0
        if nodule.any():
            nodule = load_mask(path, image.shape)
            shares.append((nodule & find_scan_outline(image)).sum() / nodule.sum())
    assert len(shares) > 25
    assert min(shares) >= least
    assert np.mean(shares) > 0.9995


def test_the_text_column_and_the_grey_bar_of_ddti_are_outside():
    paths = sorted((DATA / "ddti" / "images").glob("*.jpg"))[::12]
    areas = [find_scan_area(load_image(path)) for path in paths]
    assert all(area.bottom <= 345 for area in areas)  # the word under the scan
    assert np.mean([area.right <= 545 for area in areas]) >= 0.9  # the settings at the right
    assert np.mean([area.left >= 12 for area in areas]) >= 0.9  # the grey bar
