"""A Python environment of its own for `llnm`: found, made and checked, so that Slicer's own Python stays as it is.

Comes in: a folder, a folder of wheels or the package index. Goes out: commands for the runner and a report of what an
environment has, with the remedy where it lacks something.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from LLNMLib.interfaces import EnvironmentReport, Problem, logic_error
from LLNMLib.messages import REPAIR
from LLNMLib.runner import child_environment

OLDEST, NEWEST = (3, 10), (3, 13)
OLDEST_LLNM = (0, 1)
PACKAGE = "slicer-llnm"
_VERSION_CODE = "import sys, venv, ensurepip; print(*sys.version_info[:2])"


def python_of(folder: Path) -> Path:
    """The Python of an environment in `folder`."""
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def find_pythons() -> list[Path]:
    """Pythons that an environment can be based on, best first: the system's, then Slicer's own."""
    found: dict[str, Path] = {}
    for candidate in _candidates():
        if _is_suitable(candidate):
            found.setdefault(os.path.realpath(candidate), candidate)
    return list(found.values())


def install_commands(folder: Path, base: Path, wheels: Path | None) -> list[list[str]]:
    """Commands that make an environment: its folder, pip's packages. With `wheels` nothing is asked from a network.

    Raises LogicError where the folder or the wheels cannot be used.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / "pyvenv.cfg").is_file():
        text = f"{folder}: holds other files"
        raise logic_error("InputError", text, "choose an empty or new folder for the environment")
    if wheels is not None and not list(wheels.glob("slicer_llnm-*.whl")):
        text = f"{wheels}: holds no wheel of {PACKAGE}"
        raise logic_error("InputError", text, "choose the folder with slicer_llnm-*.whl and those of its dependencies")
    source = [] if wheels is None else ["--no-index", "--find-links", str(wheels)]
    python = str(python_of(folder))
    pip = [python, "-m", "pip", "install", "--upgrade", "--disable-pip-version-check", "--no-input"]
    return [[str(base), "-m", "venv", str(folder)], [*pip, *source, PACKAGE]]


def check_command(python: Path) -> list[str]:
    """The command whose output `report_of` understands."""
    return [str(python), "-m", "llnm", "info", "--json"]


def report_of(python: Path, output: str) -> EnvironmentReport:
    """What `llnm info --json` of an environment says."""
    try:
        info: dict[str, Any] = json.loads(output)
        version = str(info["version"])
        weights = tuple(f"{row['name']} ({row['kind']})" for row in info["weights"])
        missing = [name for name, number in info["software"].items() if number == "missing"]
        extras = {str(name): bool(here) for name, here in info["extras"].items()}
    except (ValueError, KeyError, TypeError):
        text = f"{python}: its llnm gives no report that this module understands"
        return EnvironmentReport(False, python, problem=Problem("WrongVersion", text, REPAIR))
    problem: Problem | None = None
    if _number(version) < OLDEST_LLNM:
        oldest = ".".join(map(str, OLDEST_LLNM))
        problem = Problem("WrongVersion", f"llnm {version} is older than this module needs ({oldest})", REPAIR)
    elif missing:
        problem = Problem("MissingPackage", f"{python}: lacks {', '.join(missing)}", REPAIR)
    elif not weights:
        problem = Problem("MissingPackage", f"{python}: its llnm has no weights", REPAIR)
    return EnvironmentReport(problem is None, python, version, weights, extras, problem)


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


def _candidates() -> Iterator[Path]:
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        found = shutil.which(f"python3.{minor}")
        if found:
            yield Path(found)
    for name in ("python3", "python"):
        found = shutil.which(name)
        if found:
            yield Path(found)
    home = os.environ.get("SLICER_HOME")
    if home:
        yield Path(home, "bin", "PythonSlicer.exe" if sys.platform == "win32" else "PythonSlicer")


def _is_suitable(python: Path) -> bool:
    """Whether a Python starts, has a version that llnm supports, and can make environments."""
    try:
        asked = [str(python), "-c", _VERSION_CODE]
        told = subprocess.run(
            asked, capture_output=True, text=True, timeout=20, check=False, env=child_environment()
        ).stdout.split()
        return len(told) == 2 and OLDEST <= (int(told[0]), int(told[1])) <= NEWEST
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return False
