"""Where a campaign lies: its data base, and the files of its labels, each kept under its hash.

Comes in: a folder. Goes out: transactions that are on disk when they end (SQLite, write-ahead log, synchronous FULL),
and label files that were there before the transaction that names them.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from lib.campaign.errors import CampaignError

from llnm.errors import InputError

DATABASE = "campaign.sqlite"
LABELS = "labels"
_UNFINISHED = ".tmp"
# So long a process waits for another one's transaction; each takes some milliseconds.
_PATIENCE_MS = 20_000


class Store:
    """The files of the campaign in `folder`. Raises InputError if it cannot be made or is no campaign's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.labels = folder / LABELS
        # One connection for all threads: a transaction belongs to one of them at a time.
        self._lock = threading.RLock()
        try:
            self.labels.mkdir(parents=True, exist_ok=True)
            _clear_up(self.labels)
            self._database = sqlite3.connect(folder / DATABASE, isolation_level=None, check_same_thread=False)
            self._database.row_factory = sqlite3.Row
            self._database.execute(f"PRAGMA busy_timeout = {_PATIENCE_MS}")
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.execute("PRAGMA foreign_keys = ON")
            with self.transaction() as database:
                if database.execute("SELECT count(*) FROM sqlite_master WHERE name = 'audit'").fetchone()[0] == 0:
                    _make_tables(database)
        except (OSError, sqlite3.Error) as error:
            raise InputError(f"{folder}: holds no campaign and none can be made there ({error})") from error

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Read and write as if alone; all of it is on disk when the block ends, none of it where it raises."""
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Read one state of the campaign."""
        with self._lock:
            self._database.execute("BEGIN")
            try:
                yield self._database
            finally:
                self._database.execute("COMMIT")

    def close(self) -> None:
        """Close the data base."""
        with self._lock:
            self._database.close()

    def keep(self, source: Path) -> tuple[str, str]:
        """Copy a label under its hash, forced to disk. Gives the file's name in `labels` and its SHA-256.

        Raises CampaignError where it cannot be read or written.
        """
        try:
            content = source.read_bytes()
        except OSError as error:
            raise CampaignError(f"{source.name}: cannot be read ({error.strerror}); send the label again") from error
        suffix = "".join(source.suffixes[-2:]) if source.name.endswith(".nii.gz") else source.suffix
        return self.keep_bytes(content, suffix.lower())

    def keep_bytes(self, content: bytes, suffix: str) -> tuple[str, str]:
        """The same of a file's content; `suffix` with its dot."""
        digest = hashlib.sha256(content).hexdigest()
        target = self.labels / f"{digest}{suffix}"
        # Equal content has an equal name, so that two writers at once, or one again after a crash, write the same.
        temporary = self.labels / f"{os.getpid()}-{uuid.uuid4().hex}{_UNFINISHED}"
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
            _force_folder(self.labels)
        except OSError as error:
            raise CampaignError(
                f"{target.name}: cannot be written ({error.strerror}); free space on the disk"
            ) from error
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
        return target.name, digest

    def path(self, name: str) -> Path:
        """A kept label's file."""
        return self.labels / name


def _clear_up(labels: Path) -> None:
    """Remove what a process that was killed left unfinished; other processes that live may be writing theirs."""
    for file in labels.glob(f"*{_UNFINISHED}"):
        writer = file.name.partition("-")[0]
        if not writer.isdigit() or not psutil.pid_exists(int(writer)):
            file.unlink(missing_ok=True)


def _force_folder(folder: Path) -> None:
    """A new name is lost with the power if its folder is not forced to disk; Windows does that by itself."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_tables(database: sqlite3.Connection) -> None:
    # One by one, as `executescript` would end the transaction that makes them all or none.
    statement = ""
    for line in (Path(__file__).parent / "schema.sql").read_text(encoding="utf-8").splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            database.execute(statement)
            statement = ""
