"""Children that talk, crash, hang and multiply: real processes, and none of them is left."""

import json
import os
import signal
import sys
import time

import psutil
import pytest
from process_helpers import running

from LLNMLib.runner import ProcessRunner

SPAWNER = """
import os, subprocess, sys, time
# A child, a grandchild, and one that left the group: each of them sleeps.
sleep = "import time; time.sleep(600)"
inner = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {sleep!r}]); time.sleep(600)"
subprocess.Popen([sys.executable, "-c", inner])
subprocess.Popen([sys.executable, "-c", sleep], start_new_session=True)
time.sleep(600)
"""


def start(runner, code, *arguments):
    return runner.start([sys.executable, "-c", code, *arguments])


def finish(run):
    while not run.poll():
        time.sleep(0.01)
    return run


def say(**event):
    return f"print({json.dumps(event)!r}, flush=True);"


def wait_for_tree(pid, size):
    """The child with all its descendants, once there are so many."""
    tree = []
    while len(tree) < size:
        time.sleep(0.02)
        process = psutil.Process(pid)
        tree = [process, *process.children(recursive=True)]
    return tree


def test_progress_and_result_are_heard_and_other_lines_go_to_the_log(runner):
    code = (
        say(event="start", protocol=1, version="0.3")
        + "print('a word');"
        + say(event="progress", step="risk", share=0.5, message="Estimating")
        + say(event="result", path="/tmp/result.json")
    )
    run = finish(start(runner, code))
    assert run.problem is None
    assert (run.progress.step, run.progress.share) == ("risk", 0.5)
    assert str(run.result) == "/tmp/result.json"
    assert run.output == "a word"
    assert run.log == ["a word", "Estimating"]


def test_poll_does_not_wait_for_a_child_that_says_nothing(runner):
    run = start(runner, "import time; time.sleep(600)")
    assert not run.poll()
    run.cancel()


def test_cancel_ends_the_whole_tree_also_who_left_its_group(runner):
    run = start(runner, SPAWNER)
    tree = wait_for_tree(run.pid, 4)
    begun = time.monotonic()
    run.cancel()
    assert running(tree) == []
    assert run.poll()
    assert run.problem.kind == "Cancelled"
    # The one promise of time that the module makes to its user.
    assert time.monotonic() - begun < 1


def test_what_a_child_leaves_behind_ends_with_it(runner):
    code = "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'],"
    run = finish(start(runner, code + " stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL); print(p.pid)"))
    assert int(run.output) not in [process.pid for process in running(psutil.process_iter())]


def test_cancelling_everything_ends_every_child():
    runner = ProcessRunner()
    runs = [start(runner, SPAWNER) for _ in range(2)]
    trees = [process for run in runs for process in wait_for_tree(run.pid, 4)]
    runner.cancel_all()
    assert running(trees) == []


def test_a_child_killed_by_the_system_says_so_with_its_last_lines_and_the_remedy(runner):
    run = start(runner, "import sys, time; print('working', file=sys.stderr, flush=True); time.sleep(600)")
    while not run.log:
        run.poll()
    os.kill(run.pid, signal.SIGKILL)
    problem = finish(run).problem
    assert problem.kind == "Killed"
    assert "signal 9" in problem.message
    assert "memory" in problem.remedy
    assert problem.last_lines == ("working",)


def test_a_crash_is_told_from_being_killed(runner):
    problem = finish(start(runner, "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")).problem
    assert problem.kind == "Crashed"
    assert "SIGSEGV" in problem.message


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        ("import llnm_that_is_not_there", "MissingPackage", "llnm_that_is_not_there"),
        ("raise OSError(28, 'No space left on device')", "DiskFull", "No space left"),
        ("import sys; print('No such option: --progress', file=sys.stderr); sys.exit(2)", "WrongVersion", "older"),
        ("raise SystemExit(7)", "Failed", "exit code 7"),
        (say(event="start", protocol=99, version="9.0"), "WrongVersion", "9.0"),
    ],
)
def test_an_end_that_is_no_success_has_a_kind_and_a_remedy(runner, code, kind, words):
    problem = finish(start(runner, code)).problem
    assert problem.kind == kind
    assert words in problem.message
    assert problem.remedy


def test_the_error_of_the_child_goes_before_its_exit_code(runner):
    code = say(event="error", kind="InputError", message="age: 0 is no age", remedy="give years")
    problem = finish(start(runner, code + "raise SystemExit(2)")).problem
    assert (problem.kind, str(problem)) == ("InputError", "age: 0 is no age; give years")


@pytest.mark.parametrize("program", ["/there/is/no/python", "/etc/passwd", "/tmp"])
def test_a_program_that_cannot_start_is_a_problem_and_no_exception(runner, program):
    run = runner.start([program, "-m", "llnm"])
    assert run.poll()
    assert run.problem.kind == "BadPython"
    assert program in run.problem.message


def test_slicers_own_python_variables_do_not_reach_the_child(monkeypatch):
    monkeypatch.setenv("PYTHONHOME", "/opt/slicer/lib/Python")
    monkeypatch.setenv("PYTHONPATH", "/opt/slicer/lib")
    run = finish(start(ProcessRunner(), "import os; print([name for name in os.environ if name.startswith('PYTHON')])"))
    assert "PYTHONHOME" not in run.output
    assert "PYTHONPATH" not in run.output
