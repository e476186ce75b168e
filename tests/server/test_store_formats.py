"""Every format: image -> inference -> label -> 3D Slicer (slicer-core), with one size, spacing and orientation."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pictures
import pytest
import SimpleITK as sitk  # noqa: N813
from lib.client import AnnotationClient
from PIL import Image

from llnm.imaging import load_image

REPOSITORY = Path(__file__).resolve().parents[2]
SLICER = Path(os.environ.get("LLNM_SLICER_PYTHON", REPOSITORY / ".venv-slicer" / "bin" / "python"))


@pytest.fixture(scope="module")
def formats(tmp_path_factory):
    """A study folder with one view in every format, in subfolders and with equal stems."""
    study = tmp_path_factory.mktemp("formats") / "study"
    (study / "sub" / "deeper").mkdir(parents=True)
    pixels = pictures.view()
    for kind in pictures.FORMATS:
        pictures.write(study, kind, pixels)
    for name in ("same.png", "same.bmp", "sub/same.png", "sub/deeper/same.png"):
        Image.fromarray(pixels).save(study / name)
    pictures.write_dicom(study / "no_suffix", pixels)
    return study


@pytest.fixture(scope="module")
def served(formats, tmp_path_factory):
    """A client of a server on that folder."""
    from server_process import ServerProcess

    server = ServerProcess(formats, tmp_path_factory.mktemp("log") / "server.log").start()
    yield AnnotationClient(server.address, annotator="reader")
    server.stop()


@pytest.fixture(scope="module")
def saved(served, formats, tmp_path_factory):
    """By image: (the copy that annotators get, the stored label), after inference and submission of what was found."""
    folder = tmp_path_factory.mktemp("saved")
    files = {}
    for number, image in enumerate(sorted(served.images())):
        # Both networks once, the quicker one for the rest: formats are what is told apart here.
        found, about = served.infer("joint" if image == "png_view.png" else "nodule", image)
        found[:, 2:9, 3:20] = 2  # a gland in a corner, whose place tells a flip
        served.submit(image, found, structures=["nodule", "gland"])
        colour = "rgb" if "rgb" in image else "grey"
        copy, label = folder / f"{number}_{colour}.nrrd", folder / f"{number}.seg.nrrd"
        copy.write_bytes(served._ask("GET", "/datastore/image", params={"image": image}).content)
        label.write_bytes(served._ask("GET", "/datastore/label", params={"label": image, "tag": "final"}).content)
        assert about["label_names"]["nodule"] == 1, image
        files[image] = (copy, label)
    return files


def test_every_file_is_an_image_of_its_own_and_equal_stems_stay_apart(served, formats):
    expected = {path.relative_to(formats).as_posix() for path in formats.rglob("*") if path.is_file()}
    expected = {name for name in expected if not name.startswith(("labels/", ".llnm/"))}
    assert set(served.images()) == expected
    names = [entry["image"]["info"]["name"] for entry in served.images().values()]
    assert len(set(names)) == len(names)


def test_size_spacing_and_orientation_are_the_same_in_slicer_for_image_and_label(saved):
    pairs = [[str(copy), str(label)] for copy, label in saved.values()]
    run = subprocess.run(
        [SLICER, Path(__file__).parent / "in_slicer.py", json.dumps(pairs)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr[-2000:]
    answer = json.loads(next(line for line in run.stdout.splitlines() if line.startswith("ANSWER"))[7:])
    for image, loaded in zip(saved, answer, strict=True):
        label = sitk.GetArrayFromImage(sitk.ReadImage(str(saved[image][1])))
        assert loaded["label"]["size"] == loaded["image"]["size"] == list(label.shape[::-1]), image
        assert np.allclose(loaded["label"]["to_ras"], loaded["image"]["to_ras"]), image
        assert [segment["name"] for segment in loaded["segments"]] == ["nodule", "gland"], image
        for segment, value, code in zip(loaded["segments"], (1, 2), ("27925004", "69748006"), strict=True):
            assert segment["pixels"] == (label == value).sum(), image
            assert np.allclose(segment["to_ras"], loaded["image"]["to_ras"]), image
            assert f"SCT^{code}" in segment["terminology"], image


def test_the_spacing_is_what_llnm_measures_with_and_the_place_what_the_file_says(saved, formats):
    for image, (copy, label) in saved.items():
        known = load_image(formats / image).spacing_mm
        volume, mask = sitk.ReadImage(str(copy)), sitk.ReadImage(str(label))
        rows, columns = known or (1.0, 1.0)
        assert volume.GetSpacing()[:2] == pytest.approx((columns, rows)), image
        assert mask.GetSpacing() == volume.GetSpacing() and mask.GetDirection() == volume.GetDirection(), image
        if image.endswith(("nrrd", "nii", "nii.gz")):
            original = sitk.ReadImage(str(formats / image))
            assert volume.GetOrigin() == pytest.approx(original.GetOrigin()), image
            assert volume.GetDirection() == pytest.approx(original.GetDirection()), image


def test_the_copy_has_the_frames_pixels_and_its_colour_and_nothing_about_the_patient(saved, formats):
    for image, (copy, _) in saved.items():
        frame = load_image(formats / image)
        pixels = sitk.GetArrayFromImage(sitk.ReadImage(str(copy)))
        if "rgb" in image:
            assert np.array_equal(pixels[0], frame.colour), image
        else:
            assert np.abs(pixels[len(pixels) // 2] / 255 - frame.pixels).max() < 0.003, image
            again = load_image(copy)
            assert (again.spacing_mm, again.region) == (frame.spacing_mm, frame.region) or "loop" in image, image
        assert b"Somebody" not in copy.read_bytes()


def test_a_label_comes_back_without_a_pixel_changed_in_every_lossless_format(served, tmp_path):
    grid = served.image("png_view.png")
    drawn = np.zeros(grid.GetSize()[::-1], dtype=np.uint8)
    drawn[0, 50:90, 60:140], drawn[0, 60:70, 80:100] = 2, 1
    for name in ("label.nrrd", "label.nii.gz", "label.nii", "label.mha", "label.png"):
        if name.endswith(".png"):
            Image.fromarray(drawn[0]).save(tmp_path / name)
        else:
            image = sitk.GetImageFromArray(drawn)
            image.CopyInformation(grid)
            sitk.WriteImage(image, str(tmp_path / name))
        served.submit_file("png_view.png", tmp_path / name, {"structures": ["nodule", "gland"]})
        assert np.array_equal(served.label("png_view.png"), drawn), name


def test_values_follow_the_names_that_slicers_plugin_sends(served, tmp_path):
    grid = served.image("png_view.png")
    drawn = np.zeros(grid.GetSize()[::-1], dtype=np.uint8)
    drawn[0, 50:90, 60:140] = 1
    image = sitk.GetImageFromArray(drawn)
    image.CopyInformation(grid)
    sitk.WriteImage(image, str(tmp_path / "label.nii.gz"))
    served.submit_file("png_view.png", tmp_path / "label.nii.gz", {"label_info": [{"name": "gland", "idx": 1}]})
    assert np.array_equal(served.label("png_view.png"), 2 * drawn)


def test_a_structure_that_the_plugin_names_but_nobody_drew_was_not_looked_at_unless_it_was_asked_for(served, tmp_path):
    grid = served.image("png_view.png")
    info = {"label_info": [{"name": "nodule", "idx": 1}, {"name": "gland", "idx": 2}]}
    for value, drawn in ((1, ["nodule"]), (2, ["nodule", "gland"]), (0, ["nodule"])):
        label = np.zeros(grid.GetSize()[::-1], dtype=np.uint8)
        label[0, 50:90, 60:140] = value
        image = sitk.GetImageFromArray(label)
        image.CopyInformation(grid)
        sitk.WriteImage(image, str(tmp_path / "label.nii.gz"))
        assert served.submit_file("png_view.png", tmp_path / "label.nii.gz", info)["structures"] == drawn


@pytest.mark.parametrize("change", ["size", "turned", "lossy", "unknown value"])
def test_a_label_that_is_not_on_the_images_grid_is_refused_with_one_line(served, tmp_path, change):
    from lib.client import ServerError

    before = served.label("same.png") if served.images()["same.png"]["labels"] else None
    columns, rows, _ = served.image("same.png").GetSize()
    drawn = np.zeros((1, rows + (change == "size"), columns), dtype=np.uint8)
    drawn[0, 50:60, 60:80] = 7 if change == "unknown value" else 1
    path = tmp_path / ("label.jpg" if change == "lossy" else "label.nrrd")
    if change == "lossy":
        Image.fromarray(drawn[0]).save(path)
    else:
        image = sitk.GetImageFromArray(drawn)
        if change == "turned":
            image.SetDirection((-1, 0, 0, 0, 1, 0, 0, 0, 1))
        sitk.WriteImage(image, str(path))
    with pytest.raises(ServerError, match="label") as refusal:
        served.submit_file("same.png", path, {"structures": ["nodule"]})
    assert refusal.value.status == 400 and "\n" not in str(refusal.value)
    if before is not None:
        assert np.array_equal(served.label("same.png"), before)


def test_a_new_file_is_seen_without_a_restart_and_a_link_out_of_the_folder_is_not(served, formats, tmp_path):
    import time

    Image.fromarray(pictures.view(4)).save(tmp_path / "secret.png")
    (formats / "link.png").symlink_to(tmp_path / "secret.png")
    Image.fromarray(pictures.view(4)).save(formats / "new.png")
    time.sleep(1.2)
    images = served.images()
    assert "new.png" in images and "link.png" not in images
    (formats / "link.png").unlink()
