"""A real server process on a free port of loopback, with a study folder of its own; used by all tests of the server."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# The app's modules are imported as the server does it.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "server"))

from server_process import ServerProcess, make_study


@pytest.fixture(scope="session")
def simulated_study(tmp_path_factory) -> Path:
    """Images of four simulated patients (two views each) in one folder, with `cases.csv`, and their true masks beside.

    `folder.parent / "masks"` holds `<stem>_nodule.png` and `<stem>_gland.png`. Copy the folder before writing to it.
    """
    return make_study(tmp_path_factory.mktemp("simulated"), patients=4)


@pytest.fixture
def study(simulated_study, tmp_path) -> Path:
    """A fresh copy of the simulated study folder."""
    return Path(shutil.copytree(simulated_study, tmp_path / "study"))


@pytest.fixture
def small_study(study) -> Path:
    """The views of two patients alone, as few as one can learn from: P1 judges (the campaign's choice), P3 teaches."""
    for path in (*study.glob("P2*"), *study.glob("P4*")):
        path.unlink()
    return study


@pytest.fixture
def serve(tmp_path) -> Iterator:
    """`serve(studies, *options)` starts a server; all are stopped at the end."""
    started: list[ServerProcess] = []

    def start(studies: Path | str, *options: str) -> ServerProcess:
        server = ServerProcess(studies, tmp_path / f"server_{len(started)}.log", options)
        started.append(server)
        return server.start()

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="session")
def shared_server(simulated_study, tmp_path_factory) -> Iterator[ServerProcess]:
    """One server for tests that leave no trace that others mind, on a copy of the simulated study folder."""
    folder = tmp_path_factory.mktemp("shared")
    studies = Path(shutil.copytree(simulated_study, folder / "study"))
    server = ServerProcess(studies, folder / "server.log").start()
    yield server
    server.stop()
