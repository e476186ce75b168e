"""The versions of a network that the team's labels have made: published in one step, each with its record.

Comes in: a finished training. Goes out: the weights in use. `models/<structure>/<number>/` holds a version (`model.pt`,
`training.json`, ...), `current.json` names the one in use. A kill at any moment leaves the one before in use: a version
gets its name once it is whole, and the pointer is replaced in one step.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lib.stores.durable import read_json, write_json

from llnm.case import Structure
from llnm.errors import InputError
from llnm.weights import weights_file

POINTER, PROGRESS, RECORD, WORK, LOCK = "current.json", "progress.json", "version.json", "work", "training.lock"
WEIGHTS = "model.pt"
RUNNING = ("preparing", "training")


class Versions:
    """Versions of all networks below `folder`. `first`: weights to begin with instead of the shipped ones."""

    def __init__(self, folder: Path, first: Mapping[Structure, Path] | None = None) -> None:
        self.folder = folder
        self._first = dict(first or {})
        self._lock = threading.Lock()
        self._known: dict[Structure, tuple[int, Path | None]] = {}

    def home(self, structure: Structure) -> Path:
        """Folder of one network's versions."""
        return self.folder / structure

    def first(self, structure: Structure) -> Path:
        """Weights that every training begins with."""
        return self._first.get(structure) or weights_file(structure)

    def current(self, structure: Structure) -> Path | None:
        """Weights in use, or None where the shipped ones are.

        The pointer is looked at each time, since another process publishes; a version's hash is checked once.
        """
        pointer = self.home(structure) / POINTER
        stamp = pointer.stat().st_mtime_ns if pointer.is_file() else 0
        with self._lock:
            known = self._known.get(structure)
            if known is None or known[0] != stamp:
                known = (stamp, self._find(structure, str(read_json(pointer).get("version", ""))))
                self._known[structure] = known
        return known[1] or self._first.get(structure)

    def number(self, structure: Structure) -> str:
        """Name of the version in use; where there is none, `first` or `shipped`."""
        weights = self.current(structure)
        if weights is None:
            return "shipped"
        return "first" if weights == self._first.get(structure) else weights.parent.name

    def _find(self, structure: Structure, wanted: str) -> Path | None:
        """The wanted version if it is whole, else the newest one before it that is."""
        for version in sorted(self._numbers(structure), reverse=True):
            if version <= wanted and self._is_whole(self.home(structure) / version):
                return self.home(structure) / version / WEIGHTS
        return None

    def _numbers(self, structure: Structure) -> list[str]:
        home = self.home(structure)
        return [path.name for path in home.iterdir() if path.name.isdigit()] if home.is_dir() else []

    @staticmethod
    def _is_whole(version: Path) -> bool:
        weights, record = version / WEIGHTS, read_json(version / RECORD)
        return weights.is_file() and hashlib.sha256(weights.read_bytes()).hexdigest() == record.get("sha256")

    def publish(self, structure: Structure, work: Path, record: Mapping[str, Any]) -> str:
        """Make the finished training in `work` the version in use; gives its number."""
        digest = hashlib.sha256((work / WEIGHTS).read_bytes()).hexdigest()
        number = f"{max((int(name) for name in self._numbers(structure)), default=0) + 1:04d}"
        write_json(work / RECORD, {**record, "version": number, "sha256": digest})
        work.rename(self.home(structure) / number)
        write_json(self.home(structure) / POINTER, {"version": number})
        return number

    @contextmanager
    def training(self, structure: Structure) -> Iterator[Path]:
        """An empty folder to train in, for one process at a time; what is left in it at the end is removed.

        Raises InputError while another training of the same network runs.
        """
        home = self.home(structure)
        home.mkdir(parents=True, exist_ok=True)
        with (home / LOCK).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise InputError(f"train {structure}: a training of it is running; wait for it or stop it") from error
            work = home / WORK
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
            try:
                yield work
            finally:
                shutil.rmtree(work, ignore_errors=True)

    def tell(self, structure: Structure, **progress: Any) -> None:
        """Say how far a training is; `stats` reads it, also from another process."""
        write_json(self.home(structure) / PROGRESS, progress)

    def recover(self) -> None:
        """At the start of the server: a training that was under way is no more, unless its process still lives."""
        for home in self.folder.iterdir() if self.folder.is_dir() else ():
            progress = read_json(home / PROGRESS)
            if progress.get("status") in RUNNING:
                write_json(home / PROGRESS, {**progress, "status": "interrupted", "total_time": 0})

    def stats(self, structure: Structure) -> dict[str, Any]:
        """How far the training is or how the last one ended, and the version in use."""
        progress = read_json(self.home(structure) / PROGRESS)
        return {**progress, "version": self.number(structure)}
