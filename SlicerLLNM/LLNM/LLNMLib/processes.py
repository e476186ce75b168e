"""Ends a child process with everything that it started.

Comes in: a process that leads its own group. Goes out: nothing; the whole tree is gone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

NEW_GROUP: dict[str, object] = (
    {"creationflags": 0x00000200 | 0x08000000}  # CREATE_NEW_PROCESS_GROUP, CREATE_NO_WINDOW
    if sys.platform == "win32"
    else {"start_new_session": True}
)
"""Arguments of `subprocess.Popen` for a process that leads a group of its own."""


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and its descendants, also those that left its group, and wait until it is gone."""
    if sys.platform == "win32":
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(process.pid)], capture_output=True, check=False)
    else:
        # Listed first: what was started by a process that is gone can no longer be found.
        known = descendants(process.pid)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        while known:
            for pid in known:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            # What they started in the meantime; a killed process starts nothing more, so this ends.
            known = {child for pid in known for child in descendants(pid)} - known
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    process.wait()


def descendants(pid: int) -> set[int]:
    """The processes that `pid` started, and those that these started."""
    parents = _parents()
    found: set[int] = set()
    level = {pid}
    while level:
        level = {child for child, parent in parents.items() if parent in level} - found
        found |= level
    return found


def _parents() -> dict[int, int]:
    """The parent of every process of this machine."""
    if sys.platform != "linux":
        listed = subprocess.run(["ps", "-axo", "pid=,ppid="], capture_output=True, text=True, check=False).stdout
        pairs = (line.split() for line in listed.splitlines())
        return {int(child): int(parent) for child, parent in pairs}
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            # A process may end while the folder is read. Its name, in brackets, may hold anything.
            with contextlib.suppress(OSError, IndexError, ValueError):
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    return parents
