"""Whatever fits the OpenAPI description, and whatever just does not: never a 500 (schemathesis)."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from server_process import ServerProcess

EXAMPLES = 8
# They start a process for each valid request; what they refuse is tested in test_security_gate.
LEFT_OUT = ("POST /train/", "POST /scoring/")


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
    options += [word for name in LEFT_OUT for word in ("--exclude-name", name)]
    command = [program, "run", f"{fuzzed.address}/openapi.json", *options]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=fuzzed.studies.parent, timeout=900)
    assert run.returncode == 0, run.stdout[-4000:]
    assert "No issues found" in run.stdout, run.stdout[-2000:]
    log = fuzzed.log.read_text()
    assert "Traceback" not in log, log[-4000:]
