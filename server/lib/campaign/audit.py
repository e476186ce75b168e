"""The audit log: who did what and when, each entry sealed with the hash of the one before.

Comes in: what is done, inside the transaction that does it. Goes out: entries, and whether the log is whole. A changed
entry breaks the chain from there on; a log cut short at its end shows by its head, which the status page prints: note
it down from time to time.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

from llnm.errors import InputError

START = "0" * 64


@dataclass(frozen=True)
class Entry:
    """One line of the log: its number, time (ISO 8601, UTC), person, deed, and the hash of the entry `before`."""

    n: int
    at: str
    who: str
    what: str
    detail: dict[str, Any]
    before: str
    hash: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def append(database: sqlite3.Connection, at: float, who: str, what: str, **detail: Any) -> None:
    """Add an entry within the open transaction; it is lost or kept together with what it tells of."""
    n, before = head(database)
    when = datetime.fromtimestamp(at, timezone.utc).isoformat(timespec="milliseconds")
    text = json.dumps(detail, sort_keys=True, ensure_ascii=False)
    row = (n + 1, when, who, what, text, before)
    database.execute("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?)", (*row, _seal(row)))


def head(database: sqlite3.Connection) -> tuple[int, str]:
    """Number and hash of the last entry."""
    row = database.execute("SELECT n, hash FROM audit ORDER BY n DESC LIMIT 1").fetchone()
    return (row[0], row[1]) if row else (0, START)


def entries(database: sqlite3.Connection) -> Iterator[Entry]:
    """The whole log, oldest first. Raises InputError at the first entry that does not follow from the one before."""
    known = (0, START)
    for n, at, who, what, detail, before, seal in database.execute("SELECT * FROM audit ORDER BY n"):
        if (n - 1, before) != known or _seal((n, at, who, what, detail, before)) != seal:
            raise InputError(f"audit log: entry {n} was changed, or one before it is missing; restore a backup")
        known = (n, seal)
        yield Entry(n, at, who, what, json.loads(detail), before, seal)


def _seal(row: tuple[int, str, str, str, str, str]) -> str:
    return hashlib.sha256(json.dumps(row, ensure_ascii=False).encode()).hexdigest()
