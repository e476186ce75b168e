"""A real server process on a free port of loopback, with a study folder of its own; used by all tests of the server."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SERVER = REPOSITORY / "server"
sys.path.insert(0, str(SERVER))
START_S = 180


class ServerProcess:
    """`python -m server` as users start it. `address`: where it listens. `log`: what it says."""

    def __init__(self, studies: Path | str, log: Path, options: Sequence[str] = (), port: int | None = None) -> None:
        self.studies, self.log, self.options = studies, log, list(options)
        self.port = port or free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "ServerProcess":
        """Start it and wait until it answers."""
        command = [sys.executable, "-m", "server", "--studies", str(self.studies), "--port", str(self.port)]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "2"}
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [*command, *self.options], cwd=REPOSITORY, env=environment, stdout=out, stderr=out
            )
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            assert self.process.poll() is None, self.log.read_text()
            with socket.socket() as knock:
                knock.settimeout(1)
                if knock.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            time.sleep(0.1)
        raise AssertionError(f"the server did not start in {START_S} s:\n{self.log.read_text()}")

    def kill(self) -> None:
        """kill -9: what power failure and the out-of-memory killer do."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """End it as Ctrl-C does."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def simulated_study(tmp_path_factory) -> Path:
    """Images of four simulated patients (two views each) in one folder, with `cases.csv`, and their true masks beside.

    `folder.parent / "masks"` holds `<stem>_nodule.png` and `<stem>_gland.png`. Copy the folder before writing to it.
    """
    return make_study(tmp_path_factory.mktemp("simulated"), patients=4)


def make_study(folder: Path, patients: int, seed: int = 5) -> Path:
    """A study folder of simulated patients below `folder`."""
    from llnm.simulate import write_cohort

    cohort = write_cohort(patients, seed=seed, out=folder / "cohort").parent
    study = folder / "study"
    shutil.copytree(cohort / "images", study)
    shutil.copytree(cohort / "masks", folder / "masks")
    rows = [f"{path.name},{path.name.split('_')[0]}" for path in sorted(study.glob("*.png"))]
    (study / "cases.csv").write_text("\n".join(["image,case", *rows]) + "\n", encoding="utf-8")
    return study


@pytest.fixture
def study(simulated_study, tmp_path) -> Path:
    """A fresh copy of the simulated study folder."""
    return Path(shutil.copytree(simulated_study, tmp_path / "study"))


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
