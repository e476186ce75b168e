"""What a start knows of images that an earlier one has read: the same grids without the files, and never an old one."""

import json
import os
import shutil
from pathlib import Path

import pictures
import pytest
from lib.images import open_source
from lib.stores import StudyFolder

from llnm.errors import InputError


@pytest.fixture(scope="module")
def pixels():
    return pictures.view()


@pytest.fixture(scope="module")
def every_format(pixels, tmp_path_factory):
    """One view in every format."""
    folder = tmp_path_factory.mktemp("formats")
    for kind in pictures.FORMATS:
        pictures.write(folder, kind, pixels)
    return folder


@pytest.fixture
def study(every_format, tmp_path):
    return Path(shutil.copytree(every_format, tmp_path / "study"))


def first_start(study):
    """The grids of all images, as an earlier start left them."""
    store = StudyFolder(study)
    grids = {image: store.source(image) for image in store.list_images()}
    store.remember()
    return grids


def overwrite_unseen(path):
    """Other content of the same size and time: whoever reads the file notices, whoever asks the disk does not."""
    stat = path.stat()
    path.write_bytes(b"x" * stat.st_size)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_a_second_start_knows_every_format_and_reads_no_file(study):
    grids = first_start(study)
    assert len(grids) == len(pictures.FORMATS)
    assert all(source == open_source(source.path) for source in grids.values())
    for source in grids.values():
        overwrite_unseen(source.path)
    again = StudyFolder(study)
    assert {image: again.source(image) for image in grids} == grids


def test_a_file_that_changed_is_read_again(study, pixels):
    grids = first_start(study)
    pictures.write(study, "png", pixels[:150, :180])
    again = StudyFolder(study)
    assert again.source("png_view.png").geometry.shape == (1, 150, 180)
    again.remember()
    (study / "png_view.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"png_view\.png"):
        StudyFolder(study).source("png_view.png")
    assert StudyFolder(study).source("bmp_view.bmp") == grids["bmp_view.bmp"]


@pytest.mark.parametrize("damage", ["cut short", "of another version", "entries that are none", "a list"])
def test_a_damaged_or_foreign_file_of_what_is_known_counts_as_none(study, damage):
    grids = first_start(study)
    file = study / ".llnm" / "known_images.json"
    kept = json.loads(file.read_text())
    if damage == "of another version":
        kept["made_by"] = "0.0 0.0"
    if damage == "entries that are none":
        stamps = {image: entry["stamp"] for image, entry in kept["images"].items()}
        kept["images"] = {image: {"stamp": stamp, "shape": 3} for image, stamp in stamps.items()}
    text = json.dumps([1] if damage == "a list" else kept)
    file.write_text(text[: len(text) // 2] if damage == "cut short" else text)
    again = StudyFolder(study)
    assert {image: again.source(image) for image in grids} == grids


def test_images_that_are_gone_are_forgotten(study, pixels):
    first_start(study)
    (study / "png_view.png").unlink()
    pictures.write(study, "jpg", pixels[:200])
    first_start(study)
    known = json.loads((study / ".llnm" / "known_images.json").read_text())["images"]
    assert "png_view.png" not in known and len(known) == len(pictures.FORMATS) - 1
    assert not list((study / ".llnm").glob(".part-*"))
