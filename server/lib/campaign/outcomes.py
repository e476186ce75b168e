"""What comes of the labels of one image: a settled mask, or a disagreement that a reviewer decides.

Comes in: the labels of its readers. Goes out: rows of the table `outcomes`, and what they say.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from lib.campaign.agreement import Pairs, consensus, mask_png, pairwise_dice
from lib.campaign.errors import UnknownError
from lib.campaign.masks import ReadLabel
from lib.campaign.queries import Label
from lib.campaign.store import Store
from lib.campaign.types import CONSENSUS, AgreedLabel, Disagreement


@dataclass(frozen=True)
class Outcome:
    """`file`: the mask's name in the store. `chosen`: whose it is, None while a reviewer must decide."""

    file: str
    chosen: str | None
    pairs: Pairs

    @property
    def mean_dice(self) -> float | None:
        """Over all pairs of readers."""
        return fmean(self.pairs.values()) if self.pairs else None


def compare(drawn: Mapping[str, Label], image: Path, store: Store, read_label: ReadLabel, least_dice: float) -> Outcome:
    """One reader's label stands; of several, the consensus does if no pair lies below `least_dice`."""
    if len(drawn) == 1:
        ((name, label),) = drawn.items()
        return Outcome(label.file, name, {})
    masks = {name: read_label(store.path(label.file), image) for name, label in drawn.items()}
    pairs = pairwise_dice(masks)
    file, _ = store.keep_bytes(mask_png(consensus(masks)), ".png")
    return Outcome(file, CONSENSUS if min(pairs.values()) >= least_dice else None, pairs)


def enter(database: sqlite3.Connection, image: str, outcome: Outcome) -> None:
    """Write an outcome."""
    pairs = json.dumps([[*names, value] for names, value in outcome.pairs.items()])
    row = (image, outcome.file, outcome.chosen, None, outcome.mean_dice, pairs)
    database.execute("INSERT INTO outcomes VALUES (?, ?, ?, ?, ?, ?)", row)


def decide(
    database: sqlite3.Connection,
    image: str,
    reviewer: str,
    choice: str,
    drawn: Mapping[str, Label],
    own: str | None = None,
) -> None:
    """Write a reviewer's choice, or the file of their `own` mask.

    Raises UnknownError where there is nothing to decide, or no such choice.
    """
    row = database.execute("SELECT file FROM outcomes WHERE image = ? AND chosen IS NULL", (image,)).fetchone()
    if row is None:
        raise UnknownError(f"{image}: its readers do not wait for a decision; look at the adjudication queue")
    if own is None and choice != CONSENSUS and choice not in drawn:
        raise UnknownError(f"choice: {choice!r} has not drawn {image}; choose {', '.join(drawn)} or {CONSENSUS}")
    file = own or (row["file"] if choice == CONSENSUS else drawn[choice].file)
    statement = "UPDATE outcomes SET file = ?, chosen = ?, reviewer = ? WHERE image = ?"
    database.execute(statement, (file, choice, reviewer, image))


def disagreements(database: sqlite3.Connection, store: Store) -> list[Disagreement]:
    """What waits for a reviewer, lowest mean Dice in front."""
    rows = database.execute(
        """SELECT o.image, o.file, o.pairs, i.path FROM outcomes AS o JOIN images AS i ON i.id = o.image
           WHERE o.chosen IS NULL ORDER BY o.mean_dice, o.image"""
    ).fetchall()
    files = _files(database)
    return [
        Disagreement(
            row["image"],
            Path(row["path"]),
            {name: store.path(file) for name, file in files[row["image"]].items()},
            {(first, second): value for first, second, value in json.loads(row["pairs"])},
            store.path(row["file"]),
        )
        for row in rows
    ]


def agreed(database: sqlite3.Connection, store: Store, image: str | None = None) -> list[AgreedLabel]:
    """All settled masks, by the image's id; or that of `image` alone."""
    rows = database.execute(
        """SELECT * FROM outcomes AS o JOIN images AS i ON i.id = o.image
           WHERE o.chosen IS NOT NULL AND (:image IS NULL OR o.image = :image) ORDER BY o.image""",
        {"image": image},
    ).fetchall()
    files = _files(database, image)
    return [
        AgreedLabel(
            image=row["image"],
            path=Path(row["path"]),
            patient=row["patient"],
            label=store.path(row["file"]),
            readers=tuple(files[row["image"]]),
            chosen=row["chosen"],
            dice=row["mean_dice"],
            adjudicated=row["reviewer"] is not None,
            validation=bool(row["validation"]),
        )
        for row in rows
    ]


def _files(database: sqlite3.Connection, image: str | None = None) -> dict[str, dict[str, str]]:
    """The file that counts of each reader, by image; or of `image` alone."""
    files: dict[str, dict[str, str]] = {}
    statement = """SELECT l.image, l.annotator, s.file FROM labels AS l JOIN submissions AS s ON s.id = l.submission
                   WHERE :image IS NULL OR l.image = :image ORDER BY l.image, l.annotator"""
    for row in database.execute(statement, {"image": image}):
        files.setdefault(row["image"], {})[row["annotator"]] = row["file"]
    return files
