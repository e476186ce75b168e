"""Tracks through cine loops: linking against brute force, the proposed frame against geometry, drawn and real."""

import ctypes
import gc
import itertools

import numpy as np
import pandas as pd
import psutil
import pytest
from PIL import Image
from scipy import ndimage

from llnm import UltrasoundImage, load_image, segment
from llnm.errors import InputError
from llnm.imaging.cine import CineFrame
from llnm.segmentation.cine import segment_cine
from llnm.segmentation.tracks import LEAST_OVERLAP, LONGEST_GAP, Linker, Section, gather_tracks, propose_section

SHAPE = (120, 160)


def disk(row, column, radius, shape=SHAPE):
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2


def overlap(one, other):
    return (one & other).sum() / (one | other).sum()


def section(frame, area, probability=0.9, uncertainty=0.0, track=1):
    return Section(frame, track, area, None, probability, uncertainty, 0.0, 0.0)


def sections_of(masks_by_frame):
    linker = Linker()
    return [
        section(frame, int(mask.sum()), track=number)
        for frame, masks in enumerate(masks_by_frame)
        for number, mask in zip(linker.link(frame, masks), masks, strict=True)
    ]


def test_two_objects_that_cross_keep_their_numbers():
    linker = Linker()
    for frame in range(30):
        ours, theirs = disk(60, 20 + 4 * frame, 14), disk(62, 136 - 4 * frame, 12)
        masks = (ours, theirs) if ours.sum() > theirs.sum() else (theirs, ours)
        assert linker.link(frame, masks) == (1, 2), frame


def test_an_object_missed_for_two_frames_keeps_its_number():
    linker = Linker()
    moving, still = (disk(40, 20 + 3 * frame, 10) for frame in range(20)), disk(95, 80, 12)
    for frame, mask in enumerate(moving):
        if frame in (8, 9):
            assert linker.link(frame, (still,)) == (2,)
        else:
            assert linker.link(frame, (mask, still)) == (1, 2)


@pytest.mark.parametrize(("missed", "number"), [(LONGEST_GAP, 1), (LONGEST_GAP + 1, 2)])
def test_a_track_ends_after_the_longest_gap(missed, number):
    linker, mask = Linker(), disk(60, 60, 10)
    linker.link(0, (mask,))
    for frame in range(1, missed + 1):
        linker.link(frame, ())
    assert linker.link(missed + 1, (mask,)) == (number,)


def test_linking_is_the_assignment_of_largest_total_overlap():
    """Two frames of random discs, against all ways to pair them."""
    rng = np.random.default_rng(0)
    for _ in range(60):
        before, after = (
            [disk(*rng.uniform((30, 30), (90, 130)), rng.uniform(10, 35)) for _ in range(rng.integers(1, 5))]
            for _ in range(2)
        )
        linker = Linker()
        old, new = linker.link(0, before), linker.link(1, after)
        table = np.array([[overlap(a, b) for b in after] for a in before])
        table[table < LEAST_OVERLAP] = 0
        found = sum(table[i, j] for i in range(len(old)) for j in range(len(new)) if old[i] == new[j])
        slots = list(range(len(after))) + [None] * len(before)
        best = max(
            sum(table[i, j] for i, j in enumerate(pairing) if j is not None)
            for pairing in itertools.permutations(slots, len(before))
        )
        assert found == pytest.approx(best)
        assert len(set(new)) == len(new)
        assert all(table[i, j] > 0 for i in range(len(old)) for j in range(len(new)) if old[i] == new[j])


def test_objects_that_do_not_touch_are_different():
    linker = Linker()
    assert linker.link(0, (disk(30, 30, 10),)) == (1,)
    assert linker.link(1, (disk(90, 120, 10),)) == (2,)


def sphere(radius, frames):
    """A sphere that passes through the plane, at its largest in the middle frame: area = pi (R^2 - z^2)."""
    depths = np.linspace(-radius * 1.2, radius * 1.2, frames)
    return [(disk(60, 80, np.sqrt(radius**2 - z**2)),) if abs(z) < radius else () for z in depths]


def test_the_equator_of_a_sphere_is_proposed():
    tracks = gather_tracks(sections_of(sphere(40, 31)), 31)
    assert len(tracks) == 1
    assert not tracks[0].spurious
    assert propose_section(tracks[0], range(31)).frame == 15


def test_a_mask_that_swells_in_one_frame_is_not_proposed():
    masks = sphere(30, 31)
    masks[6] = (disk(60, 80, 50),)
    assert propose_section(gather_tracks(sections_of(masks), 31)[0], range(31)).frame == 15


def test_a_mask_that_nobody_sees_before_and_after_is_not_proposed():
    """The track is missed around frame 20, where one large mask stands alone."""
    masks = [*sphere(30, 31)[:18], (), (), (disk(60, 80, 45),), (), ()]
    track = gather_tracks(sections_of(masks), len(masks))[0]
    assert track.sections[-1].frame == 20
    assert propose_section(track, range(len(masks))).frame == 15
    # Were the frames around it unusable, rather than empty, it would be the largest section known.
    assert propose_section(track, [*range(18), 20]).frame == 20


def test_of_equal_areas_the_surer_one_is_proposed():
    track = gather_tracks([section(f, 100, 0.7 + 0.05 * (f == 4), 0.1 * (f == 2)) for f in range(7)], 7)[0]
    assert propose_section(track, range(7)).frame == 4


def test_the_main_track_is_the_one_of_which_most_is_seen_and_short_ones_are_spurious():
    sections = [section(f, 500, track=1) for f in range(10)] + [section(f, 4000, track=2) for f in range(2)]
    sections += [section(f, 300, track=3) for f in range(10)]
    tracks = gather_tracks(sections, 10)
    assert [(track.number, track.spurious) for track in tracks] == [(1, False), (3, False), (2, True)]


def drawn_sweeps(data, least=25):
    """Lists of the masks drawn on the frames of real sweeps, None where a frame is not marked."""
    frames = pd.read_csv(data / "sweeps" / "frames.csv", dtype=str)
    for name, rows in frames.groupby("sweep"):
        files = [data / "sweeps" / "nodule" / f"{image}.png" for image in rows["image"]]
        masks = [np.asarray(Image.open(file).convert("L")) > 127 if file.exists() else None for file in files]
        if sum(mask is not None for mask in masks) >= least:
            yield name, masks


def test_the_nodule_that_experts_followed_is_one_track_and_its_largest_section_is_proposed(data):
    shares, wholes = [], []
    for _, masks in drawn_sweeps(data):
        sections = sections_of([() if mask is None or not mask.any() else (mask,) for mask in masks])
        main = gather_tracks(sections, len(masks))[0]
        wholes.append(len(main.sections) / len(sections))
        shares.append(propose_section(main, range(len(masks))).area_px / max(s.area_px for s in sections))
    assert len(wholes) > 15
    assert np.mean(wholes) > 0.95, np.round(wholes, 2)
    assert np.mean(shares) > 0.95, np.round(shares, 2)


def real_frames(data, sweep, numbers, zoom=1):
    frames = pd.read_csv(data / "sweeps" / "frames.csv", dtype=str)
    names = list(frames[frames["sweep"] == sweep]["image"])
    for index, number in enumerate(numbers):
        image = load_image(data / "sweeps" / "images" / f"{names[number]}.jpg")
        if zoom > 1:
            image = UltrasoundImage(ndimage.zoom(image.pixels, zoom, order=1))
        yield CineFrame(index, names[number], None, image)


def test_each_frame_of_a_loop_is_segmented_as_it_is_alone_and_the_drawn_nodule_is_the_main_track(data):
    frames = list(real_frames(data, "24", range(10, 70, 8)))
    found = list(segment_cine(frames))
    for frame, result in zip(frames, found, strict=True):
        alone = segment(frame.image)
        assert np.array_equal(result.tracks > 0, np.any(alone.candidates, axis=0) if alone.found else alone.mask)
        assert [s.area_px for s in result.sections] == [mask.sum() for mask in alone.candidates]
        for section in result.sections:
            inside = result.tracks == section.track
            assert section.area_px == inside.sum()
            assert (section.y, section.x) == pytest.approx(ndimage.center_of_mass(inside))
            assert section.mean_probability == pytest.approx(alone.probability[inside].mean(), abs=1e-5)
    main = gather_tracks([s for result in found for s in result.sections], len(frames))[0]
    scores = []
    for frame, result in zip(frames, found, strict=True):
        drawn = np.asarray(Image.open(data / "sweeps" / "nodule" / f"{frame.name}.png").convert("L")) > 127
        ours = result.tracks == main.number
        scores.append(2 * (ours & drawn).sum() / (ours.sum() + drawn.sum()))
    assert np.mean(scores) > 0.5, np.round(scores, 2)


def test_areas_are_in_square_millimetres_where_the_spacing_is_known(data):
    frame = next(real_frames(data, "24", [20]))
    spaced = CineFrame(0, frame.name, None, frame.image.with_spacing(0.2))
    (plain,), (known,) = segment_cine([frame]), segment_cine([spaced])
    assert plain.sections
    assert plain.sections[0].area_mm2 is None
    assert known.sections[0].area_mm2 == pytest.approx(0.04 * known.sections[0].area_px)


def test_the_parts_of_a_gland_are_one_object(data):
    (frame,) = real_frames(data, "24", [20])
    (found,) = segment_cine([frame], "gland")
    gland = segment(frame.image, "gland")
    assert len(found.sections) == gland.found
    assert np.array_equal(found.tracks > 0, gland.mask)


def test_a_frame_that_cannot_be_used_is_passed_on_with_its_problem(data):
    frames = list(real_frames(data, "24", [20, 21]))
    bad = CineFrame(1, "bad", None, None, "bad: the image is blank")
    found = list(segment_cine([frames[0], bad, frames[1]]))
    assert [result.tracks is None for result in found] == [False, True, False]
    assert "blank" in found[1].problem
    assert found[0].sections[0].track == found[2].sections[0].track
    with pytest.raises(InputError, match="not one frame"):
        list(segment_cine([bad]))


def test_memory_does_not_grow_with_the_length_of_a_loop(data):
    """Twenty more frames of 688 x 896 pixels take less than a tenth of their probability maps."""
    process = psutil.Process()
    frames = real_frames(data, "24", [20 + number % 8 for number in range(32)], zoom=2)
    memory = {}
    for result in segment_cine(frames):
        # What only waits for the collector, or for its pages to be given back, is no growth.
        gc.collect()
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        memory[result.index] = process.memory_info().rss
        pixels = result.tracks.size
    growth = np.median([memory[index] - memory[index - 20] for index in range(22, 32)])
    assert growth < 0.1 * 20 * 2 * 4 * pixels
