"""The report as a page: self-contained, escaped, and saying what a reader must know."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from PIL import Image
from report_examples import full_result, minimal_result, real_views

from llnm.report import ReportView, render_report

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """What a browser would find in a page: its tags in order, its text, and whether every tag is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.pieces: list[str] = []
        self.feed(html)
        self.close()
        self.text = " ".join("".join(self.pieces).replace("\N{NO-BREAK SPACE}", " ").split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.pieces.append(" ")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.pieces.append(data)

    def images(self) -> list[np.ndarray]:
        sources = [attributes["src"] or "" for tag, attributes in self.tags if tag == "img"]
        return [np.asarray(Image.open(io.BytesIO(base64.b64decode(source.split(",")[1])))) for source in sources]


@pytest.fixture(scope="module")
def views() -> dict[str, ReportView]:
    return real_views()


@pytest.fixture(scope="module")
def full(views: dict[str, ReportView]) -> dict[str, Any]:
    return full_result(views)


@pytest.fixture(scope="module")
def html(full: dict[str, Any], views: dict[str, ReportView]) -> str:
    return render_report(full, views)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_nothing_on_the_page_comes_from_outside_and_nothing_runs(html: str, page: Page) -> None:
    for tag, attributes in page.tags:
        assert tag not in {"script", "link", "iframe", "object", "embed", "base"}
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in {"src", "href", "srcset", "action", "data", "poster", "xlink:href"}:
                assert (value or "").startswith(("data:", "#"))
    style = html[html.index("<style>") : html.index("</style>")]
    assert "@import" not in style and "url(" not in style
    assert not re.search(r"https?://", html)


def test_the_page_is_well_formed_and_made_for_every_reader(page: Page) -> None:
    assert page.open == []
    tags = dict(page.tags)
    assert tags["html"]["lang"] == "en"
    assert "LLNM risk report" in page.text
    assert all((attributes["alt"] or "").strip() for tag, attributes in page.tags if tag == "img")
    for tag, attributes in page.tags:
        if tag == "svg":
            assert attributes.get("aria-hidden") == "true" or attributes.get("aria-label")


def test_text_from_outside_is_escaped_wherever_it_is_shown(full: dict[str, Any], views: dict[str, ReportView]) -> None:
    attack = "\"><script>alert(1)</script><img src=x onerror='alert(2)'>"
    full = {
        **full,
        "patient": attack,
        "warnings": [attack],
        "missing": [attack],
        "stage": {"level": "high", "low": 0.1, "medium": 0.2, "high": 0.7},
        "contributions_method": attack,
        "location": {**full["location"], "region": attack, "direction": attack},
        "quality": {"transverse": {attack: attack}, "longitudinal": None},
        "vascularity": {**full["vascularity"], "pattern": attack},
        "risk": {**full["risk"], "interval_method": attack, "calibration": attack},
        "provenance": {**full["provenance"], "preset": attack, "software": {attack: attack}},
    }
    page = Page(render_report(full, views))
    assert page.open == []
    assert {"script"}.isdisjoint(tag for tag, _ in page.tags)
    assert len([tag for tag, _ in page.tags if tag == "img"]) == 4
    assert page.text.count("<script>alert(1)</script>") >= 11


def test_the_headline_gives_risk_interval_threshold_and_decision_in_words(page: Page) -> None:
    for words in (
        "68 %",
        "Interval 52–81 %",
        "Lateral lymph node metastasis predicted",
        "at or above the decision threshold of 50 %",
    ):
        assert words in page.text


@pytest.mark.parametrize(
    ("probability", "shown"), [(0.0, "0 %"), (0.0004, "<1 %"), (0.064, "6 %"), (0.9991, ">99 %"), (1.0, "100 %")]
)
def test_a_risk_is_never_rounded_to_certainty(full: dict[str, Any], probability: float, shown: str) -> None:
    risk = {**full["risk"], "probability": probability, "interval": None, "decision": "abstain"}
    text = Page(render_report({**full, "risk": risk}, {})).text
    assert f"Risk of LLNM {shown} " in text


def test_both_banners_stand_before_the_risk(page: Page) -> None:
    notice = page.text.index("Research use only; not a medical device")
    simulated = page.text.index("the risk is a demonstration, not an estimate for this patient")
    assert notice < simulated < page.text.index("68 %")


def test_weights_from_real_patients_carry_no_demonstration_banner(full: dict[str, Any]) -> None:
    weights = [{**weight, "trained_on_simulated_patients": False} for weight in full["provenance"]["weights"]]
    text = Page(render_report({**full, "provenance": {**full["provenance"], "weights": weights}}, {})).text
    assert "demonstration" not in text.lower()
    assert "Research use only" in text


def test_without_a_probability_the_page_says_why_and_shows_no_number(views: dict[str, ReportView]) -> None:
    bare = replace(views["transverse"], masks={}, spacing_mm=None, attention=None, capsule_line=None, candidates=())
    page = Page(render_report(minimal_result(), {"transverse": bare}))
    headline = page.text[page.text.index("Risk of LLNM") : page.text.index("Views")]
    assert "Not available" in headline
    assert "no nodule was found, so no risk can be given" in headline
    assert re.findall(r"\d+ %", headline) == ["50 %"], "only the threshold is a number there"
    assert "pixel spacing unknown, no scale" in page.text
    assert " mm " not in page.text.replace("Nothing can be given in millimetres", "")
    for sentence in (
        "Only the transverse view can be used.",
        "unknown age",
        "unknown sex",
        "ratios and pixels still hold",
    ):
        assert sentence in page.text


def test_the_table_shows_both_views_in_millimetres_and_in_pixels_where_the_spacing_is_unknown(
    full: dict[str, Any],
) -> None:
    transverse = {**full["features"]["transverse"], "width_mm": 11.26, "capsule_distance_mm": 1.84}
    unknown = dict.fromkeys(("width_mm", "height_mm", "area_mm2", "capsule_distance_mm"))
    longitudinal = {**full["features"]["longitudinal"], **unknown, "width_px": 77.0}
    text = Page(render_report({**full, "features": {"transverse": transverse, "longitudinal": longitudinal}}, {})).text
    assert "Width 11.3 mm 77.0 px" in text
    assert "Distance to the capsule 1.8 mm" in text


def test_a_distance_to_where_the_image_ends_is_shown_as_a_lower_limit_everywhere(
    full: dict[str, Any], views: dict[str, ReportView]
) -> None:
    transverse = {**full["features"]["transverse"], "capsule_distance_mm": 4.26, "capsule_at_image_border": True}
    result = {
        **full,
        "features": {**full["features"], "transverse": transverse},
        "location": {**full["location"], "capsule_distance_mm": 4.26},
    }
    text = Page(render_report(result, {"transverse": views["transverse"]})).text
    assert "Distance to the capsule at least 4.3 mm anterior, transverse view" in text
    assert "shortest way to the capsule at least 4.3 mm" in text
    assert text.count("at least 4.3 mm") == text.count("4.3 mm") == 3


def test_counts_are_whole_numbers_and_unknown_quality_figures_are_shown_too(full: dict[str, Any]) -> None:
    quality = {"transverse": {"nodules_found": 2.0, "frame_rate": 31.5}, "longitudinal": None}
    text = Page(render_report({**full, "quality": quality}, {})).text
    assert "Nodules found 2 –" in text
    assert "Frame rate 31.50 –" in text


def test_contribution_bars_start_at_zero_and_their_lengths_are_in_proportion(page: Page, full: dict[str, Any]) -> None:
    bars = [attributes for tag, attributes in page.tags if tag == "rect" and attributes.get("y") == "6"]
    expected = sorted(full["contributions"].values(), key=lambda value: -abs(value))
    assert len(bars) == 8
    for bar, value in zip(bars, expected, strict=True):
        width, left = float(bar["width"]), float(bar["x"])
        assert width == pytest.approx(abs(value) / 0.142 * 50, abs=0.01)
        assert (left if value > 0 else left + width) == pytest.approx(50, abs=0.02)
    assert len({bar["fill"] for bar in bars}) == 2


def test_the_gauge_places_risk_interval_and_threshold_on_one_scale(page: Page) -> None:
    circle = next(attributes for tag, attributes in page.tags if tag == "circle")
    scale, band = [attributes for tag, attributes in page.tags if tag == "rect" and attributes.get("y") == "28"]
    start, length = float(scale["x"]), float(scale["width"])
    assert (float(circle["cx"]) - start) / length == pytest.approx(0.68, abs=1e-3)
    assert (float(band["x"]) - start) / length == pytest.approx(0.52, abs=1e-3)
    assert float(band["width"]) / length == pytest.approx(0.81 - 0.52, abs=1e-3)


def test_provenance_is_on_the_page(page: Page, full: dict[str, Any]) -> None:
    for weights in full["provenance"]["weights"]:
        assert weights["file_sha256"] in page.text
        assert weights["training_data"] in page.text
    for digest in full["provenance"]["inputs"].values():
        assert digest in page.text
    assert "given, English, 43 tokens read, its text is not kept" in page.text


def test_same_input_gives_the_same_page(html: str, full: dict[str, Any], views: dict[str, ReportView]) -> None:
    assert render_report(full, views) == html


def test_a_negative_decision_does_not_claim_that_there_is_no_metastasis(full: dict[str, Any]) -> None:
    risk = {**full["risk"], "probability": 0.12, "interval": [0.05, 0.24], "decision": "negative"}
    text = Page(render_report({**full, "risk": risk}, {})).text
    assert "below the decision threshold of 50 %" in text
    assert "does not rule metastasis out" in text


def test_every_view_has_its_picture_and_its_heat_map(page: Page) -> None:
    alternatives = [attributes["alt"] or "" for tag, attributes in page.tags if tag == "img"]
    assert [text.split(" ")[0] for text in alternatives] == ["Transverse", "Longitudinal"] * 2
    assert "further nodule dotted" in alternatives[1]
    assert [picture.shape[2] for picture in page.images()] == [3, 3, 3, 3]


def test_the_level_and_what_is_not_ruled_out_are_said_in_words(full: dict[str, Any]) -> None:
    risk = full["risk"] | {"coverage": 0.9, "answers": ["negative", "positive"]}
    stage = {"level": "medium", "low": 0.1, "medium": 0.62, "high": 0.28}
    text = Page(render_report(full | {"risk": risk, "stage": stage}, {})).text
    assert "At 90 % coverage (patients like those of the calibration) both answers are possible." in text
    assert "low 10 %, medium 62 %, high 28 %" in text
    assert "have no level in the published rules" in text
    single = Page(render_report(full | {"risk": risk | {"answers": ["positive"]}}, {})).text
    assert "the other answer is ruled out" in single
    assert "Likeliest level" not in single


def test_findings_seen_on_the_views_are_named_and_their_absence_says_nothing(full):
    text = Page(render_report(full, {})).text
    for words, share in (("Microcalcification", "91"), ("spiculated margin", "34"), ("Taller than wide", "77")):
        assert re.search(rf"{words}[^%]*{share}\s?%", text), words
    assert "sees on the views" not in Page(render_report(full | {"findings": None}, {})).text
