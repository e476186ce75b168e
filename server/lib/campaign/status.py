"""How a campaign stands, as the page and `GET /campaign/status` have it.

Comes in: the data base. Goes out: plain values. Times are the seconds at work that the annotators' programs report, or
from lease to label where they report none.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from dataclasses import asdict
from statistics import fmean, median
from typing import Any

import numpy as np
from lib.campaign import audit
from lib.campaign.types import STATES, Settings, State

from llnm import NOTICE
from llnm.evaluation.intervals import figure_of_values

Row = dict[str, Any]

# The newest entries of the log that the page shows.
_RECENT = 12

_STATE = """
SELECT i.id, i.validation, i.readers, o.image AS compared, o.chosen,
       (SELECT count(*) FROM labels WHERE image = i.id) AS drawn,
       (SELECT count(*) FROM leases WHERE image = i.id AND expires > :now) AS leased
FROM images AS i LEFT JOIN outcomes AS o ON o.image = i.id
"""
_LABELS = """
SELECT l.image, l.annotator, s.seconds, s.at FROM labels AS l JOIN submissions AS s ON s.id = l.submission
"""


def status_of(database: sqlite3.Connection, settings: Settings, now: float) -> Row:
    """Everything the page shows; see the keys below."""
    images = database.execute(_STATE, {"now": now}).fetchall()
    states = Counter(_state(row) for row in images)
    labels = database.execute(_LABELS).fetchall()
    leases = database.execute("SELECT * FROM leases WHERE expires > ? ORDER BY expires", (now,)).fetchall()
    outcomes = database.execute("SELECT * FROM outcomes").fetchall()
    number, seal = audit.head(database)
    measured = [row["mean_dice"] for row in outcomes if row["mean_dice"] is not None]
    waiting = sorted((row for row in outcomes if row["chosen"] is None), key=lambda row: row["mean_dice"])
    return {
        "notice": NOTICE,
        "settings": asdict(settings),
        "images": len(images),
        "validation_images": sum(row["validation"] for row in images),
        "states": {state: states[state] for state in STATES},
        "annotated": len({row["image"] for row in labels}),
        "labels": len(labels),
        "seconds": _times([row["seconds"] for row in labels if row["seconds"] is not None]),
        "annotators": _annotators(labels, leases, outcomes),
        "in_work": [{name: row[name] for name in ("image", "annotator", "expires")} for row in leases],
        "agreement": {"images": len(measured), "mean_dice": fmean(measured) if measured else None},
        "adjudication": [{"image": row["image"], "mean_dice": row["mean_dice"]} for row in waiting],
        "curve": _curve(database),
        "audit": {"entries": number, "head": seal, "recent": _recent(database)},
    }


def _state(row: sqlite3.Row) -> State:
    if row["compared"] is not None:
        return "adjudication" if row["chosen"] is None else "agreed"
    if row["leased"]:
        return "in work"
    return "waiting for readers" if row["drawn"] else "open"


def _times(seconds: list[float]) -> Row | None:
    if not seconds:
        return None
    low, high = np.percentile(seconds, (25, 75))
    return {
        "median": median(seconds),
        "quartiles": [float(low), float(high)],
        "total": sum(seconds),
        "labels": len(seconds),
    }


def _annotators(labels: list[sqlite3.Row], leases: list[sqlite3.Row], outcomes: list[sqlite3.Row]) -> list[Row]:
    """A row each, by name: labels, images in work, time, mean Dice with the other readers of the same images."""
    names = sorted({row["annotator"] for row in labels} | {row["annotator"] for row in leases})
    pairs: dict[str, list[float]] = {name: [] for name in names}
    for outcome in outcomes:
        for *both, value in json.loads(outcome["pairs"]):
            for name in both:
                pairs.setdefault(name, []).append(value)
    rows = []
    for name in names:
        own = [row for row in labels if row["annotator"] == name]
        rows.append(
            {
                "name": name,
                "labels": len(own),
                "in_work": sum(row["annotator"] == name for row in leases),
                "seconds": _times([row["seconds"] for row in own if row["seconds"] is not None]),
                "mean_dice": fmean(pairs[name]) if pairs[name] else None,
                "last": max((row["at"] for row in own), default=None),
            }
        )
    return rows


def _curve(database: sqlite3.Connection) -> list[Row]:
    """A point each model, in the order they were measured: mean Dice of the validation patients, with its interval."""
    patients = {row["id"]: row["patient"] for row in database.execute("SELECT id, patient FROM images")}
    points = []
    for row in database.execute("SELECT * FROM models ORDER BY at, version"):
        by_patient: dict[str, list[float]] = {}
        for image, value in json.loads(row["dice"]).items():
            by_patient.setdefault(patients.get(image, image), []).append(value)
        figure = figure_of_values(np.array([fmean(values) for values in by_patient.values()]))
        point = {"version": row["version"], "labels": row["labels"], "accepted": bool(row["accepted"]), "at": row["at"]}
        points.append({**point, "patients": len(by_patient), "dice": figure.as_dict()})
    return points


def _recent(database: sqlite3.Connection) -> list[Row]:
    rows = database.execute("SELECT * FROM audit ORDER BY n DESC LIMIT ?", (_RECENT,)).fetchall()
    told = []
    for row in rows:
        detail = json.loads(row["detail"])
        image = detail.get("image") or detail.get("version") or ""
        told.append({"n": row["n"], "at": row["at"], "who": row["who"], "what": row["what"], "image": image})
    return told
