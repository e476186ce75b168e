"""Work in the background as the panel shows it: real tasks, real child processes, a real event loop."""

import json
import logging
import sys
import time

import pytest
import slicer
from panel_fixtures import MODULE_FOLDER, application  # noqa: F401

STEPS = [("masks", 0.25, "outlining"), ("prediction", 0.75, "predicting")]


def child(*lines, ending=""):
    """A command whose process says these messages."""
    printed = "".join(f"print({json.dumps(line)!r}, flush=True);" for line in lines)
    return [sys.executable, "-c", f"import time, os, sys; {printed} {ending}"]


@pytest.fixture
def tasks(application):  # noqa: F811
    """`PanelTasks` on the panel's file, and how often it said that something changed."""
    from LLNMLib.panel_tasks import PanelTasks

    window = slicer.util.loadUI(str(MODULE_FOLDER / "Resources" / "UI" / "LLNM.ui"))
    changes = []
    made = PanelTasks(slicer.util.childWidgetVariables(window), lambda: changes.append(made.running))
    made.changes, made.window = changes, window
    yield made
    made.close()


@pytest.fixture
def start():
    """Start a command as a task; gives the task."""
    from LLNMLib.runner import ProcessRunner, SystemClock
    from LLNMLib.tasks import StepTask

    runner = ProcessRunner()

    def starting(command, title="Test"):
        def body(task):
            yield runner.start(command)

        return StepTask(title, body, SystemClock())

    yield starting
    runner.cancel_all()


def until(condition, seconds=20):
    """Let the event loop run, as the window does, until the condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        slicer.app.processEvents()
        time.sleep(0.01)


def messages():
    return [{"event": "progress", "step": step, "share": share, "message": text} for step, share, text in STEPS]


def test_the_panel_shows_each_step_and_calls_back_when_the_work_has_ended_well(tasks, start):
    done = []
    seen = set()
    tasks.start(start(child(*messages(), ending="time.sleep(0.4)")), done.append)

    def watch():
        seen.add((tasks.ui.progressBar.value, tasks.ui.stepLabel.text))
        return not tasks.running

    until(watch)

    assert (75, "predicting") in seen
    assert len(done) == 1
    assert (tasks.ui.progressBar.value, tasks.ui.stepLabel.text) == (0, "")
    assert tasks.changes[0] is True and tasks.changes[-1] is False
    log = tasks.ui.logEdit.toPlainText()
    assert log.index("Test:") < log.index("outlining") < log.index("predicting")


def test_the_window_goes_on_while_the_work_runs(tasks, start):
    ticks = []
    import qt

    timer = qt.QTimer()
    timer.setInterval(10)
    timer.connect("timeout()", lambda: ticks.append(tasks.running))
    timer.start()
    tasks.start(start(child(ending="time.sleep(0.6)")))

    until(lambda: not tasks.running)

    assert ticks.count(True) > 5


def test_cancel_ends_the_process_and_calls_nothing_back(tasks, start):
    done = []
    task = start(child(*messages(), ending="time.sleep(60)"))
    tasks.start(task, done.append)
    until(lambda: tasks.ui.stepLabel.text == "predicting")

    tasks.ui.cancelButton.enabled = True
    tasks.ui.cancelButton.click()

    assert not tasks.running and not done
    assert task.state.value == "cancelled"
    assert "scene is as it was" in tasks.ui.logEdit.toPlainText()


def test_a_child_that_is_killed_leaves_a_message_with_the_remedy(tasks, start, caplog):
    done = []
    caplog.set_level(logging.ERROR)
    tasks.start(
        start(child(*messages(), ending="print('last words', flush=True); os.kill(os.getpid(), 9)")), done.append
    )

    until(lambda: not tasks.running)

    assert not done
    assert "signal 9" in tasks.ui.stepLabel.text and "memory" in tasks.ui.stepLabel.text
    assert tasks.ui.stepLabel.visible or not tasks.window.visible
    assert "last words" in tasks.ui.logEdit.toPlainText()
    assert any("signal 9" in record.message for record in caplog.records), "the application shows it in a message box"


def test_a_second_task_is_refused_while_one_runs(tasks, start):
    tasks.start(start(child(ending="time.sleep(60)"), "First"))
    second = start(child(ending="time.sleep(60)"), "Second")

    with pytest.raises(RuntimeError, match="still runs"):
        tasks.start(second)

    assert second.state.value == "cancelled"
    assert tasks.task.title == "First"


def test_closing_the_panel_leaves_no_process(tasks, start):
    task = start(child(ending="time.sleep(60)"))
    tasks.start(task)

    tasks.close()

    assert task.state.value == "cancelled" and not tasks.running
