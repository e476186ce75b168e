"""Whatever fits the OpenAPI description, and whatever just does not: never a 500 (schemathesis)."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests
from server_process import ServerProcess

EXAMPLES = 8
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def fuzzed(simulated_study, tmp_path_factory):
    """A server of its own, with one image: what is sent to it changes it."""
    folder = tmp_path_factory.mktemp("fuzzed")
    study = folder / "study"
    study.mkdir()
    shutil.copy(simulated_study / "P1_transverse.png", study)
    server = ServerProcess(study, folder / "server.log").start()
    yield server
    server.stop()


def test_no_request_makes_the_server_fail(fuzzed):
    program = Path(sys.executable).with_name("schemathesis")
    options = ["--checks", "not_a_server_error", "--phases", "coverage,fuzzing", "--max-examples", str(EXAMPLES)]
    options += ["--generation-deterministic", "--no-shrink", "--continue-on-failure", "--no-color", "--warnings", "off"]
    options += ["--suppress-health-check", "all", "--request-timeout", "120"]
    command = [program, "run", f"{fuzzed.address}/openapi.json", *options]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=fuzzed.studies.parent, timeout=900)
    assert run.returncode == 0, run.stdout[-4000:]
    assert "No issues found" in run.stdout, run.stdout[-2000:]
    log = fuzzed.log.read_text()
    assert "Traceback" not in log, log[-4000:]


def test_whatever_was_started_can_be_stopped_and_a_start_of_all_takes_one_place_in_the_queue(fuzzed):
    """After the storm: what waits is stopped one by one, and asking for all twice starts nothing twice."""
    for kind in ("train", "scoring"):
        running = {"SUBMITTED", "RUNNING"}
        for _ in range(2):
            started = requests.post(f"{fuzzed.address}/{kind}/", json={}, timeout=60)
            assert started.status_code == 200, started.text
        tasks = requests.get(f"{fuzzed.address}/{kind}/?all=true", timeout=60).json()
        assert len([task for task in tasks if task["status"] in running]) <= len(started.json())
        for _ in range(200):
            tasks = requests.get(f"{fuzzed.address}/{kind}/?all=true", timeout=60).json()
            if not [task for task in tasks if task["status"] in running]:
                break
            assert requests.delete(f"{fuzzed.address}/{kind}/", timeout=60).status_code == 200
            time.sleep(0.3)
        else:
            raise AssertionError(f"{kind} cannot be stopped: {tasks}")


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"epochs": -1}, "epochs"),
        ({"epochs": 0}, "epochs"),
        ({"epochs": 10**30}, "epochs"),
        ({"epochs": "many"}, "epochs"),
        ({"epochs": "\ud800" * 9}, "epochs"),
        ({"epochs": True}, "epochs"),
        ({"epochs": 2.5}, "epochs"),
        ({"epochs": [20]}, "epochs"),
        ({"epochs": {"nodule": 3}}, "epochs"),
        ({"batch_size": 10**9}, "batch_size"),
        ({"batch_size": -8}, "batch_size"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"learning_rate": float("inf")}, "learning_rate"),
        ({"learning_rate": -1e-3}, "learning_rate"),
        ({"learning_rate": "1e-3"}, "learning_rate"),
        ({"seed": -1}, "seed"),
        ({"epochs": 5, "seed": "x" * 100_000}, "seed"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_training_that_cannot_be_is_refused_by_its_name_before_anything_starts(shared_server, settings, named):
    before = tasks_of(shared_server)
    for path, body in (("nodule", settings), ("", {"gland": settings})):
        # As a client in any language may send it: `json=` of requests refuses what is no number.
        answer = requests.post(f"{shared_server.address}/train/{path}", data=json.dumps(body), headers=JSON, timeout=60)
        assert answer.status_code == 400, answer.text
        detail = answer.json()["detail"]
        assert detail.startswith(f"{named}: ") and "\n" not in detail and len(detail) < 200
    assert tasks_of(shared_server) == before


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("spleen", {}, 404),
        ("spleen" * 2000, {}, 404),
        ("nodule%2F..", {}, 404),
        ("", {"spleen": {"epochs": 1}}, 404),
        ("", {"nodule": "rubbish"}, 400),
        ("", {"nodule": [1, 2]}, 400),
        ("nodule", [1, 2], 422),
        ("nodule", "rubbish", 422),
    ],
    ids=lambda value: str(value)[:30],
)
def test_training_of_what_there_is_not_is_refused_before_anything_starts(shared_server, path, body, status):
    before = tasks_of(shared_server)
    answer = requests.post(f"{shared_server.address}/train/{path}", json=body, timeout=60)
    assert answer.status_code == status, answer.text
    assert len(answer.text) < 400
    assert tasks_of(shared_server) == before


@pytest.mark.parametrize("body", ["[NaN]", '["\\ud800"]', "[1e999]", '"' + "x" * 100_000 + '"', "[" * 5000, "\x00"])
def test_a_body_that_could_not_be_told_again_is_refused_in_one_short_line(shared_server, body):
    for path in ("/train/nodule", "/train/", "/activelearning/random", "/campaign/next", "/campaign/adjudication"):
        answer = requests.post(f"{shared_server.address}{path}", data=body, headers=JSON, timeout=60)
        assert 400 <= answer.status_code < 500, (path, answer.status_code)
        detail = answer.json()["detail"]
        assert isinstance(detail, str) and "\n" not in detail and len(detail) < 300, path


def tasks_of(server):
    """Every training that was ever started."""
    answer = requests.get(f"{server.address}/train/?all=true", timeout=60)
    return [task["id"] for task in answer.json()] if answer.ok else []
