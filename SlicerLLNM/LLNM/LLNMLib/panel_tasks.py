"""Work in the background, as the panel shows it: progress, log, cancel.

Comes in: a `Task` of the logic, and what to do when it ends well. Goes out: the panel's progress bar, step and log; a
message with the remedy where it fails. A timer polls the task, so that the window never blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from LLNMLib.interfaces import Problem, Task, TaskState
from LLNMLib.panel_text import problem_text

POLL_MS = 100


class PanelTasks:
    """Runs one task at a time and shows it. `changed` is called when one starts and when it has ended."""

    def __init__(self, ui: Any, changed: Callable[[], None]) -> None:
        self.ui = ui
        self.task: Task | None = None
        self._changed = changed
        self._done: Callable[[Task], None] | None = None
        self._logged = 0
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MS)
        self._timer.connect("timeout()", self.poll)
        ui.cancelButton.connect("clicked()", self.cancel)

    @property
    def running(self) -> bool:
        """Whether a task has not ended yet."""
        return self.task is not None

    def start(self, task: Task, done: Callable[[Task], None] | None = None) -> None:
        """Show `task` until it ends; `done` is called with it if it ends well. Two at a time are refused."""
        if self.task is not None:
            task.cancel()
            raise RuntimeError(_("Something else still runs: wait for it or cancel it"))
        self.task, self._done, self._logged = task, done, 0
        self.log(f"{task.title}:")
        self._timer.start()
        self._changed()
        self.poll()

    def poll(self) -> None:
        """Take in what the task has done since the last call; called by the timer."""
        task = self.task
        if task is None:
            return
        try:
            state = task.poll()
        except Exception:
            self._end()
            raise
        self._show(task)
        if state is not TaskState.RUNNING:
            self._finish(task)

    def cancel(self) -> None:
        """End the task that runs, if there is one."""
        if self.task is not None:
            self.task.cancel()
            self.poll()

    def log(self, line: str) -> None:
        """Add a line to the panel's log."""
        self.ui.logEdit.appendPlainText(line)

    def close(self) -> None:
        """End what runs and say nothing more: the panel is going away."""
        self._timer.stop()
        if self.task is not None:
            self.task.cancel()
            self.task = None

    def _show(self, task: Task) -> None:
        for line in task.log[self._logged :]:
            self.log(line)
        self._logged = len(task.log)
        self.ui.progressBar.value = round(100 * task.progress.share)
        step = task.progress.message or task.progress.step
        self.ui.stepLabel.text = step
        self.ui.stepLabel.visible = bool(step)

    def _end(self) -> None:
        self._timer.stop()
        self.task = None
        self.ui.progressBar.value = 0
        self.ui.stepLabel.text = ""
        self.ui.stepLabel.visible = False
        self._changed()

    def _finish(self, task: Task) -> None:
        done = self._done
        self._end()
        if task.problem is not None:
            self._tell(task.problem)
        elif task.state is TaskState.DONE and done is not None:
            done(task)

    def _tell(self, problem: Problem) -> None:
        self.ui.stepLabel.text = problem_text(problem)
        self.ui.stepLabel.visible = True
        slicer.util.errorDisplay(str(problem), detailedText="\n".join(problem.last_lines))
