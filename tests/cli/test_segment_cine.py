"""`llnm segment` on cine loops: what is written, in which state, and what is refused."""

import csv
import json
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from PIL import Image


@pytest.fixture(scope="module")
def frames(data):
    """Files of six successive frames of a real sweep with a marked nodule."""
    table = pd.read_csv(data / "sweeps" / "frames.csv", dtype=str)
    names = table[(table["sweep"] == "24") & (table["marked"] == "1")]["image"][20:26]
    return [data / "sweeps" / "images" / f"{name}.jpg" for name in names]


@pytest.fixture
def folder(frames, tmp_path):
    """A folder of these frames, named so that natural and alphabetical order differ."""
    target = tmp_path / "sweep"
    target.mkdir()
    for number, file in enumerate(frames, start=8):
        shutil.copy(file, target / f"frame_{number}.jpg")
    return target


def read(out):
    return json.loads((out / "segment.json").read_text(encoding="utf-8"))


def pixels(file):
    return np.asarray(Image.open(file))


def test_a_folder_gives_a_mask_a_frame_the_tracks_and_the_frame_to_use(llnm, folder, tmp_path):
    out = tmp_path / "out"
    code, text, err = llnm("segment", folder, "--out", out, "--spacing", "0.1")
    assert code == 0, err
    entry = read(out)["cines"][0]
    names = [f"frame_{number}" for number in range(8, 14)]
    assert read(out)["images"] == []
    assert entry["frames"] == 6
    assert entry["proposed_frame"]["frame"] in names
    assert names[entry["proposed_frame"]["index"]] == entry["proposed_frame"]["frame"]
    assert entry["proposed_frame"]["frame"] in text
    assert sorted(file.stem for file in (out / "sweep").glob("*.png")) == sorted(names)
    with (out / "sweep" / "tracks.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["frame"] for row in rows if int(row["track"]) == entry["main_track"]] == [
        name for name in names if pixels(out / "sweep" / f"{name}.png").any()
    ]
    for name in names:
        tracks, mask = pixels(out / "sweep" / "tracks" / f"{name}.png"), pixels(out / "sweep" / f"{name}.png")
        assert mask.shape == pixels(folder / f"{name}.jpg").shape[:2]
        assert np.array_equal(mask, np.where(tracks == entry["main_track"], 255, 0))
        for row in (row for row in rows if row["frame"] == name):
            inside = tracks == int(row["track"])
            assert int(row["area_px"]) == inside.sum()
            assert float(row["area_mm2"]) == pytest.approx(0.01 * inside.sum(), abs=1e-4)
            assert (float(row["y"]), float(row["x"])) == pytest.approx(np.argwhere(inside).mean(axis=0), abs=0.06)


def test_pages_of_one_file_give_the_masks_of_the_same_frames_in_a_folder(llnm, folder, tmp_path):
    pages = [Image.open(folder / f"frame_{number}.jpg") for number in (8, 9, 10)]
    pages[0].save(tmp_path / "loop.tif", save_all=True, append_images=pages[1:])
    for number in (11, 12, 13):
        (folder / f"frame_{number}.jpg").unlink()
    code, _, err = llnm("segment", tmp_path / "loop.tif", folder, "--out", tmp_path / "out")
    assert code == 0, err
    one, other = read(tmp_path / "out")["cines"]
    assert one["proposed_frame"]["index"] == other["proposed_frame"]["index"]
    assert one["tracks"] and one["proposed_frame"]["area_mm2"] is None
    for number in range(3):
        page = pixels(tmp_path / "out" / "loop" / f"{number + 1:04d}.png")
        assert np.array_equal(page, pixels(tmp_path / "out" / "sweep" / f"frame_{number + 8}.png"))


def test_single_images_beside_a_loop_are_written_as_ever(llnm, folder, frames, tmp_path):
    for file in sorted(folder.iterdir())[2:]:
        file.unlink()
    code, text, err = llnm("segment", frames[0], folder, "--out", tmp_path / "both")
    assert code == 0, err
    assert llnm("segment", frames[0], "--out", tmp_path / "alone")[0] == 0
    alone = read(tmp_path / "alone")
    assert set(alone) == {"images", "notice"}
    assert read(tmp_path / "both")["images"] == alone["images"]
    assert "1 of 1 images" in " ".join(text.split())
    name = f"{frames[0].stem}.png"
    assert np.array_equal(pixels(tmp_path / "both" / name), pixels(tmp_path / "alone" / name))


def test_a_blank_frame_is_named_and_has_no_mask(llnm, folder, tmp_path):
    blank = Image.new("L", Image.open(folder / "frame_8.jpg").size)
    blank.save(folder / "frame_10.jpg")
    for number in (11, 12, 13):
        (folder / f"frame_{number}.jpg").unlink()
    code, text, err = llnm("segment", folder, "--out", tmp_path / "out")
    assert code == 0, err
    assert [row["frame"] for row in read(tmp_path / "out")["cines"][0]["problems"]] == ["frame_10"]
    assert "could not be used" in " ".join(text.split())
    assert not (tmp_path / "out" / "sweep" / "frame_10.png").exists()


def test_what_cannot_be_done_is_refused_before_anything_is_written(llnm, folder, frames, tmp_path):
    video = tmp_path / "loop.mp4"
    video.write_bytes(b"\0\0\0\x18ftypmp42")
    damaged = tmp_path / "damaged.jpg"
    damaged.write_bytes(frames[0].read_bytes()[:5000])
    for arguments, named in (
        ((folder, "--point", "10,10"), "--point"),
        ((folder, "--box", "1,1,9,9"), "--box"),
        ((folder, video), "loop.mp4"),
        ((folder, damaged), "damaged.jpg"),
        ((folder, tmp_path / "none.png"), "none.png"),
    ):
        code, _, err = llnm("segment", *arguments, "--out", tmp_path / "out")
        assert (code, len(err.strip().splitlines())) == (2, 1), err
        assert named in err
        assert not (tmp_path / "out").exists()


def test_no_mask_is_written_over_its_own_image(llnm, folder, tmp_path):
    picture = tmp_path / "picture.png"
    Image.open(folder / "frame_8.jpg").save(picture)
    before = {file: file.read_bytes() for file in (*folder.iterdir(), picture)}
    for given in (folder, picture):
        code, _, err = llnm("segment", given, "--out", tmp_path)
        assert code == 2
        assert "--out" in err
    assert {file: file.read_bytes() for file in (*folder.iterdir(), picture)} == before
    assert not (tmp_path / "segment.json").exists()


# A process started in the background of a script ignores SIGINT, and so would its children.
HEEDING = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from llnm.cli import main; main()"


def test_an_interruption_leaves_whole_masks_and_exit_code_3(folder, tmp_path):
    for number in range(14, 60):
        shutil.copy(folder / "frame_8.jpg", folder / f"frame_{number}.jpg")
    out = tmp_path / "out"
    command = [sys.executable, "-c", HEEDING, "segment", str(folder), "--out", str(out)]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    while running.poll() is None and len(list(out.glob("sweep/*.png"))) < 2:
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate()
    assert running.returncode == 3, err
    masks = sorted(out.glob("sweep/*.png"))
    assert 2 <= len(masks) < 52
    for mask in masks:
        assert set(np.unique(pixels(mask))) <= {0, 255}
    assert {file.suffix for file in out.rglob("*") if file.is_file()} == {".png"}
