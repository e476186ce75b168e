"""Runs child processes that talk in JSON lines, and the real clock.

Comes in: a command. Goes out: a `ProcessRun` to poll, with progress, log, result and, where it fails, the problem in
words. The child leads its own process group, so that cancelling ends everything that it started.
"""

from __future__ import annotations

import atexit
import os
import queue
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import IO

from LLNMLib.interfaces import Problem, Progress
from LLNMLib.messages import event_of, problem_of, start_problem, wrong_version
from LLNMLib.processes import NEW_GROUP, kill_tree

LONGEST_LOG = 5000
# Variables by which Slicer's own Python and libraries would be taken for those of the child.
_NOT_PASSED_ON = ("PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__")
_FOR_THE_CHILD = {"PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1", "HF_HUB_OFFLINE": "1"}


class SystemClock:
    """The clock of this computer."""

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    def now(self) -> datetime:
        """The time of day, UTC."""
        return datetime.now(timezone.utc)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


class ProcessRunner:
    """Starts processes and remembers those that run, so that none outlives Slicer."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """`environment`: variables of every child; `child_environment()` without."""
        self._environment = dict(child_environment() if environment is None else environment)
        self._runs: list[ProcessRun] = []
        atexit.register(self.cancel_all)

    def start(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> ProcessRun:
        """Start a program with its arguments; `environment`: variables to add."""
        self._runs = [run for run in self._runs if not run.poll()]
        run = ProcessRun(command, {**self._environment, **(environment or {})})
        self._runs.append(run)
        return run

    def cancel_all(self) -> None:
        """Kill whatever still runs."""
        for run in self._runs:
            run.cancel()
        self._runs.clear()


def child_environment() -> dict[str, str]:
    """The variables with which Slicer itself was started, without what is meant for Slicer's own Python."""
    try:
        import slicer

        variables = dict(slicer.util.startupEnvironment())
    except (ImportError, AttributeError):  # outside the application
        variables = dict(os.environ)
    kept = {name: value for name, value in variables.items() if name not in _NOT_PASSED_ON}
    return {**kept, **_FOR_THE_CHILD}


class ProcessRun:
    """One child process; see `LLNMLib.interfaces.Run`."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.log: list[str] = []
        self.progress = Progress()
        self.result: Path | None = None
        self.problem: Problem | None = None
        self._output: list[str] = []
        self._error: dict[str, object] | None = None
        self._misunderstood: Problem | None = None
        self._lines: queue.SimpleQueue[tuple[bool, str]] = queue.SimpleQueue()
        self._readers: list[threading.Thread] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = False
        try:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=dict(environment),
                **NEW_GROUP,  # type: ignore[call-overload]
            )
        except OSError as error:
            self.problem = start_problem(str(command[0]), error)
            self._ended = True
            return
        for stream, is_output in ((self._process.stdout, True), (self._process.stderr, False)):
            reader = threading.Thread(target=self._read, args=(stream, is_output), daemon=True)
            reader.start()
            self._readers.append(reader)

    @property
    def output(self) -> str:
        """What the child wrote to its standard output beside messages."""
        return "\n".join(self._output)

    @property
    def pid(self) -> int | None:
        """The child's process id; None if it never started."""
        return None if self._process is None else self._process.pid

    def poll(self) -> bool:
        """Take in what the child wrote; True once it has ended."""
        if self._ended:
            return True
        assert self._process is not None
        ended = self._process.poll() is not None
        if ended:
            # The pipes may be held open by a descendant that outlives the child; a moment is enough for the rest.
            for reader in self._readers:
                reader.join(timeout=0.5)
        self._take_lines()
        if ended:
            self._finish(self._process.returncode)
        return ended

    def cancel(self) -> None:
        """Kill the child and all that it started."""
        if self._ended or self._process is None:
            return
        kill_tree(self._process)
        for reader in self._readers:
            reader.join(timeout=0.2)
        self._take_lines()
        self._ended = True
        self.problem = Problem("Cancelled", "cancelled", "run again when you like")

    def _finish(self, status: int) -> None:
        assert self._process is not None
        kill_tree(self._process)  # what the child left behind
        self._ended = True
        if self._misunderstood is not None:
            self.problem = self._misunderstood
        elif status != 0 or self._error is not None:
            self.problem = problem_of(status, self._error, self.log)

    def _take_lines(self) -> None:
        while True:
            try:
                is_output, line = self._lines.get_nowait()
            except queue.Empty:
                return
            event = event_of(line) if is_output else None
            if event is not None:
                self._take(event)
            else:
                self.log.append(line)
                del self.log[:-LONGEST_LOG]
                if is_output:
                    self._output.append(line)

    def _take(self, event: dict[str, object]) -> None:
        if event["event"] == "start":
            self._misunderstood = wrong_version(event)
        elif event["event"] == "progress":
            share = event.get("share")
            known = float(share) if isinstance(share, (int, float)) else self.progress.share
            self.progress = Progress(str(event.get("step", "")), min(max(known, 0), 1), str(event.get("message", "")))
            self.log.append(self.progress.message)
        elif event["event"] == "result":
            self.result = Path(str(event.get("path", "")))
        elif event["event"] == "error":
            self._error = event

    def _read(self, stream: IO[bytes], is_output: bool) -> None:
        with stream:
            for line in stream:
                self._lines.put((is_output, line.decode("utf-8", "replace").rstrip("\r\n")))
