"""Files that are on the disk once a call returns, whole or not at all.

Comes in: a finished temporary file, or text. Goes out: the file under its name, forced to the disk with its folder.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TEMPORARY = ".part-"
"""What the name of an unfinished file starts with; a start of the server removes those a kill left behind."""


def temporary_beside(path: Path, suffix: str = "") -> Path:
    """A name for an unfinished file in the folder of `path`, which is made; no two are the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f"{TEMPORARY}{uuid.uuid4().hex}{suffix}")


def publish(temporary: Path, path: Path) -> None:
    """Give the finished `temporary` its name in one step, and force the folder to the disk."""
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_durably(path: Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all."""
    temporary = temporary_beside(path)
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        publish(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write `values` as JSON, whole or not at all."""
    write_durably(path, json.dumps(values, indent=1, sort_keys=True).encode())


def read_json(path: Path) -> dict[str, Any]:
    """The values in `path`, or none where it is not there or is damaged."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def remove_unfinished(folder: Path) -> int:
    """Remove what a kill left half-written under `folder`; gives how many."""
    left = [path for path in folder.rglob(f"{TEMPORARY}*") if path.is_file()]
    for path in left:
        path.unlink(missing_ok=True)
    return len(left)
