"""The atlas's page, looked at as a reader does: in Chromium, offline, with mouse and keyboard."""

import io
import json
import re
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from playwright.sync_api import expect, sync_playwright

from llnm.atlas import Atlas, Template
from llnm.atlas.colours import NO_EVIDENCE, colours_of
from llnm.atlas.marker import marker_at, marker_of_result
from llnm.atlas.page import read_regions, render_page, write_page
from llnm.atlas.risk import RegionRisk
from llnm.atlas.template import thyroid_template
from llnm.errors import InputError

NASTY = "</script><script>window.broken = 1</script><b>&\"'"
TEMPLATE = thyroid_template()
PLACE = (-17.0, -4.0, 15.0)
CHROMIUM = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
GREY = tuple(int(NO_EVIDENCE[n : n + 2], 16) for n in (1, 3, 5))


def atlas_of(risk, method="beta", about=None, template=TEMPLATE):
    risk = np.where(template.labels > 0, risk, np.nan).astype(np.float32)
    blank = np.full_like(risk, np.nan)
    low, high = (np.clip(risk - 0.1, 0, 1), np.clip(risk + 0.1, 0, 1)) if method == "beta" else (blank, blank)
    return Atlas(template, risk, low, high, np.where(np.isnan(risk), 0, 5).astype(np.float32), method, about or {})


def labels_of(part):
    return [n for n, name in TEMPLATE.regions.items() if name.startswith(part)]


@pytest.fixture(scope="module")
def hot_left():
    """0.1 all over, 0.55 in the left lobe's upper third, nothing known of the right lobe's lower third."""
    upper, lower = labels_of("left lobe, upper"), labels_of("right lobe, lower")
    risk = np.where(np.isin(TEMPLATE.labels, upper), 0.55, 0.1)
    return atlas_of(np.where(np.isin(TEMPLATE.labels, lower), np.nan, risk), about={"cohort": NASTY, "patients": 1200})


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture
def opened(browser, tmp_path):
    """Open a page of an atlas; every request and every word on the console counts as a failure."""
    noise, pages = [], []

    def open_page(atlas, marker=None, **settings):
        write_page(atlas, tmp_path / "atlas.html", marker)
        page = browser.new_page(viewport={"width": 1200, "height": 800}, **settings)
        pages.append(page)
        page.on("console", lambda message: noise.append(message.text))
        page.on("pageerror", lambda error: noise.append(str(error)))
        page.on("request", lambda request: request.url.startswith("file:") or noise.append(request.url))
        page.goto((tmp_path / "atlas.html").as_uri())
        expect(page.locator("#crossing")).not_to_be_empty()
        return page

    yield open_page
    for page in pages:
        page.close()
    assert noise == []


def pixels(page, selector="#view"):
    """What a part of the page shows, (row, column, 3)."""
    settled(page)
    return np.asarray(Image.open(io.BytesIO(page.locator(selector).screenshot())).convert("RGB"), int)


def settled(page):
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def middle_of(page, selector):
    box = page.locator(selector).bounding_box()
    return np.array([box["x"] + box["width"] / 2, box["y"] + box["height"] / 2])


def is_red(image):
    return (image[..., 0] > 150) & (image[..., 1] < 0.55 * image[..., 0])


def is_grey(image):
    return (np.ptp(image, axis=-1) < 14) & (image[..., 0] > 70) & (image[..., 0] < 175)


def set_slider(page, name, value):
    page.locator(f"#{name}").fill(str(value))


def test_the_gland_is_seen_from_the_front_with_its_risk_on_the_right_side(opened, hot_left):
    page = opened(hot_left)
    image = pixels(page)
    red, grey = np.argwhere(is_red(image)), np.argwhere(is_grey(image))
    assert len(red) > 2000 and len(grey) > 2000
    # The patient looks at the reader: left lobe on the right, its upper third on top; no evidence below on the left.
    height, width = image.shape[:2]
    assert red[:, 1].min() > width / 2 and red[:, 0].mean() < height / 2
    assert grey[:, 1].max() < width / 2 and grey[:, 0].mean() > height / 2
    left, right = (middle_of(page, f"#marks span:text-is('{side}')") for side in "LR")
    head, feet = (middle_of(page, f"#marks span:text-is('{end}')") for end in ("Head", "Feet"))
    assert right[0] < left[0] and head[1] < feet[1]
    assert page.locator("header").inner_text().endswith(f"; 1,200 patients; {NASTY}")
    assert page.locator("body").inner_text().count("Research use only; not a medical device.") >= 2


def test_views_from_the_back_and_above_turn_gland_and_marks(opened, hot_left):
    page = opened(hot_left)
    page.get_by_role("button", name="Back").click()
    image = pixels(page)
    assert np.argwhere(is_red(image))[:, 1].max() < image.shape[1] / 2
    page.get_by_role("button", name="Head").click()
    settled(page)
    front, back = (middle_of(page, f"#marks span:text-is('{end}')") for end in ("Front", "Back"))
    assert front[1] > back[1]
    assert not page.locator("#marks span:text-is('Head')").is_visible(), "it would hide the gland"
    before = pixels(page)
    page.locator("#view").focus()
    page.keyboard.press("ArrowLeft")
    assert (pixels(page) != before).any()
    page.keyboard.press("Home")
    image = pixels(page)
    assert np.argwhere(is_red(image))[:, 1].min() > image.shape[1] / 2
    page.keyboard.press("+")
    assert is_red(pixels(page)).sum() > 1.15 * is_red(image).sum()


def test_the_near_side_hides_the_far_one(opened):
    """Hot in front of the middle of each lobe and cold behind it: which of both is seen tells the side."""
    y = TEMPLATE.position(np.moveaxis(np.indices(TEMPLATE.labels.shape), 0, -1))[..., 1]
    page = opened(atlas_of(np.where(y > -5, 0.55, 0.05)))
    front = is_red(pixels(page)).sum()
    page.get_by_role("button", name="Back").click()
    back = is_red(pixels(page)).sum()
    assert front > 20_000 and back < 0.35 * front


def test_the_threshold_hides_what_is_below_it(opened, hot_left):
    page = opened(hot_left)
    solid = np.argwhere(is_grey(pixels(page)))
    set_slider(page, "threshold", 0.3)
    image = pixels(page)
    assert page.locator("#threshold-value").inner_text() == "30 %"
    share = np.isin(TEMPLATE.labels, labels_of("left lobe, upper")).sum() / (TEMPLATE.labels > 0).sum()
    assert page.locator("#shown").inner_text().startswith(f"{100 * share:.0f} %")
    assert is_red(image).sum() > 2000 and len(np.argwhere(is_grey(image))) < 0.1 * len(solid)
    set_slider(page, "threshold", 0.58)
    assert is_red(pixels(page)).sum() < 50
    assert page.locator("#shown").inner_text().startswith("0 %")


def test_the_nodule_stands_where_it_is_with_its_numbers(opened, hot_left):
    marker = marker_at(hot_left, PLACE)
    page = opened(hot_left, marker)
    settled(page)
    nodule = middle_of(page, "#nodule i")
    # An independent projection: along lines of sight the marks of the axes span the picture.
    mark = {name: middle_of(page, f"#marks span:text-is('{name}')") for name in ("L", "R", "Head", "Feet")}
    gland = TEMPLATE.position(np.argwhere(TEMPLATE.labels > 0))
    low, high = gland.min(axis=0), gland.max(axis=0)
    across = (PLACE[0] - (high[0] + 7)) / ((low[0] - 7) - (high[0] + 7))
    down = ((high[2] + 7) - PLACE[2]) / ((high[2] + 7) - (low[2] - 7))
    expected = [
        mark["R"][0] + across * (mark["L"][0] - mark["R"][0]),
        mark["Head"][1] + down * (mark["Feet"][1] - mark["Head"][1]),
    ]
    assert np.abs(nodule - expected).max() < 8
    words = page.locator(".patient").inner_text().replace("\xa0", " ")
    assert "left lobe, upper third" in words and "55 %" in words and "45 % to 65 %" in words
    assert "17 mm left, 4 mm back, 15 mm up" in words
    assert [page.locator(f"#{name}-value").inner_text() for name in ("sagittal", "coronal", "axial")] == [
        "17 mm to the left",
        "4 mm to the back",
        "15 mm to the head",
    ]
    assert "Probability: 55 %, 95 % interval 45 % to 65 %" in page.locator("#crossing").inner_text()
    # Pointing at the surface in front of it tells the region there.
    page.mouse.move(nodule[0], nodule[1] + 12)
    words = page.locator("#tip").inner_text()
    assert re.fullmatch(r"left lobe, upper third, .*\nProbability: 55 %\n95 % interval 45 % to 65 %", words)


def test_slices_show_what_the_volume_holds_and_move(opened, hot_left):
    page = opened(hot_left)
    set_slider(page, "axial-at", 0)
    assert "outside the gland" in page.locator("#crossing").inner_text()
    page.get_by_role("button", name="right lobe, lower third, lateral").click()
    assert page.locator("#crossing").inner_text().endswith("right lobe, lower third, lateral, no evidence.")
    page.get_by_role("button", name="left lobe, upper third, medial").click()
    image = pixels(page, "#coronal")
    hot = np.round(255 * colours_of(0.55 / 0.6)).astype(int)
    found = np.argwhere(np.abs(image - hot).max(axis=-1) < 12)
    assert len(found) > 500 and found[:, 1].min() > image.shape[1] / 2 and found[:, 0].max() < image.shape[0] / 2
    grey = np.argwhere(np.abs(image[30:] - GREY).max(axis=-1) < 4)
    assert len(grey) > 500 and grey[:, 1].max() < image.shape[1] / 2
    # A click on the right lobe's middle in the coronal slice moves the sagittal one there.
    box = page.locator("#coronal").bounding_box()
    page.mouse.click(box["x"] + 0.2 * box["width"], box["y"] + 0.5 * box["height"])
    assert "to the right" in page.locator("#sagittal-value").inner_text()
    # In 3D they show through a gland that is made faint.
    set_slider(page, "opacity", 0)
    assert not is_red(pixels(page)).any()
    page.get_by_role("button", name="left lobe, upper third, medial").click()
    page.locator("#planes").check()
    assert is_red(pixels(page)).sum() > 1000


def test_every_control_has_a_name_and_dark_is_dark(opened, hot_left):
    page = opened(hot_left, marker_at(hot_left, PLACE), color_scheme="dark")
    unnamed = page.evaluate(
        "[...document.querySelectorAll('input, button, canvas')].filter((item) =>"
        " !item.labels?.length && !item.getAttribute('aria-label') && !item.textContent.trim()).map((item) => item.id)"
    )
    assert unnamed == []
    corner = pixels(page)[5, 5]
    assert corner.max() < 60
    ink = page.evaluate("getComputedStyle(document.body).color.match(/\\d+/g).map(Number)")
    assert min(ink) > 180
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "view"


def test_names_from_outside_are_words_and_nothing_else(opened):
    regions = {**TEMPLATE.regions, 2: NASTY}
    template = Template(TEMPLATE.labels, TEMPLATE.affine, regions, NASTY)
    about = {NASTY: {NASTY: [NASTY, None, True, 0.5]}}
    atlas = atlas_of(np.full(TEMPLATE.labels.shape, 0.2), about=about, template=template)
    place = TEMPLATE.position(np.argwhere(TEMPLATE.labels == 2).mean(axis=0))
    page = opened(atlas, marker_at(atlas, place, name=NASTY))
    assert page.evaluate("window.broken") is None
    assert page.locator(".patient h2").inner_text() == NASTY
    assert NASTY in page.locator("#crossing").inner_text()


def test_an_atlas_without_evidence_is_grey_and_says_so(opened):
    nothing = np.full(TEMPLATE.labels.shape, np.nan)
    page = opened(atlas_of(nothing), marker_at(atlas_of(nothing), PLACE))
    assert "No voxel of this atlas has evidence" in page.locator("main").inner_text()
    assert page.locator("#regions td:text-is('no evidence')").count() == len(TEMPLATE.regions)
    assert "no evidence" in page.locator(".patient").inner_text()
    image = pixels(page)
    assert not is_red(image).any() and is_grey(image).sum() > 20_000
    one = nothing.copy()
    one[tuple(np.argwhere(TEMPLATE.labels == 2)[50])] = 0.4
    page = opened(atlas_of(one, "class means"))
    assert "Only <1 % of the gland has evidence" in page.locator("main").inner_text()
    assert page.locator("#regions tbody tr").first.inner_text().split("\t") == [
        TEMPLATE.regions[2],
        " 0.40",
        "no interval",
        "<1 %",
    ]
    assert page.locator("#scale-title").inner_text() == "Relative risk (0-1, no unit)"
    assert "%" not in page.locator("#threshold-value").inner_text()


def test_a_page_of_a_fine_grid_stays_small_and_loads_nothing():
    fine = thyroid_template(0.5)
    noisy = np.random.default_rng(0).random(fine.labels.shape)
    text = render_page(atlas_of(noisy, template=fine))
    assert len(text.encode()) < 8e6
    assert not re.search(r"https?://|src=|@import|url\(", text.split('id="atlas"')[0])
    assert "default-src 'none'" in text


@pytest.mark.parametrize("method", ["beta", "class means"])
def test_regions_that_the_build_counted_are_shown_as_counted(tmp_path, method):
    found = [
        RegionRisk("isthmus", 0.66, 0.5, 0.8, 41.23, 0.01, True),
        RegionRisk("pyramidal lobe", None, None, None, 1.0, None, False),
    ]
    pd.DataFrame([asdict(region) for region in found]).to_csv(tmp_path / "regions.csv", index=False)
    text = render_page(atlas_of(np.full(TEMPLATE.labels.shape, 0.2), method), counted=read_regions(tmp_path))
    table = re.sub(r"<[^>]+>\s*", "|", text[text.index('<table id="regions"') : text.index("(regions.csv)")])
    assert "|isthmus|66 %|50 % to 80 %|41.2|hotter|" in re.sub(r"\|+", "|", table)
    assert "|pyramidal lobe|no evidence|no interval|1.0|–|" in re.sub(r"\|+", "|", table)
    (tmp_path / "regions.csv").write_text("something,else\n1,2\n", encoding="utf-8")
    with pytest.raises(InputError, match="regions.csv: is no table of regions"):
        read_regions(tmp_path)
    assert read_regions(tmp_path / "absent") == []


def test_a_grid_with_axes_the_other_way_round_shows_the_same(hot_left):
    turned = Template(TEMPLATE.labels[::-1, ::-1], np.diag([-1.0, -1, 1, 1]), TEMPLATE.regions, "turned")
    turned.affine[:3, 3] = TEMPLATE.position([TEMPLATE.labels.shape[0] - 1, TEMPLATE.labels.shape[1] - 1, 0])
    flipped = [values[::-1, ::-1] for values in (hot_left.risk, hot_left.low, hot_left.high, hot_left.count)]
    first, second = (
        json.loads(re.search(r'id="atlas">(.*?)</script>', render_page(atlas)).group(1))
        for atlas in (hot_left, Atlas(turned, *flipped, "beta"))
    )
    assert first["voxels"] == second["voxels"] and first["origin"] == pytest.approx(second["origin"])
    skewed = TEMPLATE.affine.copy()
    skewed[0, 1] = 0.3
    other = Template(TEMPLATE.labels, skewed, TEMPLATE.regions, "skewed")
    with pytest.raises(InputError, match="axes of the body"):
        render_page(Atlas(other, *[hot_left.risk] * 4, "beta"))
    empty = Template(np.zeros_like(TEMPLATE.labels), TEMPLATE.affine, {}, "empty")
    with pytest.raises(InputError, match="no voxel of a gland"):
        render_page(Atlas(empty, *[hot_left.risk] * 4, "beta"))


def test_a_result_marks_its_position_or_says_that_it_names_a_region_only(hot_left):
    for result in ({"location": {"place_ras_mm": list(PLACE), "region": "isthmus"}}, {"place_ras_mm": list(PLACE)}):
        exact = marker_of_result(hot_left, result)
        assert exact.position.tolist() == list(PLACE) and not exact.remark and exact.risk == pytest.approx(0.55)
    told = marker_of_result(hot_left, {"place_ras_mm": list(PLACE), "risk": 0.4, "interval": [0.3, 0.5]})
    assert "0.40 (0.30 to 0.50)" in told.remark and told.risk == pytest.approx(0.55)
    same = marker_of_result(hot_left, {"place_ras_mm": list(PLACE), "risk": 0.55, "interval": [0.45, 0.65]})
    assert same.remark == ""
    for region in ("left lobe, upper third", "left lobe, upper third, medial"):
        rough = marker_of_result(hot_left, {"location": {"region": region}})
        assert rough.region.startswith(region) and "names a region" in rough.remark
    for result, message in (
        ({}, "not known"),
        ({"location": 3}, "cannot be read"),
        ({"place_ras_mm": "here"}, "is no position"),
        ({"place_ras_mm": [1, None, 2]}, "is no position"),
        ({"location": {"region": None}}, "not known"),
        ({"location": {"region": "spleen"}}, "no region 'spleen'"),
    ):
        with pytest.raises(InputError, match=message):
            marker_of_result(hot_left, result)
    for place, message in (((0, 90, 0), "mm outside the gland"), ((np.nan, 0, 0), "is no position")):
        with pytest.raises(InputError, match=message):
            marker_at(hot_left, place)


def test_the_command_writes_the_page_or_says_why_not(hot_left, tmp_path, llnm):
    hot_left.save(tmp_path / "atlas")
    page, result = tmp_path / "page.html", tmp_path / "result.json"
    result.write_text(json.dumps({"location": {"region": "isthmus"}}), encoding="utf-8")
    code, out, _ = llnm("atlas", "view", tmp_path / "atlas", "--out", page, "--patient", result)
    assert code == 0 and "isthmus, 0.10 (0.00 to 0.20)" in out and "names a region" in out and page.stat().st_size < 8e6
    page.unlink()
    for arguments, message in (
        ((tmp_path, "--out", page), "is no atlas"),
        ((tmp_path / "atlas", "--out", tmp_path / "page.png"), "end in .html"),
        ((tmp_path / "atlas", "--out", page, "--place", "1,2"), "X,Y,Z"),
        ((tmp_path / "atlas", "--out", page, "--place", "1,2,3", "--patient", result), "give one of them"),
        ((tmp_path / "atlas", "--out", page, "--patient", tmp_path / "absent.json"), "cannot be read as JSON"),
    ):
        code, _, err = llnm("atlas", "view", *arguments)
        assert code == 2 and message in err and not page.exists()
