"""Cine loops from files and folders: the frames that were put in come out, in order, one at a time."""

import io
import tracemalloc

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk  # noqa: N813
from imaging_examples import bmode_region, coloured, speckle, ultrasound_dataset, write_dicom
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEGBaseline8Bit, RLELossless

from llnm import load_image
from llnm.errors import InputError
from llnm.imaging.cine import natural_order, open_cine
from llnm.imaging.reading import read_header


@pytest.fixture(scope="module")
def sweep(data):
    """(frame, row, column) uint8: the first twelve frames of a real sweep."""
    frames = pd.read_csv(data / "sweeps" / "frames.csv", dtype=str)
    names = frames[frames["sweep"] == "9"]["image"][:12]
    return np.stack([np.asarray(Image.open(data / "sweeps" / "images" / f"{name}.jpg").convert("L")) for name in names])


def grey(path, frames):
    return write_dicom(ultrasound_dataset(frames), path)


def with_jpeg(path, frames):
    dataset = ultrasound_dataset(np.stack([frames] * 3, axis=-1), "YBR_FULL_422")
    pieces = []
    for frame in frames:
        stream = io.BytesIO()
        Image.fromarray(frame).convert("RGB").save(stream, format="JPEG", quality=90)
        pieces.append(stream.getvalue())
    dataset.PixelData = encapsulate(pieces)
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    return write_dicom(dataset, path)


def with_runs(path, frames):
    dataset = ultrasound_dataset(frames)
    dataset.compress(RLELossless)
    return write_dicom(dataset, path)


def in_colour(path, frames):
    colours = np.stack([coloured(*frames.shape[1:], seed=seed) for seed in range(len(frames))])
    return write_dicom(ultrasound_dataset(colours, "RGB"), path)


def deflated(path, frames):
    dataset = ultrasound_dataset(frames)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    return write_dicom(dataset, path)


@pytest.mark.parametrize("build", [grey, with_jpeg, with_runs, in_colour, deflated])
def test_frames_of_a_dicom_loop_equal_those_read_one_by_one(build, sweep, tmp_path):
    path = build(tmp_path / "loop.dcm", sweep)
    cine = open_cine(path)
    assert len(cine) == len(sweep)
    assert cine.frame_names[:2] == ("0001", "0002")
    for index, frame in enumerate(cine):
        alone = load_image(path, frame=index)
        assert frame.index == index
        assert frame.problem is None
        assert np.array_equal(frame.image.pixels, alone.pixels)
        assert (frame.image.colour is None) == (alone.colour is None)
    assert index == len(sweep) - 1


def test_a_dicom_loop_keeps_spacing_and_region(sweep, tmp_path):
    dataset = ultrasound_dataset(sweep)
    dataset.SequenceOfUltrasoundRegions = [bmode_region(spacing_cm=(0.01, 0.008))]
    path = write_dicom(dataset, tmp_path / "loop.dcm")
    frames = list(open_cine(path))
    assert {frame.image.spacing_mm for frame in frames} == {(0.1, 0.08)}
    assert {frame.image.region for frame in frames} == {load_image(path, frame=0).region}
    assert {frame.image.spacing_mm for frame in open_cine(path, spacing_mm=0.2)} == {(0.2, 0.2)}


@pytest.mark.parametrize(
    ("elements", "times"),
    [
        ({"FrameTime": 40}, [0, 0.04, 0.08, 0.12]),
        ({"FrameTimeVector": [0, 10, 20, 30]}, [0, 0.01, 0.03, 0.06]),
        ({"CineRate": 25}, [0, 0.04, 0.08, 0.12]),
        ({"FrameTimeVector": [0, 10], "FrameTime": 40, "CineRate": 10}, [0, 0.04, 0.08, 0.12]),
        ({"FrameTime": 0}, None),
        ({}, None),
    ],
)
def test_times_are_seconds_as_the_dicom_file_states_them(elements, times, sweep, tmp_path):
    dataset = ultrasound_dataset(sweep[:4])
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    cine = open_cine(write_dicom(dataset, tmp_path / "loop.dcm"))
    if times is None:
        assert cine.times_s is None
        assert [frame.time_s for frame in cine] == [None] * 4
    else:
        assert [frame.time_s for frame in cine] == pytest.approx(times)


def test_a_folder_is_read_in_natural_order_and_other_files_are_passed_over(sweep, tmp_path):
    for number in (10, 2, 1, 9):
        Image.fromarray(sweep[number]).save(tmp_path / f"frame_{number}.png")
    (tmp_path / "frames.csv").write_text("image\n", encoding="utf-8")
    (tmp_path / ".hidden.png").write_text("no image", encoding="utf-8")
    (tmp_path / "masks").mkdir()
    cine = open_cine(tmp_path)
    assert cine.frame_names == ("frame_1", "frame_2", "frame_9", "frame_10")
    for frame, number in zip(cine, (1, 2, 9, 10), strict=True):
        assert np.allclose(frame.image.pixels, sweep[number] / 255, atol=1e-6)


def test_natural_order_sorts_names_as_people_count():
    names = ["b1", "a10", "A2", "a2b", "10", "9", "a", "x002", "x1"]
    assert sorted(names, key=natural_order) == ["9", "10", "a", "A2", "a2b", "a10", "b1", "x1", "x002"]


def test_equal_stems_in_a_folder_are_told_apart(sweep, tmp_path):
    for suffix in ("png", "bmp"):
        Image.fromarray(sweep[0]).save(tmp_path / f"frame.{suffix}")
    assert open_cine(tmp_path).frame_names == ("frame.bmp", "frame.png")


@pytest.mark.parametrize("suffix", ["tif", "gif", "png", "webp"])
def test_pages_are_frames(suffix, sweep, tmp_path):
    path = tmp_path / f"loop.{suffix}"
    pages = [Image.fromarray(frame) for frame in sweep[:5]]
    options = {"lossless": True} if suffix == "webp" else {}
    pages[0].save(path, save_all=True, append_images=pages[1:], **options)
    cine = open_cine(path)
    assert len(cine) == 5
    for frame, expected in zip(cine, sweep, strict=False):
        assert np.abs(frame.image.pixels - expected / 255).max() < 0.01


@pytest.mark.parametrize("suffix", ["nii.gz", "nrrd", "mha"])
def test_slices_are_frames_and_keep_their_spacing(suffix, sweep, tmp_path):
    path = tmp_path / f"loop.{suffix}"
    image = sitk.GetImageFromArray(sweep)
    image.SetSpacing((0.1, 0.2, 1.0))
    sitk.WriteImage(image, str(path))
    frames = list(open_cine(path))
    assert len(frames) == len(sweep)
    for frame, expected in zip(frames, sweep, strict=True):
        assert np.allclose(frame.image.pixels, expected / 255, atol=1e-6)
        assert frame.image.spacing_mm == pytest.approx((0.2, 0.1))


def test_one_frame_is_a_loop_of_one(sweep, tmp_path):
    Image.fromarray(sweep[0]).save(tmp_path / "frame.png")
    cine = open_cine(tmp_path / "frame.png")
    assert len(cine) == len(list(cine)) == 1


def test_a_loop_can_be_read_twice(sweep, tmp_path):
    cine = open_cine(grey(tmp_path / "loop.dcm", sweep))
    first, second = ([frame.image.pixels for frame in cine] for _ in range(2))
    assert np.array_equal(first, second)


def test_a_blank_frame_does_not_end_the_loop(sweep, tmp_path):
    frames = sweep.copy()
    frames[4] = 0
    read = list(open_cine(grey(tmp_path / "loop.dcm", frames)))
    assert [frame.index for frame in read if frame.image is None] == [4]
    assert "blank" in read[4].problem
    assert np.allclose(read[5].image.pixels, sweep[5] / 255, atol=1e-6)


def test_a_damaged_file_in_a_folder_does_not_end_the_loop(sweep, tmp_path):
    for number in range(3):
        Image.fromarray(sweep[number]).save(tmp_path / f"{number}.png")
    whole = (tmp_path / "1.png").read_bytes()
    (tmp_path / "1.png").write_bytes(whole[: len(whole) // 2])
    read = list(open_cine(tmp_path))
    assert [frame.image is None for frame in read] == [False, True, False]
    assert "1.png" in read[1].problem


@pytest.mark.parametrize("build", [grey, with_jpeg, with_runs])
def test_a_loop_cut_short_is_refused_and_no_frame_is_made_up(build, sweep, tmp_path):
    path = build(tmp_path / "loop.dcm", sweep)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    read = []
    with pytest.raises(InputError, match=r"loop\.dcm"):
        read.extend(open_cine(path))
    assert len(read) < len(sweep)


def refused(path):
    with pytest.raises(InputError) as error:
        open_cine(path)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


def test_what_is_no_loop_is_refused_by_name(sweep, tmp_path):
    assert "nowhere" in refused(tmp_path / "nowhere")
    (tmp_path / "loop.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    assert "video" in refused(tmp_path / "loop.mp4")
    (tmp_path / "empty").mkdir()
    assert "empty" in refused(tmp_path / "empty")
    (tmp_path / "page.png").write_text("no image", encoding="utf-8")
    assert "page.png" in refused(tmp_path / "page.png")


def test_video_inside_dicom_is_refused(sweep, tmp_path):
    dataset = ultrasound_dataset(sweep)
    dataset.PixelData = encapsulate([b"\0" * 64])
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.102"
    assert "video" in refused(write_dicom(dataset, tmp_path / "loop.dcm"))


def test_a_folder_of_different_sizes_or_of_loops_is_refused(sweep, tmp_path):
    Image.fromarray(sweep[0]).save(tmp_path / "1.png")
    Image.fromarray(sweep[1][:, :-20]).save(tmp_path / "2.png")
    assert "2.png" in refused(tmp_path)
    (tmp_path / "2.png").unlink()
    grey(tmp_path / "3.dcm", sweep)
    assert "3.dcm" in refused(tmp_path)


def test_the_header_tells_size_and_number_of_frames(sweep, tmp_path):
    shape = sweep.shape[1:]
    sitk.WriteImage(sitk.GetImageFromArray(sweep), str(tmp_path / "loop.mha"))
    Image.fromarray(sweep[0]).save(tmp_path / "frame.png")
    assert read_header(grey(tmp_path / "loop.dcm", sweep))[:3] == (*shape, len(sweep))
    assert read_header(tmp_path / "loop.mha")[:3] == (*shape, len(sweep))
    assert read_header(tmp_path / "frame.png")[:3] == (*shape, 1)


def peak_while_reading(path):
    tracemalloc.start()
    for _ in open_cine(path):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize("build", [grey, with_jpeg])
def test_memory_does_not_grow_with_the_length_of_a_loop(build, tmp_path):
    """Sixty more frames take less than a fifth of their pixels as bytes: at most what is compressed may be kept."""
    frame = speckle(300, 400)
    short, long = (build(tmp_path / f"{count}.dcm", np.stack([frame] * count)) for count in (30, 90))
    peak_while_reading(short)
    assert peak_while_reading(long) - peak_while_reading(short) < 0.2 * 60 * frame.nbytes * (
        3 if build is with_jpeg else 1
    )
