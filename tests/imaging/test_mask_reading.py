"""Masks: what is inside, and what is refused."""

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from imaging_examples import DATA, speckle
from PIL import Image

from llnm.errors import InputError
from llnm.imaging import load_mask

SHAPE = (80, 120)
ROWS, COLUMNS = np.indices(SHAPE)
DISC = np.hypot(ROWS - 40, COLUMNS - 60) < 22


@pytest.mark.parametrize("inside", [1, 2, 127, 255])
@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".nii.gz", ".nrrd", ".mha"])
def test_anything_above_zero_is_inside(tmp_path, suffix, inside):
    path = tmp_path / f"mask{suffix}"
    values = (DISC * inside).astype(np.uint8)
    if suffix in {".png", ".bmp", ".tif"}:
        Image.fromarray(values).save(path)
    else:
        sitk.WriteImage(sitk.GetImageFromArray(values), str(path))
    mask = load_mask(path, SHAPE)
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, DISC)


def test_label_maps_keep_every_label(tmp_path):
    labels = (DISC.astype(np.uint8) + (DISC & (ROWS > 40))).astype(np.uint8)
    Image.fromarray(labels).save(tmp_path / "labels.png")
    np.testing.assert_array_equal(load_mask(tmp_path / "labels.png", SHAPE), DISC)


@pytest.mark.parametrize("quality", [20, 50, 90])
def test_a_lossy_jpeg_mask_is_cut_at_half_its_maximum(tmp_path, quality):
    Image.fromarray((DISC * 255).astype(np.uint8)).save(tmp_path / "mask.jpg", quality=quality)
    mask = load_mask(tmp_path / "mask.jpg", SHAPE)
    assert (mask ^ DISC).sum() < 0.03 * DISC.sum()
    Image.open(tmp_path / "mask.jpg").save(tmp_path / "saved_again.png")
    np.testing.assert_array_equal(load_mask(tmp_path / "saved_again.png", SHAPE), mask)


def test_coloured_and_transparent_drawings_are_masks_too(tmp_path):
    drawing = np.zeros((*SHAPE, 4), np.uint8)
    drawing[DISC] = (0, 0, 200, 180)
    drawing[~DISC, 0] = 255  # hidden under full transparency
    Image.fromarray(drawing).save(tmp_path / "drawing.png")
    np.testing.assert_array_equal(load_mask(tmp_path / "drawing.png", SHAPE), DISC)


def test_a_mask_of_another_size_names_both_sizes(tmp_path):
    Image.fromarray((DISC * 255).astype(np.uint8)).save(tmp_path / "mask.png")
    with pytest.raises(InputError, match="120 x 80 pixels, the image 80 x 120") as error:
        load_mask(tmp_path / "mask.png", (120, 80))
    assert "mask.png" in str(error.value)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_an_empty_mask_is_refused(tmp_path, suffix):
    Image.fromarray(np.random.default_rng(0).integers(0, 2 if suffix == ".jpg" else 1, SHAPE).astype(np.uint8)).save(
        tmp_path / f"mask{suffix}", quality=95
    )
    with pytest.raises(InputError, match="empty"):
        load_mask(tmp_path / f"mask{suffix}", SHAPE)


def test_stacks_nan_text_and_missing_masks_are_refused(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(np.ones((3, *SHAPE), np.uint8)), str(tmp_path / "stack.nrrd"))
    sitk.WriteImage(sitk.GetImageFromArray(np.full(SHAPE, np.nan, np.float32)), str(tmp_path / "nan.nrrd"))
    pages = [Image.fromarray(speckle(*SHAPE, seed=seed)) for seed in range(2)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    (tmp_path / "text.png").write_text("no mask")
    for name in ("stack.nrrd", "nan.nrrd", "pages.tif", "text.png", "missing.png"):
        with pytest.raises(InputError, match=name):
            load_mask(tmp_path / name, SHAPE)


def test_real_masks_equal_their_files():
    for source in ("ddti", "gland"):
        for path in sorted((DATA / source / "nodule").glob("*.png"))[:5]:
            stored = np.asarray(Image.open(path))
            if stored.any():
                np.testing.assert_array_equal(load_mask(path, stored.shape), stored > 0)
