"""Masks over HTTP: the project's annotation server as a real process, and a small one for logins and failures."""

import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from scene_helpers import REPOSITORY, a_view, contents

from LLNMLib import masks, rasters, ultrasound
from LLNMLib.interfaces import PLANES, STRUCTURES, LogicError, Login, Options, Server, TaskState
from LLNMLib.runner import child_environment
from LLNMLib.server import LabelServer

PATIENCE_S = 300


@pytest.fixture
def small_server():
    """Start a small server; gives its address."""
    started = []

    def start(login="none", answer="well"):
        command = [sys.executable, str(Path(__file__).with_name("label_server.py")), login, answer]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return f"http://127.0.0.1:{int(process.stdout.readline())}"

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def annotation_server(tmp_path_factory):
    """The project's MONAILabel server with a user; gives its address and the user's token."""
    python = REPOSITORY / ".venv-server" / "bin" / "python"
    assert python.is_file(), f"{python} is missing; run make setup-server"
    folder = tmp_path_factory.mktemp("server")
    (folder / "studies").mkdir()
    rasters.write_mask(folder / "studies" / "view.png", a_view(64, 64) > 128)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"cwd": REPOSITORY, "env": child_environment()}
    token = subprocess.run(
        [str(python), "-m", "server", "token", "--name", "ann", "--tokens", str(folder / "tokens")],
        capture_output=True,
        text=True,
        check=True,
        **common,
    ).stdout.split()[-1]
    files = ["--studies", str(folder / "studies"), "--state", str(folder / "state"), "--tokens", str(folder / "tokens")]
    with (folder / "log").open("w", encoding="utf-8") as log:
        command = [str(python), "-m", "server", *files, "--port", str(port)]
        process = subprocess.Popen(command, stdout=log, stderr=log, **common)
        try:
            _wait_until_it_answers(port, process, folder / "log")
            yield f"http://127.0.0.1:{port}", token
        finally:
            process.kill()
            process.wait()


def _wait_until_it_answers(port, process, log):
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text(encoding="utf-8")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/auth/", timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(log.read_text(encoding="utf-8"))


@pytest.fixture
def patient(logic, patient_row):
    """A patient with a transverse view."""
    made = logic.new_patient("P1")
    made.set_view("transverse", logic.load_image(Path(patient_row["transverse"]), 0.09).node)
    return made


def test_masks_of_the_annotation_server_are_those_of_llnm_and_the_prediction_here_is_made_of_them(
    annotation_server, logic, patient, llnm, core_python, patient_row, tmp_path
):
    address, token = annotation_server
    logic.place = Server(address, Login(token=token), core_python)
    check = logic.start_check()
    assert check.wait() is TaskState.DONE, check.problem
    assert check.report.models == {"nodule": "nodule", "gland": "gland"}
    task = logic.start_all(patient, Options(explain="none"))
    assert task.wait() is TaskState.DONE, task.problem
    view, drawn = patient.view("transverse"), patient.segmentation("transverse")
    for structure in STRUCTURES:
        llnm("segment", patient_row["transverse"], "--structure", structure, "--out", tmp_path / structure)
        expected = rasters.read_mask(tmp_path / structure / "P1_transverse.png")
        found = masks.mask_of(drawn, structure, view)
        assert found.shape == expected.shape
        assert np.array_equal(found, masks.largest_part(expected) if structure == "nodule" else expected)
        assert np.array_equal(masks.corrected(drawn, structure, view), found)
        assert f"transverse_{structure}_mask" in patient.result["provenance"]["inputs"]
    assert not patient.stale


def test_a_prediction_is_not_offered_by_a_server_and_that_is_said(logic, patient):
    logic.place = Server("http://127.0.0.1:9")
    with pytest.raises(LogicError) as raised:
        logic.start_prediction(patient, Options())
    assert raised.value.problem.kind == "NotOffered"
    assert "offers no prediction" in raised.value.problem.message


@pytest.mark.parametrize(
    ("login", "given"),
    [
        ("none", None),
        ("token", Login(token="good-token")),
        ("password", Login("ann", "secret")),
        ("basic", Login("ann", "secret")),
    ],
)
def test_each_way_to_log_in_works(small_server, login, given):
    report = LabelServer(small_server(login), given).report()
    assert report.problem is None
    assert (report.ready, report.models) == (True, {"nodule": "nodule"})


@pytest.mark.parametrize(
    ("login", "given"),
    [
        ("token", None),
        ("token", Login(token="bad-token")),
        ("password", Login("ann", "wrong")),
        ("basic", Login("ann", "wrong")),
    ],
)
def test_a_wrong_login_is_told_with_its_remedy_and_without_the_password(logic, patient, small_server, login, given):
    logic.place = Server(small_server(login), given)
    problem = failed(logic, patient)
    assert problem.kind == "WrongLogin"
    assert problem.remedy
    assert "wrong" not in str(problem)
    assert "bad-token" not in str(problem)


@pytest.mark.parametrize(
    ("answer", "kind"), [("error", "ServerFailed"), ("junk", "NotOffered"), ("redirect", "ServerFailed")]
)
def test_a_server_that_fails_leaves_the_scene_as_it_was(logic, patient, small_server, answer, kind):
    logic.place = Server(small_server("none", answer))
    assert failed(logic, patient).kind == kind


def test_a_server_that_fails_at_the_masks_is_told(logic, patient, small_server):
    logic.place = Server(small_server())
    problem = failed(logic, patient)
    assert problem.kind == "ServerFailed"
    assert "out of memory" in problem.message


def test_a_server_that_is_away_is_told(logic, patient):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        logic.place = Server(f"http://127.0.0.1:{free.getsockname()[1]}")
        problem = failed(logic, patient)
    assert problem.kind == "ServerAway"
    assert "check the address" in problem.remedy


def test_waiting_for_a_slow_server_can_be_cancelled(logic, patient, small_server):
    logic.place = Server(small_server("none", "slow"))
    before = contents(logic.scene)
    task = logic.start_masks(patient)
    assert task.poll() is TaskState.RUNNING
    task.cancel()
    assert task.state is TaskState.CANCELLED
    assert contents(logic.scene) == before


@pytest.mark.parametrize("address", ["", "host:8000", "ftp://host", "http://", "http://ann:secret@host"])
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(LogicError, match="write it like"):
        LabelServer(address)


def test_a_login_travels_only_protected_or_on_this_machine():
    with pytest.raises(LogicError, match="unprotected"):
        LabelServer("http://hospital.example:8000", Login(token="t"))
    assert LabelServer("https://hospital.example:8000", Login(token="t"))
    assert LabelServer("http://localhost:8000", Login(token="t"))


def test_neither_password_nor_token_reaches_the_scene(logic, patient, small_server, tmp_path):
    logic.place = Server(small_server("password"), Login("ann", "secret"))
    logic.start_check().wait()
    failed(logic, patient)
    assert logic.scene.SetURL(str(tmp_path / "scene.mrml")) is None
    assert logic.scene.Commit(str(tmp_path / "scene.mrml"))
    text = (tmp_path / "scene.mrml").read_text(encoding="utf-8")
    assert "secret" not in text
    assert "made-for-ann" not in text


def test_every_plane_is_asked_for_with_pixels_only(logic, patient, tmp_path):
    """What goes to a server has no name, no path and no identifier."""
    ultrasound.write_frame(patient.view(PLANES[0]), tmp_path / "view.nrrd")
    header = (tmp_path / "view.nrrd").read_bytes().split(b"\n\n")[0].decode("latin1")
    assert "P1" not in header
    assert "/" not in header.split("format.html")[1].replace("none", "").split("llnm:=")[0]


def failed(logic, patient):
    """Start masks and expect them to fail with the scene as it was; gives the problem."""
    before = contents(logic.scene)
    task = logic.start_masks(patient)
    assert task.wait() is TaskState.FAILED
    assert contents(logic.scene) == before
    return task.problem
