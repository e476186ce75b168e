"""A simulated study whose masks are known, and a campaign on it, in this process and behind a real server."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2] / "server"))

from lib.campaign import Campaign, PoolImage, Settings  # noqa: E402

IMAGES = 24


class Clock:
    """A clock that the test turns on."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now

    def pass_minutes(self, minutes: float) -> None:
        self.now += 60 * minutes


@dataclass
class Study:
    """`images/` and `masks/` of simulated views with equal names; `patient-n` of patient `patient`."""

    folder: Path
    names: list[str]

    def image(self, name: str) -> Path:
        return self.folder / "images" / f"{name}.png"

    def mask(self, name: str) -> Path:
        return self.folder / "masks" / f"{name}.png"

    def pool(self) -> list[PoolImage]:
        return [PoolImage(name, self.image(name), name.split("-")[0]) for name in self.names]

    def drawn(self, name: str, shift: int = 0, grow: int = 0) -> Path:
        """The true mask, moved by `shift` columns and made larger by `grow` pixels, as somebody might draw it."""
        from scipy import ndimage

        mask = np.asarray(Image.open(self.mask(name))) > 0
        mask = np.roll(mask, shift, axis=1)
        if grow:
            mask = ndimage.binary_dilation(mask, iterations=grow)
        out = self.folder / "drawn" / f"{name}_{shift}_{grow}.png"
        out.parent.mkdir(exist_ok=True)
        Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)).save(out)
        return out


@pytest.fixture(scope="session")
def repository() -> Path:
    return HERE.parents[2]


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    """Two views each of twelve simulated patients, at a quarter of their size, so that everything is quick."""
    from skimage.transform import resize

    from llnm.simulate import simulate_view

    folder = tmp_path_factory.mktemp("study")
    names = []
    for sub in ("images", "masks"):
        (folder / sub).mkdir()
    for index in range(IMAGES):
        view = simulate_view(np.random.default_rng(index), ("transverse", "longitudinal")[index % 2])
        shape = tuple(max(100, side // 3) for side in view.image.shape)
        names.append(f"p{index // 2:02d}-{index % 2}")
        grey = resize(view.image.pixels, shape, anti_aliasing=True)
        Image.fromarray(np.round(grey * 255).astype(np.uint8)).save(folder / "images" / f"{names[-1]}.png")
        mask = resize(view.masks["nodule"].astype(float), shape) > 0.5
        Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)).save(folder / "masks" / f"{names[-1]}.png")
    return Study(folder, names)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def campaign(study, tmp_path, clock) -> Iterator[Campaign]:
    """A campaign on the study without validation images, whose clock the test turns on."""
    made = Campaign(tmp_path / "campaign", settings=Settings(validation_share=0), clock=clock)
    made.add_images(study.pool())
    yield made
    made.close()


@dataclass
class Server:
    """A server process on a free port of loopback, which a test may kill and start again."""

    study: Study
    folder: Path
    port: int = 0
    process: subprocess.Popen | None = None
    name: str = "campaign"

    def start(self) -> None:
        if not self.port:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self.port = free.getsockname()[1]
        command = [sys.executable, HERE / "serve_campaign.py", self.study.folder, self.folder, str(self.port)]
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                httpx.get(f"{self.url}/status").raise_for_status()
                return
            except httpx.TransportError:
                assert self.process.poll() is None, (self.folder / "server.log").read_text()
                time.sleep(0.05)
        raise AssertionError("the server did not answer within a minute")

    @property
    def url(self) -> str:
        """Where the campaign is."""
        return f"http://127.0.0.1:{self.port}/{self.name}"

    def client(self, name: str) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers={"X-Annotator": name}, timeout=60)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(timeout=30)


@pytest.fixture
def own_server(study, tmp_path) -> Iterator[Server]:
    """A server process of the test's own, which it may stop, kill and start again."""
    made = Server(study, tmp_path / "served")
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="session")
def idle_server(study, tmp_path_factory) -> Iterator[Server]:
    """A server whose campaign nobody changes."""
    made = Server(study, tmp_path_factory.mktemp("idle"))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def server(idle_server, request) -> Server:
    """A campaign of the test's own in the process that all tests share."""
    name = f"campaign-{abs(hash(request.node.nodeid))}"
    httpx.post(f"http://127.0.0.1:{idle_server.port}/begin/{name}", timeout=60).raise_for_status()
    return replace(idle_server, name=name)
