"""What the parts of the logic agree on: problems, progress, tasks, and the runner and the clock that are passed in.

Comes in: nothing. Goes out: value objects and Protocols; nothing here touches the scene or starts a process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Protocol

PLANES = ("transverse", "longitudinal")
STRUCTURES = ("gland", "nodule")


@dataclass(frozen=True)
class Problem:
    """What went wrong, in words for a user.

    `kind`: one word to tell problems apart (`InputError`, `Killed`, `DiskFull`, `BadPython`, `MissingPackage`,
    `WrongVersion`, `ServerAway`, `WrongLogin`, `NotOffered`, ...). `message`: what is wrong. `remedy`: what to do next.
    `last_lines`: the end of the child's output, oldest first; empty where there was no child.
    """

    kind: str
    message: str
    remedy: str
    last_lines: tuple[str, ...] = ()

    def __str__(self) -> str:
        """One line: what is wrong; what to do."""
        return f"{self.message}; {self.remedy}"


class LogicError(Exception):
    """A problem that is known at once, before anything was started or changed; carries a `Problem`."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def logic_error(kind: str, message: str, remedy: str) -> LogicError:
    """A `LogicError` with its problem."""
    return LogicError(Problem(kind, message, remedy))


@dataclass(frozen=True)
class Progress:
    """How far a task is: `share` 0-1 of the whole, `step` a short name, `message` a sentence for the status line."""

    step: str = ""
    share: float = 0.0
    message: str = ""


class TaskState(Enum):
    """Where a task stands. The last three are final; the scene has changed only in `DONE`."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Task(Protocol):
    """Work that was started and does not block: call `poll` from a timer (every 100 ms) until the state is final.

    When the work ends well, the `poll` (or `wait`) that notices it puts the results into the scene, all in one undo
    step. In every other case the scene is as it was.
    """

    title: str
    state: TaskState
    progress: Progress
    log: list[str]
    problem: Problem | None

    def poll(self) -> TaskState:
        """Take in what has happened since the last call; returns at once."""

    def wait(self) -> TaskState:
        """Block until the state is final: for scripts, tests and batches, never for the window."""

    def cancel(self) -> None:
        """End the work with all its processes within a second; does nothing if the state is final."""


class Run(Protocol):
    """One child process that was started."""

    log: list[str]

    def poll(self) -> bool:
        """Read what the child has written; True once it has ended and everything is read."""

    @property
    def progress(self) -> Progress:
        """The last progress that the child told."""

    @property
    def result(self) -> Path | None:
        """The path that the child gave as its result."""

    @property
    def problem(self) -> Problem | None:
        """Why it failed; None while it runs and where it ended well."""

    @property
    def output(self) -> str:
        """Everything that the child wrote to its standard output and that is no message."""

    def cancel(self) -> None:
        """Kill the child and all its descendants; returns when they are gone."""


class Runner(Protocol):
    """Starts child processes; `LLNMLib.runner.ProcessRunner` is the real one."""

    def start(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> Run:
        """Start `command` (program and arguments); `environment`: variables to add. A start that fails is a `Run` too,
        one that has ended with its problem.
        """

    def cancel_all(self) -> None:
        """Kill whatever still runs: called when the module is closed or reloaded."""


class Clock(Protocol):
    """Time as the logic sees it; `LLNMLib.runner.SystemClock` is the real one."""

    def monotonic(self) -> float:
        """Seconds that never go back."""

    def now(self) -> datetime:
        """The time of day with its time zone, for what is written into results."""

    def sleep(self, seconds: float) -> None:
        """Wait; only called by `Task.wait`."""


@dataclass(frozen=True)
class Login:
    """How a server knows the user: a name with a password, or a token. Never written to the scene or to a log."""

    user: str | None = None
    password: str | None = None
    token: str | None = None


@dataclass(frozen=True)
class Local:
    """Compute on this machine, with the Python of an environment that has `llnm` (`LLNMLib.environment`)."""

    python: Path


@dataclass(frozen=True)
class Server:
    """Compute masks on a MONAILabel server (`address` such as https://host:8000).

    `python`: a local environment for the prediction, which such a server does not offer; None where there is none.
    """

    address: str
    login: Login | None = None
    python: Path | None = None


Place = Local | Server


@dataclass(frozen=True)
class Options:
    """What of a prediction can be chosen; the names are those of `llnm predict`.

    `explain`: none, fast or full. `atlas`: an atlas folder or None. `masks`: `corrected` passes on the outlines that
    a person changed (the network draws the others again), `all` passes on every outline of the scene, `none` none.
    `threads`: processor threads of the child, 0 for its own choice.
    """

    explain: str = "fast"
    atlas: Path | None = None
    calibration: Path | None = None
    weights: Path | None = None
    threshold: float = 0.5
    abstain: bool = False
    seed: int = 0
    masks: str = "corrected"
    threads: int = 0


@dataclass(frozen=True)
class LoadedImage:
    """An image that was loaded: the node (volume, or sequence for several frames) and what the user should know.

    `spacing_source`: who says what a pixel measures ("none" where nobody does). `notes`: such as a spacing that was
    corrected from the regions of a DICOM file.
    """

    node: object
    spacing_source: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class EnvironmentReport:
    """What a Python environment has. `ready` is what the panel's light shows; `problem` says what to do if it is not.

    `version` of llnm; `weights`: "name (kind)" of each network; `extras`: which optional parts are there.
    """

    ready: bool
    python: Path
    version: str | None = None
    weights: tuple[str, ...] = ()
    extras: Mapping[str, bool] | None = None
    problem: Problem | None = None


@dataclass(frozen=True)
class ServerReport:
    """What a server said: its name and version, and which of our `structures` it segments (structure -> model)."""

    ready: bool
    name: str = ""
    version: str = ""
    models: Mapping[str, str] | None = None
    problem: Problem | None = None


@dataclass(frozen=True)
class ExportReport:
    """What an export wrote (`files`), and what it could not, with the reason in words (`left_out`)."""

    files: tuple[Path, ...]
    left_out: tuple[str, ...] = ()
