"""What is asked of a campaign's data base. Comes in: an open transaction. Goes out: rows and values of `types`."""

from __future__ import annotations

import hashlib
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.campaign.errors import UnknownError
from lib.campaign.store import Store
from lib.campaign.types import Lease, PoolImage

from llnm.errors import InputError

# Images that `annotator` may draw: not drawn or passed over by them, not settled, and with a reader still to come.
_FREE = """
SELECT id, readers, validation FROM images AS i
WHERE (:image IS NULL OR id = :image)
  AND NOT EXISTS (SELECT 1 FROM outcomes WHERE image = i.id)
  AND NOT EXISTS (SELECT 1 FROM labels WHERE image = i.id AND annotator = :annotator)
  AND (:image IS NOT NULL OR NOT EXISTS (SELECT 1 FROM skips WHERE image = i.id AND annotator = :annotator))
  AND (SELECT count(*) FROM labels WHERE image = i.id)
    + (SELECT count(*) FROM leases WHERE image = i.id AND annotator != :annotator AND expires > :now) < readers
"""


@dataclass(frozen=True)
class Label:
    """What counts of one reader: the file's name in the store, and the submission."""

    file: str
    submission: str


def free(database: sqlite3.Connection, annotator: str, now: float, image: str | None = None) -> list[sqlite3.Row]:
    """`id`, `readers`, `validation` of the images that `annotator` may draw, or of `image` if it is one of them."""
    return database.execute(_FREE, {"annotator": annotator, "now": now, "image": image}).fetchall()


def held(database: sqlite3.Connection, annotator: str, now: float) -> list[Lease]:
    """The annotator's leases, oldest first; one that ran out counts while nobody else has got the image."""
    rows = database.execute("SELECT * FROM leases WHERE annotator = ? ORDER BY given, id", (annotator,)).fetchall()
    kept = [row for row in rows if row["expires"] > now or free(database, annotator, now, row["image"])]
    return [Lease(row["id"], row["image"], row["annotator"], row["expires"]) for row in kept]


def covered(database: sqlite3.Connection, now: float) -> list[str]:
    """Images that somebody has drawn or is drawing."""
    statement = "SELECT image FROM labels UNION SELECT image FROM leases WHERE expires > ? ORDER BY image"
    return [row["image"] for row in database.execute(statement, (now,))]


def others(database: sqlite3.Connection, image: str, annotator: str, now: float) -> list[str]:
    """Who else is drawing `image`."""
    statement = "SELECT annotator FROM leases WHERE image = ? AND annotator != ? AND expires > ? ORDER BY annotator"
    return [row["annotator"] for row in database.execute(statement, (image, annotator, now))]


def image(database: sqlite3.Connection, name: str) -> PoolImage:
    """Raises UnknownError for an image that is not in the pool."""
    row = database.execute("SELECT * FROM images WHERE id = ?", (name,)).fetchone()
    if row is None:
        raise UnknownError(f"image: {name[:80]!r} is not in the pool; ask for the next image")
    return PoolImage(row["id"], Path(row["path"]), row["patient"])


def labels(database: sqlite3.Connection, name: str) -> dict[str, Label]:
    """The label that counts, by annotator, of the image `name`."""
    statement = """SELECT l.annotator, s.file, s.id FROM labels AS l JOIN submissions AS s ON s.id = l.submission
                   WHERE l.image = ? ORDER BY l.annotator"""
    return {row["annotator"]: Label(row["file"], row["id"]) for row in database.execute(statement, (name,))}


def unsettled(database: sqlite3.Connection, name: str | None = None) -> list[str]:
    """Images (or `name` alone) whose readers have all drawn and have not been compared yet."""
    statement = """SELECT id FROM images AS i WHERE (:name IS NULL OR id = :name)
                   AND NOT EXISTS (SELECT 1 FROM outcomes WHERE image = i.id)
                   AND (SELECT count(*) FROM labels WHERE image = i.id) >= readers"""
    return [row["id"] for row in database.execute(statement, {"name": name})]


def was_adjudicated(database: sqlite3.Connection, name: str) -> bool:
    """Whether a reviewer has decided on the image `name`."""
    row = database.execute("SELECT reviewer FROM outcomes WHERE image = ?", (name,)).fetchone()
    return row is not None and row["reviewer"] is not None


def check_file(store: Store, detail: dict[str, Any], name: str) -> None:
    """Raises InputError where the label `name` is missing or is not what the log says."""
    file = store.path(name)
    told = f"label {file.name} of {detail['image']!r}"
    if not file.is_file():
        raise InputError(f"{told}: is missing; restore it from a backup")
    if hashlib.sha256(file.read_bytes()).hexdigest() != detail["sha256"]:
        raise InputError(f"{told}: is not what was submitted; restore it from a backup")
