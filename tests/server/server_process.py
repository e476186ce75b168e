"""The server as users start it, and a study folder for it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
START_S = 180


class ServerProcess:
    """`python -m server` as users start it. `address`: where it listens. `log`: what it says."""

    def __init__(
        self,
        studies: Path | str,
        log: Path,
        options: Sequence[str] = (),
        port: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.studies, self.log, self.options = studies, log, list(options)
        self.environment = dict(environment or {})
        self.port = port or free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> ServerProcess:
        """Start it and wait until it answers."""
        command = [sys.executable, "-m", "server", "--studies", str(self.studies), "--port", str(self.port)]
        # Looking at all images at the start is tested by itself; elsewhere it would only take time.
        command += ["--conf", "score_at_start", "no"]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **self.environment}
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
