"""What a child process says, and what its end means in words for a user.

Comes in: lines of its output, its exit status. Goes out: events of `llnm --progress json`, and a `Problem` with the
last lines and the remedy.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping, Sequence
from typing import Any

from LLNMLib.interfaces import Problem

PROTOCOL = 1
"""The version of the messages that this module understands (`llnm.cli.progress`)."""
LAST_LINES = 12
_FULL = ("No space left on device", "File too large", "Disk quota exceeded", "There is not enough space on the disk")
REPAIR = "make or repair the environment in the panel under Compute"


def event_of(line: str) -> dict[str, Any] | None:
    """The message in a line, or None if the line is none."""
    if not line.startswith("{"):
        return None
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) and isinstance(value.get("event"), str) else None


def wrong_version(event: Mapping[str, Any]) -> Problem | None:
    """Why a child that introduces itself with `event` cannot be understood; None if it can."""
    if event.get("protocol") == PROTOCOL:
        return None
    return Problem(
        "WrongVersion",
        f"llnm {event.get('version', 'of unknown version')} speaks protocol {event.get('protocol')}, "
        f"this module {PROTOCOL}",
        "install the llnm that belongs to this module: " + REPAIR,
    )


def problem_of(status: int, error: Mapping[str, Any] | None, lines: Sequence[str]) -> Problem:
    """Why a child failed: its exit `status` (negative for a signal), its `error` message if it sent one, its output."""
    last = tuple(line for line in lines if line.strip())[-LAST_LINES:]
    text = "\n".join(last)
    kind, message, remedy = _words(status, error, text)
    return Problem(kind, message, remedy, last)


def start_problem(program: str, error: OSError) -> Problem:
    """Why a program could not even be started."""
    reason = error.strerror or type(error).__name__
    return Problem("BadPython", f"{program}: cannot be started ({reason})", "choose another Python, or " + REPAIR)


def _words(status: int, error: Mapping[str, Any] | None, text: str) -> tuple[str, str, str]:  # noqa: PLR0911
    """Kind, message and remedy."""
    told = str(error["message"]) if error and error.get("message") else ""
    full = next((words for words in _FULL if words in told or words in text), None)
    if full:
        return "DiskFull", f"the result cannot be written ({full})", "free some space on the disk and run again"
    if error and told:
        remedy = str(error.get("remedy") or "read the log, correct the input and run again")
        return str(error.get("kind") or "Failed"), told, remedy
    if status < 0:
        return _killed(-status)
    if "No module named" in text:
        name = text.rsplit("No module named", maxsplit=1)[1].split(maxsplit=1)[0].strip("'\"")
        return "MissingPackage", f"this Python has no package {name}", REPAIR
    if "No such option" in text or "No such command" in text:
        return "WrongVersion", "the installed llnm is older than this module", REPAIR
    if status == 0:
        return "BadPython", "the program ended without a result", "choose a Python with llnm, or " + REPAIR
    return "Failed", f"the computation failed (exit code {status})", "read its last lines in the log and run again"


def _killed(number: int) -> tuple[str, str, str]:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = "unknown"
    if name == "SIGKILL":
        remedy = "most often the memory ran out: close other programs, or choose a shorter explanation, and run again"
        return "Killed", f"the system ended the computation (signal {number}, {name})", remedy
    return "Crashed", f"the computation crashed (signal {number}, {name})", "run again; if it happens again, " + REPAIR
