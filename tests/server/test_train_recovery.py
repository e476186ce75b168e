"""kill -9 in the middle of things: what was acknowledged is there after a restart, and the last good version serves."""

import threading
import time

import numpy as np
import pytest
import requests
from lib.client import AnnotationClient, ServerError
from PIL import Image


def truth(study, image):
    """The true nodule of a simulated image, (row, column) uint8."""
    folder = study.parent / "masks"
    return (np.asarray(Image.open(folder / f"{image.removesuffix('.png')}_nodule.png")) > 0).astype(np.uint8)


@pytest.fixture
def labelled(simulated_study):
    """`draw(client)` submits the true nodule of every image."""

    def draw(client):
        while sample := client.next_image("random"):
            client.submit(sample["id"], truth(simulated_study, sample["id"]), structures=["nodule"])

    return draw


def wait_for(condition, what, seconds=300):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.2)
    raise AssertionError(f"never happened: {what}")


def test_a_label_is_whole_after_kill_in_the_middle_of_submits(serve, study, simulated_study):
    server = serve(study)
    images = sorted(path.name for path in study.glob("*.png"))
    shape = truth(simulated_study, images[0]).shape
    acknowledged: dict[str, int] = {}

    def annotate(name, mine):
        client = AnnotationClient(server.address, annotator=name)
        for turn in range(10_000):
            image = mine[turn % len(mine)]
            drawn = truth(simulated_study, image)
            drawn[:2] = 0
            # How many pixels of the first row are set says which submit it was.
            drawn[0, : turn % shape[1]] = 1
            try:
                client.submit(image, drawn, structures=["nodule"])
            except (requests.RequestException, ServerError):
                return
            acknowledged[image] = turn

    workers = [threading.Thread(target=annotate, args=(f"a{n}", images[n::2])) for n in range(2)]
    for worker in workers:
        worker.start()
    wait_for(lambda: len(acknowledged) == len(images) and max(acknowledged.values()) > 6, "every image labelled twice")
    server.kill()
    for worker in workers:
        worker.join(120)
    server.start()
    client = AnnotationClient(server.address, annotator="a0")
    for image, turn in acknowledged.items():
        kept = int(client.label(image)[0, 0].sum())
        # The submit after the last acknowledged one may have come through; none before it may stand.
        assert kept in {turn % shape[1], (turn + len(images) // 2) % shape[1]}, image
        settled = truth(simulated_study, image)[2:]
        assert np.array_equal(client.label(image)[0, 2:], settled), image
    status = requests.get(f"{server.address}/campaign/status", timeout=60).json()
    assert status and client.info()["datastore"]["completed"] == len(images)
    left = [*study.rglob(".part-*"), *study.rglob("*.tmp")]
    assert not left, left


def test_learning_from_the_teams_labels_and_a_kill_in_mid_training(serve, small_study, labelled):
    study = small_study
    server = serve(study, "--conf", "models", "nodule", "--conf", "images_per_patient", "2")
    client = AnnotationClient(server.address, annotator="reader")
    with pytest.raises(ServerError, match="model"):
        client.infer("gland", "P1_transverse.png")
    labelled(client)
    before, _ = client.infer("nodule", "P1_transverse.png")

    task = client.train("nodule", epochs=1, learning_rate=1e-4)
    assert task["status"] == "DONE", task["details"]
    stats = task["stats"]
    assert stats["status"] in ("published", "rolled back") and stats["published"] == (
        stats["dice"]["new"] >= stats["dice"]["in use"]
    )
    after, about = client.infer("nodule", "P1_transverse.png")
    assert about["label_names"] == {"nodule": 1}
    assert np.array_equal(before, after) == (not stats["published"])

    client.train("nodule", wait=False, epochs=50)
    wait_for(lambda: client.info()["train_stats"]["nodule"].get("status") == "training", "training begins")
    server.kill()
    server.start()
    info = client.info()["train_stats"]["nodule"]
    assert info["version"] == stats["version"] and info["status"] == "interrupted"
    assert np.array_equal(client.infer("nodule", "P1_transverse.png")[0], after)
    assert client.info()["datastore"]["completed"] == 4
    # The orphaned training ends by itself and leaves the lock, so that the next one can run.
    wait_for(lambda: not orphans(study), "the orphaned training ends", 60)
    work = study / ".llnm" / "models" / "nodule"
    assert [path.name for path in work.iterdir() if path.name.isdigit()] == (["0001"] if stats["published"] else [])


def orphans(study):
    """Processes that train on this study."""
    import psutil

    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        command, environment = process.info["cmdline"] or [], process.info["environ"] or {}
        if "monailabel.interfaces.utils.app" in command and environment.get("MONAI_LABEL_STUDIES") == str(study):
            found.append(process.pid)
    return found


def test_scoring_tells_the_strategies_of_every_image(shared_server):
    from lib.activelearning import Pool

    client = AnnotationClient(shared_server.address, annotator="reader")
    client.next_image("random")  # by now every image has been offered
    task = client._ask("POST", "/scoring/pool").json()
    while task["status"] in {"SUBMITTED", "RUNNING"}:
        time.sleep(0.5)
        task = client._ask("GET", "/scoring/").json()
    assert task["status"] == "DONE", task["details"]
    pool = Pool.load(shared_server.studies / ".llnm" / "campaign" / "pool.npz")
    assert set(pool.images) >= {path.name for path in shared_server.studies.glob("P*.png")}
    assert np.isfinite(pool.features).all() and ((pool.uncertainty > 0) & (pool.uncertainty < 1)).all()


def test_too_few_labels_to_learn_from_is_said_in_one_line(shared_server):
    client = AnnotationClient(shared_server.address, annotator="reader")
    task = client.train("gland", epochs=1)
    assert task["status"] == "ERROR"
    assert task["details"][-1].startswith("error: train: ") and task["stats"]["status"] == "failed"
