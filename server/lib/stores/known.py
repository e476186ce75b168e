"""The grids of the images that were read before, so that a start need not read every file again.

Comes in: images as they are opened. Goes out: the same `SourceImage` while its file has the same path, size and time of
change. What is known lies in one JSON file, written whole; one that is damaged, or of another version of the program,
counts as none.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lib.configs import VERSION
from lib.images import Geometry, SourceImage, open_source
from lib.stores.durable import read_json, write_json

from llnm import __version__

MADE_BY = f"{__version__} {VERSION}"
"""Another version may read a file differently."""


class KnownSources:
    """What is known of the images of one store. `file`: where it is kept. Safe to call from several threads."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._lock = threading.Lock()
        kept = read_json(file)
        entries = kept.get("images") if kept.get("made_by") == MADE_BY else None
        self._entries: dict[str, Any] = entries if isinstance(entries, dict) else {}
        self._sources: dict[str, tuple[list[int], SourceImage]] = {}
        self._changed = False

    def __call__(self, image_id: str, path: Path) -> SourceImage:
        """The image in `path`; raises InputError for a file that cannot be used."""
        stat = path.stat()
        stamp = [stat.st_mtime_ns, stat.st_size]
        with self._lock:
            known = self._sources.get(image_id)
            entry = self._entries.get(image_id)
        if known is not None and known[0] == stamp:
            return known[1]
        source = _from_entry(entry, stamp, path)
        read = source is None
        source = source or open_source(path)
        with self._lock:
            self._sources[image_id] = (stamp, source)
            if read:
                self._entries[image_id] = _to_entry(source, stamp)
                self._changed = True
        return source

    def keep(self, images: Mapping[str, Path]) -> None:
        """Write down what has become known; images that are not among `images` are forgotten."""
        with self._lock:
            if not self._changed:
                return
            self._entries = {image: entry for image, entry in self._entries.items() if image in images}
            self._changed = False
            write_json(self.file, {"made_by": MADE_BY, "images": self._entries})


def _to_entry(source: SourceImage, stamp: list[int]) -> dict[str, Any]:
    grid = source.geometry
    return {
        "stamp": stamp,
        "shape": grid.shape,
        "spacing": grid.spacing,
        "origin": grid.origin,
        "direction": grid.direction,
        "spacing_known": source.spacing_known,
    }


def _from_entry(entry: Any, stamp: list[int], path: Path) -> SourceImage | None:
    """None where the entry is about another file, or is none."""
    if not isinstance(entry, dict) or entry.get("stamp") != stamp:
        return None
    try:
        grid = Geometry(*(tuple(entry[name]) for name in ("shape", "spacing", "origin", "direction")))
        return SourceImage(path, grid, bool(entry["spacing_known"]))
    except (KeyError, TypeError):
        return None
