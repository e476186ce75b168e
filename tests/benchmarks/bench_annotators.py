"""Twenty annotators at one real server for five minutes: is anything lost or drawn twice, how long does the next take?

Comes in: nothing; the study is of simulated patients. Goes out: a table on standard output; the exit code is 1 where a
label was lost or double or the server answered 5xx. Each annotator asks for the next image by `hybrid` (the pool has
features and uncertainties made up at random, of the size that the server's scoring writes), waits, and sends a mask.
The server's own processor time a request is told too: unlike the times, it hangs little on what else the machine does.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import requests
import SimpleITK as sitk  # noqa: N813
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "server"), str(REPOSITORY / "tests" / "server")]

from lib.activelearning import Pool  # noqa: E402
from lib.campaign import Campaign  # noqa: E402
from server_process import ServerProcess, make_study  # noqa: E402

FEATURES = 1024
SIDE = 256


@dataclass
class Seen:
    """What the annotators saw: seconds of each kind of request, status codes, acknowledged (image, annotator)."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: {"next": [], "submit": []})
    codes: Counter[int] = field(default_factory=Counter)
    acknowledged: list[tuple[str, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, kind: str, session: requests.Session, method: str, url: str, **options: object) -> requests.Response:
        """Send a request and note how long it took and what came."""
        start = time.perf_counter()
        answer = session.request(method, url, timeout=120, **options)  # type: ignore[arg-type]
        with self.lock:
            self.seconds[kind].append(time.perf_counter() - start)
            self.codes[answer.status_code] += 1
        return answer


def prepare(folder: Path, images: int) -> tuple[Path, Path]:
    """(study, label): `images` copies of a few simulated views at the size of a small frame, and a mask for them."""
    views = sorted(make_study(folder, patients=2).glob("*.png"))
    study = folder / "many"
    study.mkdir()
    small = [Image.open(view).convert("L").resize((SIDE, SIDE)) for view in views]
    rng = np.random.default_rng(0)
    for number in range(images):
        small[number % len(small)].save(study / f"v{number:05d}.png")
    names = tuple(f"v{number:05d}.png" for number in range(images))
    pool = study / ".llnm" / "campaign" / "pool.npz"
    Pool(names, rng.random(images, dtype=np.float32), rng.normal(size=(images, FEATURES)).astype(np.float32)).save(pool)
    label = folder / "label.nrrd"
    sitk.WriteImage(
        sitk.GetImageFromArray(np.pad(np.ones((1, 60, 60), np.uint8), ((0, 0), (90, 106), (90, 106)))), str(label)
    )
    return study, label


def work(name: str, server: ServerProcess, label: Path, seen: Seen, until: float, pause: float) -> None:
    """One annotator, until the time is over or nothing is left."""
    session, chance = requests.Session(), random.Random(name)
    session.headers["X-Annotator"] = name
    while time.monotonic() < until:
        answer = seen.ask("next", session, "POST", f"{server.address}/activelearning/hybrid", json={})
        if answer.status_code != 200 or not answer.json():
            return
        image = answer.json()["id"]
        time.sleep(chance.uniform(0.5, 1.5) * pause)
        with label.open("rb") as file:
            form = {"params": '{"structures": ["nodule"]}'}
            url = f"{server.address}/datastore/label"
            answer = seen.ask("submit", session, "PUT", url, params={"image": image}, data=form, files={"label": file})
        if answer.status_code == 200:
            with seen.lock:
                seen.acknowledged.append((image, name))


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--annotators", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--pause", type=float, default=2.0, help="mean seconds an annotator takes for an image")
    options = parser.parse_args()
    images = round(1.3 * options.annotators * options.seconds / options.pause) + options.annotators
    folder, seen = Path(tempfile.mkdtemp()), Seen()
    try:
        study, label = prepare(folder, images)
        server = ServerProcess(study, folder / "server.log").start()
        while requests.get(f"{server.address}/campaign/status", timeout=60).json()["images"] < images:
            time.sleep(1)
        assert server.process is not None
        used = psutil.Process(server.process.pid)
        before, until = sum(used.cpu_times()[:2]), time.monotonic() + options.seconds
        with ThreadPoolExecutor(options.annotators) as threads:
            for number in range(options.annotators):
                threads.submit(work, f"annotator-{number}", server, label, seen, until, options.pause)
        processor, load = sum(used.cpu_times()[:2]) - before, psutil.getloadavg()[0]
        server.stop()
        campaign = Campaign(study / ".llnm" / "campaign")
        log = [entry for entry in campaign.audit() if entry.what == "submitted"]
        kept = sorted((entry.detail["image"], entry.who) for entry in log)
        campaign.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    lost = set(seen.acknowledged) - set(kept)
    double = len(kept) - len({image for image, _ in kept})
    print(f"{options.annotators} annotators, {options.seconds:g} s, pause {options.pause:g} s; {images} images")
    print(f"labels acknowledged {len(seen.acknowledged)}, kept {len(kept)}, lost {len(lost)}, double {double}")
    print(f"status codes {dict(seen.codes)}")
    for kind, values in seen.seconds.items():
        middle, p95, worst = np.percentile(values, (50, 95, 100))
        print(f"{kind}: {len(values)} requests, median {middle:.3f} s, p95 {p95:.3f} s, worst {worst:.3f} s")
    share = processor / max(1, sum(seen.codes.values()))
    print(
        f"server: {1000 * share:.0f} ms of processor a request; {psutil.cpu_count()} cores, load {load:.1f} at the end"
    )
    return int(bool(lost or double or any(code >= 500 for code in seen.codes)))


if __name__ == "__main__":
    sys.exit(main())
