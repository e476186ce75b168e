"""Work that is polled: a generator that yields what it waits for.

Comes in: a generator, whose every `yield` names a `Run` (a child process) or a `Call` (a function in a thread). It goes
on when that has ended; where that failed, the `yield` raises LogicError. Goes out: a `Task` for the panel's timer. What
goes wrong ends the generator, so that its `with` blocks and `finally` clauses leave nothing behind.
"""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Callable, Generator
from typing import Any, Protocol

from LLNMLib.interfaces import Clock, LogicError, Problem, Progress, TaskState

POLL_SECONDS = 0.05


class Waitable(Protocol):
    """Something that a task waits for."""

    log: list[str]

    @property
    def progress(self) -> Progress:
        """How far it is."""

    @property
    def problem(self) -> Problem | None:
        """Why it failed."""

    def poll(self) -> bool:
        """Whether it has ended."""

    def cancel(self) -> None:
        """End it."""


class Call:
    """A function in a thread of its own, for work that waits for a network. It must not touch the scene."""

    def __init__(self, function: Callable[[], Any], message: str) -> None:
        self.log: list[str] = [message]
        self.progress = Progress("call", 0.0, message)
        self.problem: Problem | None = None
        self.value: Any = None
        self._function = function
        # A daemon: where it is cancelled, what comes back from the network later is not waited for.
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def poll(self) -> bool:
        """Whether the function has returned or raised."""
        return not self._thread.is_alive()

    def cancel(self) -> None:
        """Nothing is waited for any more."""

    def _run(self) -> None:
        try:
            self.value = self._function()
        except LogicError as error:
            self.problem = error.problem
        except Exception as error:
            self.problem = _defect(error)


Body = Generator[Waitable, None, None]


class StepTask:
    """A task made of a generator; see `LLNMLib.interfaces.Task`. `report`: what some tasks give when they are done."""

    def __init__(self, title: str, body: Callable[[StepTask], Body], clock: Clock) -> None:
        self.title = title
        self.state = TaskState.RUNNING
        self.progress = Progress(message=title)
        self.log: list[str] = []
        self.problem: Problem | None = None
        self.report: Any = None
        self._clock = clock
        self._part = (0.0, 1.0)
        self._waiting: Waitable | None = None
        self._logged = 0
        self._body = body(self)
        self._advance()

    def part(self, start: float, end: float) -> None:
        """What is waited for next is this part (shares, 0-1) of the whole."""
        self._part = (start, end)

    def tell(self, message: str) -> None:
        """Add a line to the log and show it."""
        self.log.append(message)
        self.progress = Progress(self.progress.step, self.progress.share, message)

    def poll(self) -> TaskState:
        """Take in what has happened; the results go into the scene in the call that notices the end."""
        while self.state is TaskState.RUNNING and self._waiting is not None:
            waiting = self._waiting
            ended = waiting.poll()
            self._take_progress(waiting)
            if not ended:
                break
            self._advance(waiting.problem)
        return self.state

    def wait(self) -> TaskState:
        """Block until the state is final."""
        while self.poll() is TaskState.RUNNING:
            self._clock.sleep(POLL_SECONDS)
        return self.state

    def cancel(self) -> None:
        """End the work with all its processes."""
        if self.state is not TaskState.RUNNING:
            return
        if self._waiting is not None:
            self._waiting.cancel()
        self._body.close()
        self.state = TaskState.CANCELLED
        self.tell("Cancelled; the scene is as it was.")

    def _advance(self, problem: Problem | None = None) -> None:
        """Let the generator go on to its next wait or its end; it may catch the LogicError of what failed."""
        try:
            self._logged = 0
            self._waiting = next(self._body) if problem is None else self._body.throw(LogicError(problem))
        except StopIteration:
            self.state = TaskState.DONE
            self.progress = Progress("done", 1.0, f"{self.title}: done")
        except LogicError as error:
            self._fail(error.problem)
        except Exception as error:
            logging.debug(traceback.format_exc())
            self._fail(_defect(error))

    def _fail(self, problem: Problem) -> None:
        self.state = TaskState.FAILED
        self.problem = problem
        self.tell(str(problem))

    def _take_progress(self, waiting: Waitable) -> None:
        self.log += waiting.log[self._logged :]
        self._logged = len(waiting.log)
        start, end = self._part
        told = waiting.progress
        self.progress = Progress(told.step, start + (end - start) * told.share, told.message or self.progress.message)


def _defect(error: Exception) -> Problem:
    where = traceback.extract_tb(error.__traceback__)[-1]
    message = f"a defect of ours: {type(error).__name__}: {error} ({where.name}, line {where.lineno})"
    return Problem("Defect", message, "please report it with the log")
