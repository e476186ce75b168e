"""Ends a child process with everything that it started.

Comes in: a process that leads its own group. Goes out: nothing; the whole tree is gone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

NEW_GROUP: dict[str, Any] = (
    {"creationflags": 0x00000200 | 0x08000000}  # CREATE_NEW_PROCESS_GROUP, CREATE_NO_WINDOW
    if sys.platform == "win32"
    else {"start_new_session": True}
)
"""Arguments of `subprocess.Popen` for a process that leads a group of its own."""
_LONGEST_S, _BETWEEN_S = 0.8, 0.005


class _Process(NamedTuple):
    """A process of this machine."""

    parent: int
    group: int
    state: str


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    """Kill a process, its group and its descendants, also those that left the group, and wait until they are gone."""
    if sys.platform == "win32":
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(process.pid)], capture_output=True, check=False)
        process.wait()
        return
    # Who belongs to the tree is remembered: what was started by a process that is gone can no longer be found.
    tree: set[int] = set()
    end = time.monotonic() + _LONGEST_S
    while time.monotonic() < end:
        known = _processes()
        tree |= _members(process.pid, tree, known)
        alive = {pid for pid in tree if pid in known and known[pid].state != "Z"}
        if not alive:
            break
        for pid in alive:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        process.poll()  # a child that is dead stays in the list until it is asked for
        time.sleep(_BETWEEN_S)
    process.wait()


def _members(leader: int, tree: set[int], known: dict[int, _Process]) -> set[int]:
    """The leader's group, and what they and `tree` started."""
    found = {pid for pid, about in known.items() if leader in (pid, about.group)} | tree
    level = found
    while level:
        level = {pid for pid, about in known.items() if about.parent in level} - found
        found = found | level
    return found


def _processes() -> dict[int, _Process]:
    """Every process of this machine."""
    if sys.platform != "linux":
        command = ["ps", "-axo", "pid=,ppid=,pgid=,stat="]
        rows = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
        parts = [row.split(None, 3) for row in rows]
        return {int(pid): _Process(int(parent), int(group), state[:1]) for pid, parent, group, state in parts}
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            # A process may end while the folder is read. Its name, in brackets, may hold anything.
            with contextlib.suppress(OSError, ValueError):
                state, parent, group, *_ = (folder / "stat").read_text().rpartition(")")[2].split()
                found[int(folder.name)] = _Process(int(parent), int(group), state)
    return found
