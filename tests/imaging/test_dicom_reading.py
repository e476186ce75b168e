"""DICOM files of every kind against the pixels that were put into them."""

import subprocess
import sys
import warnings

import gdcm
import numpy as np
import pytest
from imaging_examples import PATIENT, bmode_region, coloured, speckle, ultrasound_dataset, write_dicom
from pydicom import dcmread
from pydicom.data import get_testdata_file

from llnm.case import Box
from llnm.errors import InputError
from llnm.imaging import find_scan_area, load_image

LUMA = np.array([0.299, 0.587, 0.114])


def rgb_to_ybr(rgb):
    """PS3.3 C.7.6.3.1.2, written out."""
    matrix = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
    return (rgb @ matrix.T + [0, 128, 128]).round().clip(0, 255).astype(np.uint8)


def compress(source, target, syntax):
    reader = gdcm.ImageReader()
    reader.SetFileName(str(source))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(target))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return target


def test_monochrome2_is_read_as_it_is(tmp_path):
    pixels = speckle()
    image = load_image(write_dicom(ultrasound_dataset(pixels), tmp_path / "a.dcm"))
    assert image.pixels.dtype == np.float32
    np.testing.assert_allclose(image.pixels, pixels / 255, atol=1e-6)
    assert image.colour is None


def test_monochrome1_is_turned_over(tmp_path):
    pixels = speckle()
    image = load_image(write_dicom(ultrasound_dataset(pixels, "MONOCHROME1"), tmp_path / "a.dcm"))
    np.testing.assert_allclose(image.pixels, 1 - pixels / 255, atol=1e-6)


def test_twelve_stored_bits_in_sixteen_use_the_full_range(tmp_path):
    pixels = speckle().astype(np.uint16) * 16
    image = load_image(write_dicom(ultrasound_dataset(pixels, bits=12), tmp_path / "a.dcm"))
    np.testing.assert_allclose(image.pixels, pixels / 4095, atol=1e-6)


def test_rgb_keeps_its_colour_and_gives_its_luminance(tmp_path):
    rgb = coloured()
    image = load_image(write_dicom(ultrasound_dataset(rgb, "RGB"), tmp_path / "a.dcm"))
    np.testing.assert_array_equal(image.colour, rgb)
    np.testing.assert_allclose(image.pixels, rgb @ LUMA / 255, atol=1e-5)


def test_planar_rgb_equals_interleaved_rgb(tmp_path):
    rgb = coloured()
    dataset = ultrasound_dataset(rgb, "RGB")
    dataset.PlanarConfiguration = 1
    dataset.PixelData = rgb.transpose(2, 0, 1).tobytes()
    np.testing.assert_array_equal(load_image(write_dicom(dataset, tmp_path / "a.dcm")).colour, rgb)


def test_rgb_whose_channels_agree_has_no_colour(tmp_path):
    grey = speckle()
    dataset = ultrasound_dataset(np.repeat(grey[..., None], 3, axis=2), "RGB")
    image = load_image(write_dicom(dataset, tmp_path / "a.dcm"))
    assert image.colour is None
    np.testing.assert_allclose(image.pixels, grey / 255, atol=1e-5)


def test_ybr_full_is_converted(tmp_path):
    rgb = coloured()
    image = load_image(write_dicom(ultrasound_dataset(rgb_to_ybr(rgb), "YBR_FULL"), tmp_path / "a.dcm"))
    assert np.abs(image.colour.astype(int) - rgb).max() <= 3


def test_ybr_full_422_is_converted(tmp_path):
    rgb = np.repeat(coloured(96, 64), 2, axis=1)  # pairs of equal pixels lose nothing to the shared chroma
    ybr = rgb_to_ybr(rgb)
    packed = np.stack([ybr[:, ::2, 0], ybr[:, 1::2, 0], ybr[:, ::2, 1], ybr[:, ::2, 2]], axis=-1)
    dataset = ultrasound_dataset(ybr, "YBR_FULL_422")
    dataset.PixelData = packed.tobytes()
    image = load_image(write_dicom(dataset, tmp_path / "a.dcm"))
    assert np.abs(image.colour.astype(int) - rgb).max() <= 3


def test_palette_colour_is_looked_up(tmp_path):
    index = speckle()
    table = np.random.default_rng(1).integers(0, 256, (256, 3))
    dataset = ultrasound_dataset(index, "PALETTE COLOR")
    for channel, name in enumerate(("Red", "Green", "Blue")):
        setattr(dataset, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(dataset, f"{name}PaletteColorLookupTableData", (table[:, channel] * 257).astype("<u2").tobytes())
    image = load_image(write_dicom(dataset, tmp_path / "a.dcm"))
    np.testing.assert_array_equal(image.colour, table[index])


@pytest.mark.parametrize(
    ("syntax", "tolerance"),
    [
        (gdcm.TransferSyntax.RLELossless, 0),
        (gdcm.TransferSyntax.JPEG2000Lossless, 0),
        (gdcm.TransferSyntax.JPEGLosslessProcess14, 0),
        (gdcm.TransferSyntax.JPEGLosslessProcess14_1, 0),
        (gdcm.TransferSyntax.JPEGLSLossless, 0),
        (gdcm.TransferSyntax.JPEGBaselineProcess1, 12),
    ],
)
def test_compressed_grey_frames_give_the_pixels_that_went_in(tmp_path, syntax, tolerance):
    pixels = speckle()
    plain = write_dicom(ultrasound_dataset(pixels), tmp_path / "plain.dcm")
    image = load_image(compress(plain, tmp_path / "compressed.dcm", syntax))
    assert np.abs(image.pixels * 255 - pixels).max() <= tolerance + 1e-3


@pytest.mark.parametrize(
    ("syntax", "tolerance"),
    [
        (gdcm.TransferSyntax.RLELossless, 0),
        (gdcm.TransferSyntax.JPEG2000Lossless, 0),
        (gdcm.TransferSyntax.JPEGLosslessProcess14_1, 0),
        (gdcm.TransferSyntax.JPEGLSLossless, 0),
    ],
)
def test_compressed_colour_frames_give_the_pixels_that_went_in(tmp_path, syntax, tolerance):
    rgb = coloured()
    plain = write_dicom(ultrasound_dataset(rgb, "RGB"), tmp_path / "plain.dcm")
    image = load_image(compress(plain, tmp_path / "compressed.dcm", syntax))
    assert np.abs(image.colour.astype(int) - rgb).max() <= tolerance


def test_the_same_frame_as_ybr_jpeg_and_as_jpeg_2000_looks_the_same():
    """Two encodings of one ultrasound frame that ship with pydicom."""
    small = load_image(get_testdata_file("examples_rgb_color.dcm", download=False))
    large = load_image(get_testdata_file("examples_jpeg2k.dcm", download=False))
    halved = large.colour.reshape(240, 2, 320, 2, 3).mean(axis=(1, 3))
    assert np.corrcoef(halved.ravel(), small.colour.ravel())[0, 1] > 0.95


def test_every_frame_of_a_cine_loop_can_be_chosen_and_the_middle_is_the_default(tmp_path):
    frames = np.stack([speckle(seed=seed) for seed in range(5)])
    path = write_dicom(ultrasound_dataset(frames), tmp_path / "cine.dcm")
    for index in range(5):
        np.testing.assert_allclose(load_image(path, frame=index).pixels, frames[index] / 255, atol=1e-6)
    middle = load_image(path)
    np.testing.assert_allclose(middle.pixels, frames[2] / 255, atol=1e-6)
    assert any("5 frames" in note for note in middle.warnings)
    for wrong in (5, -1):
        with pytest.raises(InputError, match="give one of 0 to 4"):
            load_image(path, frame=wrong)


def test_spacing_and_region_come_from_the_bmode_region(tmp_path):
    dataset = ultrasound_dataset(speckle())
    m_mode = bmode_region((0, 0, 96, 20), (0.1, 0.1), spatial=2)
    spectral = bmode_region((0, 100, 96, 128), (0.2, 0.2), kind=4, spatial=3)
    flow = bmode_region((20, 30, 60, 80), (0.3, 0.3), kind=2)
    dataset.SequenceOfUltrasoundRegions = [m_mode, spectral, flow, bmode_region()]
    dataset.PixelSpacing = [0.5, 0.5]
    image = load_image(write_dicom(dataset, tmp_path / "a.dcm"))
    assert image.spacing_mm == pytest.approx((0.1, 0.08))
    assert image.region == Box(10, 20, 90, 120) == find_scan_area(image)
    assert "SequenceOfUltrasoundRegions" in image.spacing_source


def test_bmode_regions_of_equal_spacing_are_joined(tmp_path):
    dataset = ultrasound_dataset(speckle())
    dataset.SequenceOfUltrasoundRegions = [
        bmode_region((10, 5, 80, 60), (0.01, 0.01)),
        bmode_region((12, 64, 90, 120), (0.01, 0.01)),
    ]
    image = load_image(write_dicom(dataset, tmp_path / "a.dcm"))
    assert image.region == Box(10, 5, 90, 120)
    assert image.spacing_mm == pytest.approx((0.1, 0.1))


def test_bmode_regions_of_different_spacing_are_refused_unless_the_spacing_is_given(tmp_path):
    dataset = ultrasound_dataset(speckle())
    dataset.SequenceOfUltrasoundRegions = [
        bmode_region((10, 5, 80, 60), (0.01, 0.01)),
        bmode_region((12, 64, 90, 120), (0.02, 0.02)),
    ]
    path = write_dicom(dataset, tmp_path / "a.dcm")
    with pytest.raises(InputError, match="2 B-mode regions of different pixel spacing"):
        load_image(path)
    assert load_image(path, spacing_mm=0.07).spacing_mm == (0.07, 0.07)


@pytest.mark.parametrize("keyword", ["PixelSpacing", "ImagerPixelSpacing"])
def test_pixel_spacing_is_row_then_column(tmp_path, keyword):
    dataset = ultrasound_dataset(speckle())
    setattr(dataset, keyword, [0.2, 0.1])
    dataset.SequenceOfUltrasoundRegions = [bmode_region(unit=0)]  # a region without a unit tells nothing
    assert load_image(write_dicom(dataset, tmp_path / "a.dcm")).spacing_mm == (0.2, 0.1)


@pytest.mark.parametrize("spacing", [[1, 1], [0, 0], [50, 50], None])
def test_spacing_that_cannot_be_true_is_unknown_and_said_so(tmp_path, spacing):
    dataset = ultrasound_dataset(speckle())
    if spacing:
        dataset.PixelSpacing = spacing
    image = load_image(write_dicom(dataset, tmp_path / "a.dcm"))
    assert image.spacing_mm is None
    assert image.spacing_source == "none"
    assert any("spacing" in note for note in image.warnings)


def test_another_modality_is_read_with_a_warning():
    image = load_image(get_testdata_file("CT_small.dcm", download=False))
    assert any("Modality" in note for note in image.warnings)


def test_dicom_without_preamble_is_read(tmp_path):
    pixels = speckle()
    path = write_dicom(ultrasound_dataset(pixels), tmp_path / "whole.dcm")
    bare = dcmread(path)
    headless = tmp_path / "bare.dcm"
    bare.is_implicit_VR = True
    with headless.open("wb") as stream:
        from pydicom.filebase import DicomFileLike
        from pydicom.filewriter import write_dataset

        raw = DicomFileLike(stream)
        raw.is_little_endian, raw.is_implicit_VR = True, True
        del bare.file_meta
        write_dataset(raw, bare)
    np.testing.assert_allclose(load_image(headless).pixels, pixels / 255, atol=1e-6)


def test_private_tags_do_no_harm(tmp_path):
    dataset = ultrasound_dataset(speckle())
    dataset.private_block(0x7FE1, "Maker 1", create=True).add_new(1, "UN", b"\1\2\3\4")
    dataset.private_block(0x0009, "Maker 2", create=True).add_new(1, "LO", PATIENT)
    assert load_image(write_dicom(dataset, tmp_path / "a.dcm")).shape == (96, 128)


@pytest.mark.filterwarnings("ignore:Invalid value")  # the writer's, of the odd value that is meant
def test_errors_and_warnings_name_no_patient(tmp_path):
    def no_pixels(dataset):
        del dataset.PixelData

    def cut_short(dataset):
        dataset.PixelData = dataset.PixelData[:1000]

    def odd_photometric(dataset):
        dataset.PhotometricInterpretation = PATIENT[:8]

    def no_rows(dataset):
        del dataset.Rows

    def too_large(dataset):
        dataset.Rows, dataset.Columns = 20000, 20000

    def palette_missing(dataset):
        dataset.PhotometricInterpretation = "PALETTE COLOR"

    for number, spoil in enumerate((no_pixels, cut_short, odd_photometric, no_rows, too_large, palette_missing)):
        dataset = ultrasound_dataset(speckle())
        spoil(dataset)
        path = write_dicom(dataset, tmp_path / f"{number}.dcm")
        with warnings.catch_warnings(record=True) as caught, pytest.raises(InputError) as error:
            warnings.simplefilter("always")
            load_image(path)
        said = str(error.value) + " ".join(str(entry.message) for entry in caught)
        assert path.name in said and "\n" not in said
        for secret in ("Doe", "4711", "19610203"):
            assert secret not in said


def test_nothing_of_the_patient_or_the_file_name_stays_in_the_image(tmp_path):
    dataset = ultrasound_dataset(np.stack([speckle(seed=seed) for seed in range(3)]))
    dataset.Modality, dataset.PixelSpacing = "OT", [1, 1]
    image = load_image(write_dicom(dataset, tmp_path / "Doe_Jane_4711.dcm"))
    assert len(image.warnings) == 3
    said = repr((image.warnings, image.spacing_source, image.region))
    assert not any(secret in said for secret in ("Doe", "4711", "19610203"))


def test_truncated_and_foreign_files_are_refused(tmp_path):
    whole = write_dicom(ultrasound_dataset(speckle()), tmp_path / "whole.dcm").read_bytes()
    for size in (133, 200, 600, len(whole) - 500):
        path = tmp_path / f"cut{size}.dcm"
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match=path.name):
            load_image(path)
    text = tmp_path / "text.dcm"
    text.write_text("this is no DICOM file, only a letter to the patient " * 20)
    with pytest.raises(InputError, match=r"text\.dcm"):
        load_image(text)
    for name in ("test-SR.dcm", "rtplan.dcm", "MR_truncated.dcm", "reportsi.dcm"):
        with pytest.raises(InputError, match=name):
            load_image(get_testdata_file(name, download=False))


def test_a_compression_whose_decoder_is_missing_names_the_extra(tmp_path):
    plain = write_dicom(ultrasound_dataset(speckle()), tmp_path / "plain.dcm")
    path = compress(plain, tmp_path / "lossless.dcm", gdcm.TransferSyntax.JPEGLosslessProcess14_1)
    code = f"""
import sys
for name in ("gdcm", "_gdcm", "pylibjpeg", "libjpeg", "openjpeg", "rle", "jpeg_ls"):
    sys.modules[name] = None
from llnm.errors import MissingExtraError
from llnm.imaging import load_image
try:
    load_image({str(path)!r})
except MissingExtraError as error:
    print(error, error.exit_code)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "slicer-llnm[dicom]" in result.stdout and result.stdout.strip().endswith("4")
