"""The campaign behind a real server: its routes, twenty annotators at once, and a kill in the middle of a submit."""

import io
import signal
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from lib.campaign import Campaign
from PIL import Image

# So many images each of twenty annotators does; the benchmark lets them work for five minutes.
ROUNDS = 12


def send(client, study, image, name, **fields):
    with study.mask(image).open("rb") as file:
        return client.post("/labels", data={"image": image, **fields}, files={"label": (name, file)})


def next_image(client):
    answer = client.post("/next", json={"strategy": "random"})
    assert answer.status_code == 200, answer.text
    leases = answer.json()
    return leases[0]["image"] if leases else None


def test_a_whole_round_over_http(server, study):
    with server.client("ann") as ann, server.client("bob") as bob, server.client("reviewer") as reviewer:
        lease = ann.post("/next", json={"strategy": "random"}).json()[0]
        assert ann.post(f"/leases/{lease['id']}/renew").json()["expires"] >= lease["expires"]
        receipt = send(ann, study, lease["image"], "m.png", seconds=31.5, submission="one").json()
        assert receipt == {"submission": "one", "image": lease["image"], "annotator": "ann", "repeated": False}
        assert send(ann, study, lease["image"], "m.png", seconds=31.5, submission="one").json()["repeated"]
        assert reviewer.post("/readers", json={"images": [lease["image"]], "readers": 2}).status_code == 200
        assert next_image(bob) == lease["image"]
        with study.drawn(lease["image"], 50).open("rb") as file:
            bob.post("/labels", data={"image": lease["image"]}, files={"label": ("l.png", file)}).raise_for_status()
        (found,) = reviewer.get("/adjudication").json()
        assert [choice["name"] for choice in found["choices"]] == ["ann", "bob", "consensus"]
        picture = reviewer.get("/adjudication/picture", params={"image": lease["image"]})
        assert len(np.unique(np.asarray(Image.open(io.BytesIO(picture.content))).reshape(-1, 3), axis=0)) > 50
        decision = {"image": lease["image"], "choice": "ann"}
        assert reviewer.post("/adjudication", json=decision).json() == decision
        log = reviewer.get("/audit").json()
        assert log["whole"]
        assert log["entries"][-1]["what"] == "decided"
        status = ann.get("/status").json()
        assert status["seconds"]["labels"] == 2
        assert status["you"] == {"name": "ann", "reviewer": False}


def test_a_reviewer_decides_by_a_mask_of_their_own(server, study):
    with server.client("ann") as ann, server.client("bob") as bob, server.client("reviewer") as reviewer:
        image = next_image(ann)
        send(ann, study, image, "m.png").raise_for_status()
        reviewer.post("/readers", json={"images": [image], "readers": 2}).raise_for_status()
        with study.drawn(image, 50).open("rb") as file:
            bob.post("/labels", data={"image": image}, files={"label": ("l.png", file)}).raise_for_status()
        own = study.drawn(image, 3, grow=2).read_bytes()
        for someone, name, content, status in (
            (ann, "own.png", own, 403),
            (reviewer, "own.jpg", own, 400),
            (reviewer, "own.png", b"none", 400),
            (reviewer, "../own.png", own, 200),
            (reviewer, "own.png", own, 404),
        ):
            answer = someone.post("/adjudication/mask", data={"image": image}, files={"label": (name, content)})
            assert answer.status_code == status, answer.text
        archive = zipfile.ZipFile(io.BytesIO(reviewer.get("/export").content))
        with archive.open(f"campaign/nodule/{image}.png") as exported:
            mask = np.asarray(Image.open(exported)) > 0
        assert np.array_equal(mask, np.asarray(Image.open(io.BytesIO(own))) > 0)
        log = reviewer.get("/audit").json()
        assert log["whole"] and log["entries"][-1]["detail"]["choice"] == "reviewer"


def test_the_export_comes_as_a_zip(server, study):
    with server.client("reviewer") as reviewer:
        assert reviewer.get("/export").status_code == 400
        image = next_image(reviewer)
        send(reviewer, study, image, "m.png").raise_for_status()
        archive = zipfile.ZipFile(io.BytesIO(reviewer.get("/export").content))
    files = {f"campaign/images/{image}.png", f"campaign/nodule/{image}.png", "campaign/cases.csv"}
    assert files <= set(archive.namelist())


def test_an_unchanged_status_is_not_sent_again(server):
    with server.client("ann") as ann:
        tag = ann.get("/status").headers["ETag"]
        assert ann.get("/status", headers={"If-None-Match": tag}).status_code == 304
        next_image(ann)
        assert ann.get("/status", headers={"If-None-Match": tag}).status_code == 200


def test_only_reviewers_review(idle_server, study):
    with idle_server.client("ann") as ann:
        for method, path, body in (
            ("POST", "/readers", {"images": [study.names[0]], "readers": 2}),
            ("GET", "/adjudication", None),
            ("GET", "/adjudication/picture?image=x", None),
            ("POST", "/adjudication", {"image": study.names[0], "choice": "consensus"}),
            ("GET", "/export", None),
            ("GET", "/audit", None),
        ):
            answer = ann.request(method, path, json=body)
            assert answer.status_code == 403, (method, path)
            assert "is no reviewer" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/next", {"strategy": "best"}, 404),
        ("/next", {"strategy": "random", "count": 0}, 400),
        ("/next", {"count": "many"}, 422),
        ("/next", {"strategy": "random", "count": 10**30}, 400),
        ("/leases/none/renew", None, 409),
        ("/leases/..%2F..%2Fetc/release", None, 404),
        ("/readers", {"images": ["elsewhere"], "readers": 2}, 404),
        ("/readers", {"images": ["p00-0"], "readers": -1}, 400),
        ("/readers", {"images": ["p00-0"], "readers": 10**30}, 400),
        ("/adjudication", {"image": "p00-0", "choice": "consensus"}, 404),
        ("/adjudication", {"image": "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"), "choice": ""}, 404),
    ],
)
def test_a_request_that_cannot_be_fulfilled_says_why(idle_server, path, body, status):
    with idle_server.client("reviewer") as client:
        answer = client.post(path, json=body)
        assert answer.status_code == status, answer.text
        assert answer.json()["detail"]


@pytest.mark.parametrize(
    ("name", "content", "fields", "status"),
    [
        ("m.jpg", b"x", {}, 400),
        ("m.png", b"", {}, 400),
        ("m.png", b"x" * (2 << 20), {}, 413),
        ("m.nrrd", b"NRRD0004\ntype: uint8\ndimension: 2\nsizes: 99999999 99999999\nencoding: raw\n\n", {}, 400),
        ("../../evil.png", b"x", {}, 400),
        ("m.png", None, {"seconds": "nan"}, 400),
        ("m.png", None, {"seconds": "1e999"}, 400),
        ("m.png", None, {"seconds": "soon"}, 422),
        ("m.png", None, {"image": "elsewhere"}, 404),
        ("m.png", None, {"submission": "a\nb"}, 400),
    ],
)
def test_an_upload_that_is_no_label_is_refused(idle_server, study, name, content, fields, status):
    image = study.names[0]
    content = study.mask(image).read_bytes() if content is None else content
    with idle_server.client("ann") as ann:
        answer = ann.post("/labels", data={"image": image, **fields}, files={"label": (name, content)})
        assert answer.status_code == status, answer.text
        assert str(idle_server.folder) not in answer.text
        assert ann.get("/status").json()["labels"] == 0


def test_twenty_annotators_at_once_lose_no_label_and_draw_nothing_twice(own_server, study):
    receipts, codes = [], set()
    for number in range(20 * ROUNDS - len(study.names)):
        source = study.names[number % len(study.names)]
        copy = study.folder / "images" / f"x{number:03d}-{source}.png"
        if not copy.exists():
            copy.write_bytes(study.image(source).read_bytes())
            study.mask(copy.stem).write_bytes(study.mask(source).read_bytes())
    own_server.stop()
    own_server.start()

    def work(number):
        with own_server.client(f"ann{number}") as client:
            for done in range(ROUNDS):
                image = next_image(client)
                answers = [send(client, study, image, "m.png", submission=f"{number}/{done}"), client.get("/status")]
                codes.update(answer.status_code for answer in answers)
                receipts.append((image, f"ann{number}"))

    try:
        with ThreadPoolExecutor(20) as threads:
            list(threads.map(work, range(20)))
    finally:
        for copy in study.folder.glob("*/x*-*.png"):
            copy.unlink()
    assert codes == {200}
    images = [image for image, _ in receipts]
    assert len(images) == len(set(images)) == 20 * ROUNDS
    with own_server.client("reviewer") as reviewer:
        log = reviewer.get("/audit").json()
        assert log["whole"], log["problem"]
        taken = [(entry["detail"]["image"], entry["who"]) for entry in log["entries"] if entry["what"] == "submitted"]
        assert sorted(taken) == sorted(receipts)
        assert reviewer.get("/status").json()["labels"] == len(receipts)


def test_a_kill_in_the_middle_of_submits_loses_nothing_that_was_acknowledged(own_server, study):
    acknowledged, begun = [], []

    def work(number):
        with own_server.client(f"ann{number}") as client:
            for image in study.names[number::4]:
                begun.append((image, f"ann{number}"))
                try:
                    answer = send(client, study, image, "m.png", submission=f"s-{image}")
                except httpx.TransportError:
                    return
                assert answer.status_code == 200, answer.text
                acknowledged.append((image, f"ann{number}"))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    while len(acknowledged) < 5:
        time.sleep(0.001)
    own_server.stop(signal.SIGKILL)
    for thread in threads:
        thread.join()
    assert 5 <= len(acknowledged) < len(study.names)
    own_server.start()
    with own_server.client("reviewer") as reviewer:
        log = reviewer.get("/audit").json()
    assert log["whole"], log["problem"]
    kept = [(entry["detail"]["image"], entry["who"]) for entry in log["entries"] if entry["what"] == "submitted"]
    assert set(acknowledged) <= set(kept) <= set(begun)
    assert len(kept) == len(set(kept))
    # A client that heard nothing sends the same again: it counts once, whether or not it had arrived.
    for image, name in begun:
        with own_server.client(name) as client:
            answer = send(client, study, image, "m.png", submission=f"s-{image}").json()
            assert answer["repeated"] == ((image, name) in kept)
    own_server.stop()
    campaign = Campaign(own_server.folder / own_server.name)
    assert sorted(label.image for label in campaign.agreed()) == sorted(image for image, _ in begun)
    campaign.close()
