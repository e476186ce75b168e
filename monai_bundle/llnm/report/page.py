"""The report of one patient as a page: one HTML file without scripts or outside references.

Comes in: a valid result and the views. Goes out: HTML text for the template `templates/report.html`, which is given
only words and numbers that are ready to print; every one of them is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timezone
from typing import Any

from llnm.case import PLANES, Plane
from llnm.html import page_template
from llnm.report import words
from llnm.report.picture import (
    GLAND_COLOUR,
    HEAT_COLOURS,
    NODULE_COLOUR,
    ReportView,
    data_uri,
    draw_attention,
    draw_view,
)
from llnm.report.schema import checked_result, moment
from llnm.staging import LEVELS

Context = dict[str, Any]
NO_BREAK = "\N{NO-BREAK SPACE}"


def render_report(result: Mapping[str, Any], views: Mapping[Plane, ReportView]) -> str:
    """One self-contained HTML page (images as data URIs, CSS inside), to be read offline or printed on A4.

    `views` may lack a plane or be empty. Raises LLNMError if the result breaks its schema.
    """
    result = checked_result(result)
    return page_template("llnm.report", "report.html").render(
        result=result,
        created=_moment(result["created"]),
        risk=_risk(result),
        simulated=[w["name"] for w in result["provenance"]["weights"] if w["trained_on_simulated_patients"]],
        views=[_view(views[plane], result["features"][plane]) for plane in PLANES if plane in views],
        location=_location(result),
        features=_features(result["features"]),
        contributions=_contributions(result["contributions"]),
        vascularity=_vascularity(result["vascularity"]),
        stage=_stage(result["stage"]),
        findings=[
            (words.FINDINGS[name], _percent(share))
            for name, share in (result["findings"] or {}).items()
            if share is not None
        ],
        missing=[words.missing_input(name) for name in result["missing"]],
        quality=_quality(result["quality"]),
        given_report=_given_report(result["provenance"]["report"]),
        planes=words.PLANE_NAMES,
        colours={"nodule": NODULE_COLOUR, "gland": GLAND_COLOUR, "heat": HEAT_COLOURS},
    )


def _risk(result: Context) -> Context:
    risk, probability = result["risk"], result["risk"]["probability"]
    threshold = _percent(risk["threshold"])
    detail = f"No decision can be given; the decision threshold is {threshold}."
    if risk["decision"] == "positive":
        detail = f"The risk is at or above the decision threshold of {threshold}."
    elif risk["decision"] == "negative":
        detail = f"The risk is below the decision threshold of {threshold}. A low figure does not rule metastasis out."
    elif probability is not None:
        detail = f"The risk cannot be placed above or below the decision threshold of {threshold} with confidence."
    interval = risk["interval"]
    return {
        "percent": None if probability is None else _percent(probability),
        "interval": None if interval is None else _span(interval),
        "decision": words.DECISIONS[risk["decision"]],
        "detail": " ".join((detail, *_answers(risk))),
        "threshold": threshold,
        "reasons": result["warnings"] or ["No reason was recorded."],
    }


def _answers(risk: Context) -> tuple[str, ...]:
    """What the conformal set says, where there is one."""
    if risk["answers"] is None:
        return ()
    coverage = _percent(risk["coverage"])
    if len(risk["answers"]) == 1:
        return (f"At {coverage} coverage (patients like those of the calibration) the other answer is ruled out.",)
    left = "both answers are possible" if risk["answers"] else "neither answer fits"
    return (f"At {coverage} coverage (patients like those of the calibration) {left}.",)


def _stage(stage: Context | None) -> list[tuple[str, str]]:
    if stage is None:
        return []
    chances = ", ".join(f"{name} {_percent(stage[name])}" for name in LEVELS)
    return [
        ("Likeliest level", stage["level"]),
        ("If there is metastasis", chances),
        ("Levels", "low: up to five nodes, all under 2 mm; medium: more, all under 30 mm; high: any over 30 mm"),
        ("Not covered", "one to five nodes of 2 to 30 mm have no level in the published rules"),
    ]


def _findings(findings: Context) -> list[tuple[str, str]]:
    return [(words.FINDINGS[name], _percent(share)) for name, share in findings.items() if share is not None]


def _view(view: ReportView, features: Context | None) -> Context:
    measured = features or {}
    distance = _first(measured, words.DISTANCE)
    # The font of the pictures has no glyph for a no-break space.
    picture = draw_view(view, distance.replace(NO_BREAK, " ") if distance else None)
    shown = [f"the {structure} outlined" for structure in ("nodule", "gland") if structure in view.masks]
    if view.candidates:
        shown.append(f"{len(view.candidates)} further nodule{'s' if len(view.candidates) > 1 else ''} dotted")
    if view.capsule_line:
        shown.append(f"a line for the shortest way to the capsule ({distance or 'length unknown'})")
    name = words.PLANE_NAMES[view.plane]
    attention = draw_attention(view)
    return {
        "name": name,
        "picture": data_uri(picture),
        "size": picture.size,
        "alt": f"{name}, B-mode ultrasound, with {', '.join(shown) if shown else 'nothing outlined'}.",
        "attention": data_uri(attention) if attention else None,
        "distance": distance if view.capsule_line else None,
        "outlined": bool(shown),
        "has_nodule": "nodule" in view.masks,
        "has_gland": "gland" in view.masks,
        "others": len(view.candidates),
        "has_scale": view.spacing_mm is not None,
    }


def _features(features: Context) -> list[Context]:
    measured = {plane: features[plane] or {} for plane in PLANES}
    rows: list[Context] = []
    for label, names, meaning in words.FEATURES:
        values = {plane: _first(measured[plane], names) or "–" for plane in PLANES}
        rows.append({"label": label, "values": values, "meaning": meaning})
    return rows if any(features.values()) else []


def _location(result: Context) -> list[tuple[str, str, str]]:
    location = result["location"]
    measured = result["features"].get(location["plane"]) or {}
    distance = _first(measured | location, words.DISTANCE)
    where = [location["direction"], location["plane"] and f"{location['plane']} view"]
    atlas = location["atlas_probability"]
    interval = location["atlas_interval"]
    span = f"interval {_span(interval)}" if interval else ""
    tiles = [
        ("Distance to the capsule", distance, ", ".join(part for part in where if part)),
        ("Region of the gland", location["region"], ""),
        ("Risk at this location (atlas)", None if atlas is None else _percent(atlas), span),
    ]
    if not any(value for _, value, _ in tiles):
        return []
    return [(label, value or "not available", detail) for label, value, detail in tiles]


def _contributions(contributions: Context | None) -> list[Context]:
    """Bars from a common zero, longest first; the axis has a left half only if some contribution is negative."""
    if contributions is None:
        return []
    largest = max(abs(value) for value in contributions.values()) or 1.0
    zero, room = (50, 50) if min(contributions.values()) < 0 else (0, 100)
    ordered = sorted(contributions.items(), key=lambda item: -abs(item[1]))
    return [
        {
            "label": words.CONTRIBUTIONS[name],
            "value": f"{value:+.3g}".replace("-", "−"),
            "raises": value > 0,
            "zero": zero,
            "left": f"{zero + min(0.0, value) / largest * room:.2f}",
            "width": f"{abs(value) / largest * room:.2f}",
        }
        for name, value in ordered
    ]


def _vascularity(vascularity: Context | None) -> list[tuple[str, str]]:
    if vascularity is None:
        return []
    shares = [(label, vascularity.get(name)) for name, label in words.VASCULARITY.items()]
    rows = [(label, f"{_percent(share)} of the area") for label, share in shares if share is not None]
    return [*rows, ("Pattern", vascularity["pattern"] or "–")]


def _quality(quality: Context) -> list[Context]:
    given = {plane: quality[plane] or {} for plane in PLANES}
    names = [*words.QUALITY, *sorted({name for figures in given.values() for name in figures} - set(words.QUALITY))]
    rows: list[Context] = []
    for name in names:
        label, meaning = words.QUALITY.get(name, (words.in_words(name), ""))
        decimals = 0 if name in words.COUNTS else 2
        values = {plane: _text(given[plane].get(name), decimals) for plane in PLANES}
        rows.append({"label": label, "meaning": meaning, "values": values})
    return [row for row in rows if any(value != "–" for value in row["values"].values())]


def _given_report(report: Context) -> str:
    if not report["given"]:
        return "not given"
    language = report["language"]
    tokens = None if report["tokens"] is None else f"{report['tokens']} tokens read"
    details = [words.LANGUAGES.get(language, language), tokens]
    return ", ".join(["given", *(detail for detail in details if detail), "its text is not kept"])


def _pairs(mapping: Context | None) -> list[tuple[str, str]]:
    return [(words.in_words(name), _text(value)) for name, value in (mapping or {}).items()]


def _first(values: Context, names: tuple[tuple[str, str], ...]) -> str | None:
    """The first of the named values that is known, with its unit."""
    at_least = "at least " if names == words.DISTANCE and values.get("capsule_at_image_border") else ""
    for name, unit in names:
        if values.get(name) is not None:
            return f"{at_least}{_text(values[name], words.UNIT_DECIMALS[unit])}{NO_BREAK}{unit}".strip()
    return None


def _text(value: Any, decimals: int = 2) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.{decimals}f}".replace("-", "−")
    if isinstance(value, list):
        return ", ".join(_text(item) for item in value)
    return str(value)


def _percent(share: float) -> str:
    """Whole per cent; figures that would round to certainty say `<1 %` and `>99 %`."""
    if 0 < share < 0.005 or 0.995 < share < 1:
        return f"<1{NO_BREAK}%" if share < 0.5 else f">99{NO_BREAK}%"
    return f"{share * 100:.0f}{NO_BREAK}%"


def _span(interval: list[float]) -> str:
    return f"{interval[0] * 100:.0f}–{interval[1] * 100:.0f}{NO_BREAK}%"


def _moment(created: str) -> str:
    return moment(created).astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
