"""The published page as an atlas: what it holds is read anew here, and the paper's reading must come out."""

import re

import matplotlib
import numpy as np
import pytest
from scipy import ndimage

from llnm.atlas import Atlas
from llnm.atlas.colours import colours_of, values_of
from llnm.atlas.published import import_page, read_page
from llnm.atlas.template import REGIONS, lobe_mask, thyroid_template
from llnm.errors import InputError

TEMPLATE = thyroid_template()


@pytest.fixture(scope="module")
def page(data):
    return data / "published" / "risk_page.html"


@pytest.fixture(scope="module")
def imported(page):
    return import_page(page, TEMPLATE)


def balls(positions, colours, camera="camera.position.set(1, 2, 3);"):
    """A page in the form of the published one."""
    ball = "new THREE.Color({},{},{}) }});\nsphere.position.set({},{},{});\n"
    return camera + "".join(ball.format(*c, *p) for c, p in zip(colours, positions, strict=True)) + "</html>"


def test_values_come_back_from_the_colours_of_matplotlib_also_lightened_and_shaded():
    values = np.linspace(0.02, 0.98, 97)
    plain = matplotlib.colormaps["YlOrRd"].resampled(4096)(values)[:, :3]
    assert np.abs(colours_of(values) - plain).max() < 0.01
    for light, shade in ((0.0, 1.0), (0.4, 1.0), (0.0, 0.7), (0.3, 0.8)):
        found, distance = values_of(shade * (plain + light * (1 - plain)))
        assert np.abs(found - values).max() < 0.02, (light, shade)
        assert (distance.max() < 0.02) == ((light, shade) == (0.0, 1.0))
    assert np.isnan(values_of([[0.5, 0.5, 0.5]])[0]).all()


def test_every_point_of_the_page_is_read_in_order(page, imported):
    _, points = imported
    tail = page.read_text(encoding="utf-8").split("THREE.Color(")[1:]
    assert len(points.value) == len(tail) == 4580
    for n in (0, 17, 4579):
        position = re.search(r"position\.set\((.*?), (.*?), (.*?)\)", tail[n])
        assert points.position[n] == pytest.approx([float(number) for number in position.groups()])
    # By eye: the reddest ball is hot, the palest is not.
    green = np.array([float(part.split(",")[1]) for part in tail])
    assert points.value[green.argmin()] > 0.75 and points.value[green.argmax()] < 0.2


def test_the_paper_s_reading_comes_out(imported):
    atlas, points = imported
    hottest = np.argsort(points.value)[-229:]
    assert (points.position[hottest, 0] > 128).all(), "5 % of the points, all in one lobe"
    assert TEMPLATE.position(np.argwhere(atlas.risk > np.nanquantile(atlas.risk, 0.95))).mean(axis=0)[0] < -10
    # "The upper central region of the left lobe, medial and lateral regions of the upper part of the right lobe".
    mean = {}
    height = np.arange(TEMPLATE.labels.shape[2])
    for side in ("left", "right"):
        lobe = lobe_mask(TEMPLATE, side)
        upper = height > np.argwhere(lobe)[:, 2].mean()
        for quarter in ("medial", "lateral", "anterior", "posterior"):
            labels = [n for n, name in REGIONS.items() if name.startswith(side) and name.endswith(quarter)]
            for half, rows in (("upper", upper), ("lower", ~upper)):
                here = np.isin(TEMPLATE.labels, labels) & rows
                mean[side, half, quarter] = float(np.nanmean(atlas.risk[here]))
    order = sorted(mean, key=mean.get, reverse=True)
    assert order[0][:2] == order[1][:2] == ("left", "upper")
    lower_right = max(value for (side, half, _), value in mean.items() if (side, half) == ("right", "lower"))
    for quarter in ("medial", "lateral"):
        assert mean["right", "upper", quarter] > max(lower_right, float(np.nanmean(atlas.risk)))
    isthmus = float(np.nanmean(atlas.risk[TEMPLATE.labels == 25]))
    assert isthmus < min(mean.values())


def test_hot_points_stay_where_they_were_in_their_lobe(imported):
    atlas, points = imported
    for side, of_page in (("left", points.position[:, 0] > 165), ("right", points.position[:, 0] < 90)):
        lobe = lobe_mask(TEMPLATE, side)
        z = TEMPLATE.position(np.argwhere(lobe))[:, 2]
        voxels = (z - z.min()) / np.ptp(z)
        y = points.position[of_page, 1]
        hot_page = ((y - y.min()) / np.ptp(y))[points.value[of_page] > np.quantile(points.value[of_page], 0.9)]
        hot_atlas = voxels[atlas.risk[lobe] > np.nanquantile(atlas.risk[lobe], 0.9)]
        assert hot_atlas.mean() == pytest.approx(hot_page.mean(), abs=0.06)


def test_the_atlas_says_what_it_is_and_invents_nothing(imported, tmp_path):
    atlas, points = imported
    assert atlas.method == "published" and not atlas.is_probability
    assert np.isnan(atlas.low).all() and np.isnan(atlas.high).all() and np.isnan(atlas.count).all()
    gland = TEMPLATE.labels > 0
    assert not np.isfinite(atlas.risk[~gland]).any()
    share = np.isfinite(atlas.risk[gland]).mean()
    assert 0.5 < share < 0.9, "the inside is blank"
    surface = gland & ~ndimage.binary_erosion(gland)
    assert np.isfinite(atlas.risk[surface]).all()
    assert not np.isfinite(atlas.risk[ndimage.distance_transform_edt(gland) > 3]).any()
    assert np.nanmin(atlas.risk) >= points.value.min() and np.nanmax(atlas.risk) <= points.value.max()
    assert atlas.about["colour_distance"]["median"] == pytest.approx(np.median(points.distance), abs=1e-4)
    assert "left" in atlas.about["orientation"] and sum(atlas.about["points_by_part"].values()) == 4580
    atlas.save(tmp_path)
    assert np.array_equal(Atlas.load(tmp_path).risk, atlas.risk, equal_nan=True)


def test_left_stays_left_when_the_page_is_made_of_the_template_itself(tmp_path):
    """Points on the template's own surface, hot in one region: the atlas is hot there and nowhere else."""
    label = next(n for n, name in REGIONS.items() if name == "right lobe, upper third, lateral")
    gland = np.argwhere(TEMPLATE.labels > 0)
    # In the page's axes: x to the left, y to the head, z to the front, each from 38 to 218.
    x, y, z = TEMPLATE.position(gland).T
    page = np.stack([-x, z, y], axis=1)
    page = 38 + 180 * (page - page.min(axis=0)) / np.ptp(page, axis=0)
    hot = TEMPLATE.labels[tuple(gland.T)] == label
    file = tmp_path / "page.html"
    file.write_text(balls(page, colours_of(np.where(hot, 0.9, 0.3))), encoding="utf-8")
    atlas, _ = import_page(file, TEMPLATE)
    means = {name: np.nanmean(atlas.risk[TEMPLATE.labels == n]) for n, name in TEMPLATE.regions.items()}
    assert max(means, key=means.get) == REGIONS[label]
    assert means[REGIONS[label]] > 0.7 and means["left lobe, upper third, lateral"] < 0.35


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "<html>a page about something else</html>\n", r"holds no THREE.Color"),
        (lambda text: text.replace(".position.set", ".scale.set"), r"holds no position.set"),
        (lambda text: text.replace("sphere.position.set", "// ", 1), "4580 colours and 4579 positions"),
        (lambda text: text.replace("position.set(203.", "position.set(nan + ", 1), "three finite numbers"),
        (lambda text: text.replace("position.set(203.1392444547193,", "position.set(", 1), "three finite numbers"),
        (lambda text: text.replace("THREE.Color(0.99", "THREE.Color(1.99"), "from 0 to 1"),
        (lambda text: text[:20_000] + "</html>", "do not make pairs|are no gland"),
        (lambda text: text[: len(text) // 2], "cut off or no page"),
        (lambda text: re.sub(r"Color\(([^,]*),([^,]*),([^)]*)\)", r"Color(\3,\2,\1)", text), "not of the map YlOrRd"),
        (lambda text: re.sub(r"Color\(([^,]*),[^)]*\)", r"Color(\1,\1,\1)", text), "not of the map YlOrRd"),
        (lambda text: re.sub(r"sphere\.position\.set\(([^,]*),", "sphere.position.set(7,", text), "lie in a plane"),
    ],
)
def test_another_page_is_refused_by_what_it_lacks(page, tmp_path, change, message):
    file = tmp_path / "other.html"
    file.write_text(change(page.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_page(file)
        import_page(file, TEMPLATE)


@pytest.mark.parametrize("turn", [(0, 2, 1), (1, 0, 2)])
def test_a_page_with_other_axes_is_refused(page, tmp_path, turn):
    points = read_page(page)
    file = tmp_path / "turned.html"
    file.write_text(balls(points.position[:, turn], colours_of(points.value)), encoding="utf-8")
    with pytest.raises(InputError, match=r"turned.html: .*no thyroid"):
        import_page(file, TEMPLATE)


def test_a_cloud_that_is_no_thyroid_is_refused(tmp_path):
    rng = np.random.default_rng(0)
    direction = rng.normal(size=(3000, 3))
    file = tmp_path / "sphere.html"
    file.write_text(
        balls(100 + 50 * direction / np.linalg.norm(direction, axis=1)[:, None], colours_of(rng.random(3000))),
        encoding="utf-8",
    )
    with pytest.raises(InputError, match=r"sphere.html: .*no thyroid"):
        import_page(file, TEMPLATE)


def test_the_command_writes_an_atlas_and_its_points_or_nothing(page, tmp_path, llnm):
    code, out, _ = llnm("atlas", "import-page", page, "--out", tmp_path / "atlas")
    assert code == 0 and "4,580 points" in out and "relative" in out
    assert Atlas.load(tmp_path / "atlas").method == "published"
    table = (tmp_path / "atlas" / "points.csv").read_text(encoding="utf-8").splitlines()
    assert (tmp_path / "atlas" / "template.vtp").exists()
    assert len(table) == 4581 and table[0] == "x,y,z,relative_risk,colour_distance"
    other = tmp_path / "other.html"
    other.write_bytes(b"\xff\xfe\x00")
    for source, message in ((other, "no UTF-8"), (tmp_path / "absent.html", "cannot be read")):
        code, _, err = llnm("atlas", "import-page", source, "--out", tmp_path / "none")
        assert code == 2 and message in err and not (tmp_path / "none").exists()
