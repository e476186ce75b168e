"""Raster and volume files: pixels, colour, spacing, frames, and one line for whatever is wrong."""

import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from imaging_examples import DATA, coloured, speckle
from PIL import Image

from llnm.errors import InputError
from llnm.imaging import load_image

GREY = speckle()
SUFFIXES = ("png", "jpg", "tif", "nii", "nii.gz", "nrrd", "mha")
LUMA = np.array([0.299, 0.587, 0.114])


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".tiff"])
def test_grey_rasters_are_read_exactly(tmp_path, suffix):
    path = tmp_path / f"frame{suffix}"
    Image.fromarray(GREY).save(path)
    image = load_image(path)
    assert image.pixels.dtype == np.float32
    np.testing.assert_allclose(image.pixels, GREY / 255, atol=1e-6)
    assert image.spacing_mm is None and image.colour is None


def test_jpeg_is_read_within_its_loss_and_its_chroma_noise_is_no_colour(tmp_path):
    path = tmp_path / "frame.jpg"
    Image.fromarray(np.repeat(GREY[..., None], 3, axis=2)).save(path, quality=60)
    image = load_image(path)
    assert np.abs(image.pixels - GREY / 255).mean() < 0.02
    assert image.colour is None


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bit_grey_uses_the_depth_that_holds_it(tmp_path, suffix):
    path = tmp_path / f"frame{suffix}"
    full = GREY.astype(np.uint16) * 257
    Image.fromarray(full).save(path)
    np.testing.assert_allclose(load_image(path).pixels, full / 65535, atol=1e-6)
    twelve = GREY.astype(np.uint16) * 16
    Image.fromarray(twelve).save(path)
    np.testing.assert_allclose(load_image(path).pixels, twelve / 4095, atol=1e-6)


def test_a_few_coloured_marks_make_a_frame_coloured(tmp_path):
    rgb = np.repeat(GREY[..., None], 3, axis=2)
    rgb[40:44, 50:60] = (0, 255, 255)
    path = tmp_path / "marked.png"
    Image.fromarray(rgb).save(path)
    image = load_image(path)
    np.testing.assert_array_equal(image.colour, rgb)
    np.testing.assert_allclose(image.pixels, rgb @ LUMA / 255, atol=1e-5)


def test_palette_alpha_and_one_bit_images_show_what_a_viewer_shows(tmp_path):
    rgb = coloured()
    palette = Image.fromarray(rgb).quantize(64)
    palette.save(tmp_path / "palette.png")
    np.testing.assert_array_equal(load_image(tmp_path / "palette.png").colour, np.asarray(palette.convert("RGB")))

    alpha = np.full((*GREY.shape, 1), 255, dtype=np.uint8)
    alpha[:20] = 0
    Image.fromarray(np.concatenate([rgb, alpha], axis=2)).save(tmp_path / "alpha.png")
    seen = load_image(tmp_path / "alpha.png").colour
    assert not seen[:20].any()
    np.testing.assert_array_equal(seen[20:], rgb[20:])

    Image.fromarray(np.stack([GREY, np.full_like(GREY, 255)], axis=2), "LA").save(tmp_path / "la.png")
    np.testing.assert_allclose(load_image(tmp_path / "la.png").pixels, GREY / 255, atol=1e-5)

    bits = GREY > 128
    Image.fromarray(bits).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(load_image(tmp_path / "bits.png").pixels, bits)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured(tmp_path, orientation):
    stored = {
        1: GREY,
        2: GREY[:, ::-1],
        3: GREY[::-1, ::-1],
        4: GREY[::-1],
        5: GREY.T,
        6: GREY.T[::-1],
        7: GREY.T[::-1, ::-1],
        8: GREY.T[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / "phone.png"
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif)
    np.testing.assert_allclose(load_image(path).pixels, GREY / 255, atol=1e-6)


def test_pages_of_a_tiff_are_frames(tmp_path):
    pages = [speckle(seed=seed) for seed in range(4)]
    path = tmp_path / "loop.tif"
    Image.fromarray(pages[0]).save(path, save_all=True, append_images=[Image.fromarray(page) for page in pages[1:]])
    np.testing.assert_allclose(load_image(path, frame=3).pixels, pages[3] / 255, atol=1e-6)
    middle = load_image(path)
    np.testing.assert_allclose(middle.pixels, pages[2] / 255, atol=1e-6)
    assert any("4 frames" in note for note in middle.warnings)
    with pytest.raises(InputError, match="give one of 0 to 3"):
        load_image(path, frame=4)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha", ".mhd"])
def test_volumes_keep_rows_columns_and_spacing(tmp_path, suffix):
    path = tmp_path / f"frame{suffix}"
    single = sitk.GetImageFromArray(GREY)
    single.SetSpacing((0.08, 0.11))  # x (columns), y (rows)
    sitk.WriteImage(single, str(path))
    image = load_image(path)
    np.testing.assert_allclose(image.pixels, GREY / 255, atol=1e-6)
    assert image.spacing_mm == pytest.approx((0.11, 0.08))

    stack = np.stack([speckle(seed=seed) for seed in range(3)])
    volume = sitk.GetImageFromArray(stack)
    volume.SetSpacing((0.08, 0.11, 1.0))
    sitk.WriteImage(volume, str(path))
    np.testing.assert_allclose(load_image(path, frame=2).pixels, stack[2] / 255, atol=1e-6)
    assert any("3 frames" in note for note in load_image(path).warnings)

    sitk.WriteImage(sitk.GetImageFromArray(stack[:1]), str(path))
    unit = load_image(path)
    np.testing.assert_allclose(unit.pixels, stack[0] / 255, atol=1e-6)
    assert unit.spacing_mm is None
    assert any("1 mm per pixel" in note for note in unit.warnings)


def test_colour_nrrd_and_float_nifti_are_read(tmp_path):
    rgb = coloured()
    sitk.WriteImage(sitk.GetImageFromArray(rgb, isVector=True), str(tmp_path / "rgb.nrrd"))
    np.testing.assert_array_equal(load_image(tmp_path / "rgb.nrrd").colour, rgb)
    sitk.WriteImage(sitk.GetImageFromArray((GREY / 255).astype(np.float32)), str(tmp_path / "float.nii.gz"))
    np.testing.assert_allclose(load_image(tmp_path / "float.nii.gz").pixels, GREY / 255, atol=1e-6)
    signed = GREY.astype(np.int16) - 100
    sitk.WriteImage(sitk.GetImageFromArray(signed), str(tmp_path / "signed.nii"))
    shifted = load_image(tmp_path / "signed.nii")
    assert np.corrcoef(shifted.pixels.ravel(), GREY.ravel())[0, 1] > 0.9999
    assert any("negative" in note for note in shifted.warnings)


def test_names_in_other_scripts_and_with_spaces_work(tmp_path):
    folder = tmp_path / "甲状腺 结节 é"
    folder.mkdir()
    Image.fromarray(GREY).save(folder / "横切面 ñ.png")
    sitk.WriteImage(sitk.GetImageFromArray(GREY), str(folder / "纵切面.nii.gz"))
    for name in ("横切面 ñ.png", "纵切面.nii.gz"):
        np.testing.assert_allclose(load_image(folder / name).pixels, GREY / 255, atol=1e-6)
    assert load_image(str(folder / "横切面 ñ.png")).shape == GREY.shape


def test_spacing_given_by_hand_goes_first_and_a_contradiction_is_said(tmp_path):
    frame = sitk.GetImageFromArray(GREY)
    frame.SetSpacing((0.1, 0.1))
    path = tmp_path / "frame.nrrd"
    sitk.WriteImage(frame, str(path))
    given = load_image(path, spacing_mm=0.05)
    assert given.spacing_mm == (0.05, 0.05) and given.spacing_source == "given by hand"
    assert any("differs" in note for note in given.warnings)
    assert not load_image(path, spacing_mm=0.1).warnings
    for wrong in (0, -1, 5, float("nan")):
        with pytest.raises(InputError, match="spacing"):
            load_image(path, spacing_mm=wrong)


def png_header_only(width, height):
    """A PNG of that size with hardly any pixel data."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def write_bad_files(folder):
    """Name of each bad file and what its message must say."""
    noise = speckle()
    Image.fromarray(noise).save(folder / "whole.png")
    Image.fromarray(noise).save(folder / "whole.jpg")
    Image.fromarray(noise).save(folder / "whole.tif")
    sitk.WriteImage(sitk.GetImageFromArray(noise), str(folder / "whole.nii.gz"))
    for suffix in ("nii", "nrrd", "mha"):
        sitk.WriteImage(sitk.GetImageFromArray(noise), str(folder / f"whole.{suffix}"))
    for suffix in SUFFIXES:
        data = (folder / f"whole.{suffix}").read_bytes()
        (folder / f"cut.{suffix}").write_bytes(data[: len(data) // 2])
        (folder / f"stub.{suffix}").write_bytes(data[:12])
        (folder / f"empty.{suffix}").write_bytes(b"")
        (folder / f"text.{suffix}").write_text("Dear colleague, please find the image attached.\n" * 5)
    (folder / "huge.png").write_bytes(png_header_only(20000, 20000))
    (folder / "long.png").write_bytes(png_header_only(9000, 100))
    for name, array in {
        "one.png": noise[:1, :1],
        "thin.png": noise[:20],
        "blank.png": np.full((64, 64), 90, np.uint8),
        "black.png": np.zeros((64, 64), np.uint8),
    }.items():
        Image.fromarray(np.ascontiguousarray(array)).save(folder / name)
    nan = (noise / 255).astype(np.float32)
    nan[3, 4] = np.nan
    sitk.WriteImage(sitk.GetImageFromArray(nan), str(folder / "nan.nrrd"))
    Image.fromarray(nan).save(folder / "nan.tif")
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((1, 1), np.uint8)), str(folder / "one.nii.gz"))
    four = sitk.GetImageFromArray(np.zeros((2, 3, 40, 40), np.uint8), isVector=False)
    sitk.WriteImage(four, str(folder / "four.nii.gz"))
    flow = np.random.default_rng(0).random((40, 50, 2))
    sitk.WriteImage(sitk.GetImageFromArray(flow, isVector=True), str(folder / "vectors.nrrd"))
    (folder / "letter.docx").write_bytes(b"PK\x03\x04" + b"x" * 200)
    (folder / "movie.mp4").write_bytes(bytes(range(256)) * 4)
    (folder / "folder.png").mkdir()
    said = dict.fromkeys(("one.png", "thin.png"), "small|at least 32")
    said |= dict.fromkeys(("blank.png", "black.png"), "blank")
    said |= {"huge.png": "20000 x 20000|too many pixels", "long.png": "over 8192", "nan.nrrd": "NaN", "nan.tif": "NaN"}
    said |= {"letter.docx": "not supported", "movie.mp4": "not supported", "folder.png": "folder"}
    said |= {"vectors.nrrd": "neither grey nor RGB"}
    said |= {"one.nii.gz": "two-dimensional", "four.nii.gz": "two-dimensional", "missing.png": "no such file"}
    for suffix in SUFFIXES:
        said |= {
            f"cut.{suffix}": "cannot be read",
            f"empty.{suffix}": "empty",
            f"text.{suffix}": "is no|cannot be read",
        }
        said |= {f"stub.{suffix}": "is no|cannot be read"}
    return said


def test_bad_files_end_in_one_line_that_names_file_and_remedy(tmp_path, capsys):
    for name, pattern in write_bad_files(tmp_path).items():
        with pytest.raises(InputError, match=pattern) as error:
            load_image(tmp_path / name)
        message = str(error.value)
        assert name in message and ";" in message and "\n" not in message, message
    assert capsys.readouterr() == ("", "")


def test_huge_images_are_refused_without_being_decoded(tmp_path):
    path = tmp_path / "huge.png"
    path.write_bytes(png_header_only(8193, 8193))
    code = f"""
import resource
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
from llnm.errors import InputError
from llnm.imaging import load_image
try:
    load_image({str(path)!r})
except InputError as error:
    print(error)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "8193 x 8193" in result.stdout


def test_importing_the_room_needs_neither_torch_nor_monai():
    code = "import sys, llnm.imaging; print(sorted({'torch', 'monai', 'SimpleITK', 'pydicom'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_real_frames_of_every_source_are_read():
    for folder, shape in (("ddti/images", (360, 560)), ("samples", (512, 512))):
        for path in sorted((DATA / folder).glob("*.jpg"))[:3]:
            image = load_image(path)
            assert image.shape == shape
            np.testing.assert_allclose(image.pixels, np.asarray(Image.open(path).convert("L")) / 255, atol=0.004)
