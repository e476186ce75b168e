"""The template: its published size, its regions, and the sections that views are matched to."""

import numpy as np
import pytest

from llnm.atlas.model import write_volume
from llnm.atlas.template import REGIONS, read_template, section, thyroid_template
from llnm.errors import InputError


@pytest.fixture(scope="module")
def template():
    return thyroid_template()


def mirrored(name):
    return name.replace("left", "LEFT").replace("right", "left").replace("LEFT", "right")


def test_the_built_thyroid_has_textbook_dimensions(template):
    for side, sign in (("left", -1), ("right", 1)):
        lobe = np.isin(template.labels, [n for n, name in REGIONS.items() if name.startswith(side)])
        places = template.position(np.argwhere(lobe))
        width, depth, height = np.ptp(places, axis=0) + 1
        assert 40 <= height <= 60 and 15 <= width <= 20 and 13 <= depth <= 18, (side, width, depth, height)
        assert (sign * places[:, 0] > 0).all()
    isthmus = template.position(np.argwhere(template.labels == 25))
    assert np.allclose(isthmus.mean(axis=0), 0)
    # In the middle the isthmus is as thick as the books say, to a voxel.
    assert 2 <= np.ptp(isthmus[np.abs(isthmus[:, 0]) < 1, 1]) + 1 <= 4


def test_every_region_is_there_and_lies_where_its_name_says(template):
    centres = {name: template.position(np.argwhere(template.labels == n)).mean(0) for n, name in REGIONS.items()}
    assert dict(template.regions) == REGIONS
    for name, centre in centres.items():
        if "lobe," not in name:
            continue
        lobe = np.mean([c for other, c in centres.items() if other.split(",")[0] == name.split(",")[0]], axis=0)
        section_centre = np.mean([c for o, c in centres.items() if o.split(",")[:2] == name.split(",")[:2]], axis=0)
        away = centre - section_centre
        outwards = np.sign(lobe[0]) * away[0]
        assert {"medial": -outwards, "lateral": outwards, "anterior": away[1], "posterior": -away[1]}[
            name.split(", ")[2]
        ] > 2
        assert {"upper": 1, "middle": 0, "lower": -1}[name.split()[2]] == np.sign(round((centre - lobe)[2] / 10))
    assert centres["pyramidal lobe"][2] > centres["isthmus"][2] + 8
    for name, centre in centres.items():
        if "lobe," in name:  # both lobes are each other's mirror
            assert np.allclose(centre * [-1, 1, 1], centres[mirrored(name)], atol=0.5)


def test_a_template_without_pyramidal_lobe_says_so():
    template = thyroid_template(pyramidal=False)
    assert "pyramidal lobe" not in template.regions.values()
    assert template.source.endswith("without pyramidal lobe")


@pytest.mark.parametrize("plane", ["transverse", "longitudinal"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_section_shows_the_template_at_its_own_place(template, plane, side):
    shown = section(template, plane, side)
    places = shown.position(np.argwhere(shown.mask))
    i, j, k = np.round(template.index(places)).astype(int).T
    assert np.array_equal(template.labels[i, j, k], shown.regions[shown.mask])
    rows, columns = np.diff(shown.position([[0, 0], [1, 0], [0, 0], [0, 1]]), axis=0)[[0, 2]]
    assert rows[1] < 0, "down in the image is to the back"
    assert (columns[0] if plane == "transverse" else columns[2]) < 0, "image left is the patient's right, or the head"
    sides = {"left", "right"} if plane == "transverse" else {side}
    assert {REGIONS[n].split()[0] for n in np.unique(shown.regions[shown.mask])} - {"isthmus", "pyramidal"} == sides


def test_sections_follow_the_height_and_stop_at_the_poles(template):
    assert section(template, "transverse", "left", 20.0).origin[2] == pytest.approx(20.0)
    assert section(template, "longitudinal", "left", -12.0).origin[0] == pytest.approx(-12.0, abs=0.51)
    pole = section(template, "transverse", "left", 500.0)
    assert pole.mask.any() and pole.origin[2] < 35
    with pytest.raises(InputError, match="section: 'oblique'"):
        section(template, "oblique", "left")


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_a_users_segmentation_in_any_orientation_gives_the_same_regions(template, tmp_path, suffix):
    # The same gland stored with reversed and exchanged axes, shifted in space.
    turned = np.ascontiguousarray((template.labels > 0).transpose(2, 0, 1)[::-1]).astype(np.uint8)
    affine = np.array([[0, 1.0, 0, 70], [0, 0, 1.0, 5], [-1.0, 0, 0, 200], [0, 0, 0, 1]])
    path = tmp_path / f"gland{suffix}"
    write_volume(path, turned, affine)
    found = read_template(path)
    assert found.regions == template.regions and path.name in found.source
    for n in REGIONS:
        mine, theirs = (t.position(np.argwhere(t.labels == n)) for t in (template, found))
        assert len(theirs) == pytest.approx(len(mine), rel=0.1)
        assert np.allclose(theirs.mean(axis=0), mine.mean(axis=0), atol=0.8), REGIONS[n]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (np.zeros_like, "is empty"),
        (lambda m: np.where(np.arange(m.shape[0])[:, None, None] < 30, m, 0), "no transverse section shows two lobes"),
    ],
)
def test_what_is_no_thyroid_is_refused_by_name(template, tmp_path, make, message):
    path = tmp_path / "bad.nii.gz"
    write_volume(path, make((template.labels > 0).astype(np.uint8)), template.affine)
    with pytest.raises(InputError, match=message) as error:
        read_template(path)
    assert "bad.nii.gz" in str(error.value)


def test_a_segmentation_in_metres_is_refused(template, tmp_path):
    write_volume(tmp_path / "m.nrrd", template.labels, np.diag([0.001, 0.001, 0.001, 1]))
    with pytest.raises(InputError, match="millimetres"):
        read_template(tmp_path / "m.nrrd")


@pytest.mark.parametrize("spacing", [0.0, 3.0])
def test_a_spacing_that_cannot_be_is_refused(spacing):
    with pytest.raises(InputError, match="spacing"):
        thyroid_template(spacing)


def test_the_mean_of_stretched_copies_has_the_mean_size_and_shape(template, tmp_path, llnm):
    paths = []
    for place, stretch in enumerate([(0.85, 1.0, 0.9), (1.0, 0.9, 1.15), (1.15, 1.1, 0.95)]):
        affine = np.diag([*stretch, 1.0]) @ template.affine
        paths.append(tmp_path / f"{place}.nii.gz")
        write_volume(paths[-1], (template.labels > 0).astype(np.uint8), affine)
    code, out, _ = llnm("atlas", "template", *paths, "--out", tmp_path / "mean.nii.gz")
    assert code == 0 and "mean of 3 glands" in out
    mean = read_template(tmp_path / "mean.nii.gz")
    mine, theirs = (t.position(np.argwhere(t.labels > 0)) for t in (template, mean))
    assert np.allclose(np.ptp(mine, axis=0), np.ptp(theirs, axis=0), atol=1.01)
    assert len(theirs) == pytest.approx(len(mine), rel=0.03)
    assert mean.regions == template.regions
    write = llnm("atlas", "template", *reversed(paths), "--out", tmp_path / "turned.nii.gz")[0]
    assert write == 0 and (read_template(tmp_path / "turned.nii.gz").labels == mean.labels).all()


def test_a_mean_needs_two_glands(template, tmp_path, llnm):
    write_volume(tmp_path / "one.nii.gz", (template.labels > 0).astype(np.uint8), template.affine)
    code, _, err = llnm("atlas", "template", tmp_path / "one.nii.gz", "--out", tmp_path / "mean.nii.gz")
    assert code == 2 and "two or more" in err and not (tmp_path / "mean.nii.gz").exists()
