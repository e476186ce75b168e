"""Whatever fits the OpenAPI description, and whatever just does not: never a 500 (schemathesis)."""

import shutil
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from server_process import ServerProcess

EXAMPLES = 12


@pytest.fixture(scope="module")
def fuzzed(simulated_study, tmp_path_factory):
    """A server of its own: what is sent to it changes it."""
    folder = tmp_path_factory.mktemp("fuzzed")
    study = Path(shutil.copytree(simulated_study, folder / "study"))
    for image in sorted(study.glob("*.png"))[1:]:
        image.unlink()
    server = ServerProcess(study, folder / "server.log").start()
    yield server
    server.stop()
    log = (folder / "server.log").read_text()
    assert "Traceback" not in log, log[-4000:]


@pytest.fixture(scope="module")
def description(fuzzed):
    # Inference on the one image there is would only take time: it has tests of its own.
    schema = schemathesis.openapi.from_url(f"{fuzzed.address}/openapi.json")
    return schema


schema = schemathesis.pytest.from_fixture("description")


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
    database=None,
)
def test_no_request_makes_the_server_fail(case):
    response = case.call(timeout=120)
    assert response.status_code < 500, response.text[:500]
