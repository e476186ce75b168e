"""What can go wrong with a real child: a message with the remedy each time, no process left, the scene as it was."""

import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest
from process_helpers import running
from scene_helpers import add_patient, contents

from LLNMLib.interfaces import Local, LogicError, Options, TaskState
from LLNMLib.logic import LLNMLogic
from LLNMLib.runner import ProcessRunner, SystemClock

QUICK = Options(explain="none")


@pytest.fixture
def patient(logic, patient_row):
    """A patient with both views."""
    return add_patient(logic, patient_row)


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """The only place for temporary files, to see what is left there."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def failed(logic, patient, options=QUICK):
    """Predict and expect a failure with the scene as it was; gives the problem."""
    before = contents(logic.scene)
    task = logic.start_prediction(patient, options)
    assert task.wait() is TaskState.FAILED
    assert contents(logic.scene) == before
    assert str(task.problem) in task.log[-1]
    return task.problem


def until_it_computes(task):
    while task.poll() is TaskState.RUNNING and not task.progress.step:
        time.sleep(0.02)
    assert task.state is TaskState.RUNNING, task.problem
    return psutil.Process().children(recursive=True)


def test_cancelling_a_real_computation_leaves_no_process_no_file_and_the_scene_as_it_was(logic, patient, scratch):
    before = contents(logic.scene)
    task = logic.start_prediction(patient, QUICK)
    processes = until_it_computes(task)
    assert processes
    begun = time.monotonic()
    task.cancel()
    assert running(processes) == []
    assert task.state is TaskState.CANCELLED
    assert time.monotonic() - begun < 1  # the promise to the user
    assert contents(logic.scene) == before
    assert list(scratch.iterdir()) == []
    assert task.poll() is TaskState.CANCELLED


def test_a_computation_killed_by_the_system_says_so(logic, patient, scratch):
    before = contents(logic.scene)
    task = logic.start_prediction(patient, QUICK)
    (child,) = psutil.Process().children()
    os.kill(child.pid, signal.SIGKILL)
    assert task.wait() is TaskState.FAILED
    assert (task.problem.kind, "signal 9" in task.problem.message) == ("Killed", True)
    assert "close other programs" in task.problem.remedy
    assert contents(logic.scene) == before
    assert list(scratch.iterdir()) == []


def test_a_full_disk_says_so(logic, patient, core_python, tmp_path):
    """No file may grow beyond 8 kB: where a disk is full, the same error comes from the same calls."""
    limited = tmp_path / "limited_python"
    limited.write_text(f'#!/bin/bash\nulimit -f 8\nexec "{core_python}" "$@"\n', encoding="utf-8")
    limited.chmod(0o755)
    patient.set_view("longitudinal", None)
    logic.place = Local(limited)
    problem = failed(logic, patient)
    assert problem.kind == "DiskFull"
    assert "free some space" in problem.remedy


@pytest.mark.parametrize(
    ("python", "kind"),
    [("/there/is/no/python", "BadPython"), ("/bin/true", "BadPython"), (sys.executable, "MissingPackage")],
)
def test_a_python_that_cannot_predict_is_told(logic, patient, python, kind):
    logic.place = Local(Path(python))
    problem = failed(logic, patient)
    assert problem.kind == kind
    assert "environment" in problem.remedy


def test_an_llnm_of_another_version_is_told(scene, patient_row, tmp_path):
    package = tmp_path / "llnm"
    package.mkdir()
    event = '{"event": "start", "protocol": 99, "version": "9.9"}'
    (package / "__main__.py").write_text(f"print('{event}')", encoding="utf-8")
    runner = ProcessRunner(environment={**os.environ, "PYTHONPATH": str(tmp_path)})
    logic = LLNMLogic(scene, runner, SystemClock(), Local(Path(sys.executable)))
    problem = failed(logic, add_patient(logic, patient_row))
    assert problem.kind == "WrongVersion"
    assert "9.9" in problem.message


def test_an_input_that_llnm_refuses_comes_with_its_own_words(logic, patient):
    patient.set_parameter("age", "0")
    problem = failed(logic, patient)
    assert (problem.kind, problem.message) == ("InputError", "age: 0 is outside 1-120 years")
    assert problem.remedy == "correct it or leave it out if unknown"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda patient: [patient.set_view(plane, None) for plane in ("transverse", "longitudinal")], "no view"),
        (lambda patient: patient.set_parameter("side", ""), "side"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_started(logic, patient, change, words):
    change(patient)
    with pytest.raises(LogicError, match=words):
        logic.start_all(patient, Options(atlas=Path("/some/atlas")))
    assert psutil.Process().children() == []


def test_without_a_place_to_compute_the_remedy_is_told(logic, patient):
    logic.place = None
    with pytest.raises(LogicError, match="Compute"):
        logic.start_prediction(patient)
    assert logic.next_step(patient)[0] == "environment"


def test_closing_the_scene_while_it_computes_is_no_crash(logic, patient):
    patient.set_view("longitudinal", None)
    task = logic.start_prediction(patient, QUICK)
    logic.scene.Clear(0)
    assert task.wait() is TaskState.FAILED
    assert "removed" in task.problem.message
    assert logic.patients() == []


def test_closing_the_module_ends_what_runs(logic, patient):
    task = logic.start_prediction(patient, QUICK)
    processes = psutil.Process().children(recursive=True)
    logic.close()
    assert running(processes) == []
    assert task.wait() is TaskState.FAILED
