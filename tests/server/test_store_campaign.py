"""One truth behind both doors: what the campaign settles is the final label that 3D Slicer's plugin sees."""

import io
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import requests
from lib.campaign import Campaign, PoolImage, Settings
from lib.client import AnnotationClient, ServerError
from lib.configs import FINAL
from lib.images import LabelMap
from lib.stores import StudyFolder
from PIL import Image

from llnm.files import write_mask


@pytest.fixture(scope="module")
def served(simulated_study, tmp_path_factory):
    """A server whose labels these tests alone change; each test has an image of its own."""
    import shutil

    from server_process import ServerProcess

    folder = tmp_path_factory.mktemp("both_doors")
    study = shutil.copytree(simulated_study, folder / "study")
    server = ServerProcess(study, folder / "server.log").start()
    yield server
    server.stop()


@pytest.fixture
def people(served):
    return {name: AnnotationClient(served.address, annotator=name) for name in ("ann", "bob", "rob")}


@pytest.fixture(scope="session")
def truth(simulated_study):
    """`truth(image)`: the nodule of a simulated image, (row, column) bool."""

    def read(image, structure="nodule"):
        folder = simulated_study.parent / "masks"
        return np.asarray(Image.open(folder / f"{image.removesuffix('.png')}_{structure}.png")) > 0

    return read


def send(client, image, mask, **fields):
    """A mask by `/campaign/labels`."""
    file = io.BytesIO()
    Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)).save(file, format="PNG")
    return client._ask(
        "POST", "/campaign/labels", data={"image": image, **fields}, files={"label": ("m.png", file.getvalue())}
    ).json()


def final(client, image):
    """Final label, (row, column), and its record."""
    info = client._ask("GET", "/datastore/label/info", params={"label": image, "tag": "final"}).json()
    return client.label(image)[0], info


def test_a_label_sent_to_the_campaign_is_the_final_label_of_the_datastore_and_so_is_its_revision(people, truth):
    ann, image = people["ann"], "P1_transverse.png"
    assert not ann.images()[image]["labels"]
    send(ann, image, truth(image), submission="one")
    values, info = final(ann, image)
    assert np.array_equal(values, truth(image) * 1)
    assert (info["annotator"], info["structures"]) == ("ann", ["nodule"])
    assert ann.info()["datastore"]["completed"] >= 1
    send(ann, image, truth(image), submission="one")  # once more, as after a lost answer
    moved = np.roll(truth(image), 3, axis=1)
    send(ann, image, moved, revise="true")
    assert np.array_equal(final(ann, image)[0], moved * 1)


def test_a_gland_that_was_drawn_in_slicer_stays_when_the_campaigns_nodule_changes(people, truth):
    ann, image = people["ann"], "P2_transverse.png"
    nodule, gland = truth(image), truth(image, "gland")
    label = np.where(nodule, 1, np.where(gland, 2, 0)).astype(np.uint8)
    ann.submit(image, label, structures=["nodule", "gland"])
    assert np.array_equal(final(ann, image)[0], label)
    smaller = nodule & np.roll(nodule, 9, axis=0)
    send(ann, image, smaller, revise="true")
    values, info = final(ann, image)
    assert info["structures"] == ["nodule", "gland"]
    assert np.array_equal(values == 1, smaller)
    # What is no nodule any more is gland again, where it lies in the gland.
    assert ((values == 2) & nodule).sum() == (nodule & ~smaller).sum()


def test_readers_who_agree_by_either_door_leave_their_consensus(people, truth):
    ann, bob, rob, image = people["ann"], people["bob"], people["rob"], "P3_transverse.png"
    rob.ask_readers([image], 2)
    send(ann, image, truth(image))
    with pytest.raises(ServerError, match="404"):
        final(ann, image)  # the other reader is not to see it
    moved = np.roll(truth(image), 2, axis=1)
    bob.submit(image, moved.astype(np.uint8), structures=["nodule"])
    values, info = final(ann, image)
    assert (info["annotator"], info["readers"]) == ("consensus", ["ann", "bob"])
    # Whatever STAPLE makes of two readers: all that both drew, nothing that neither did.
    assert (values[truth(image) & moved] == 1).all() and not values[~(truth(image) | moved)].any()


def test_a_reviewers_own_mask_becomes_the_final_label_and_those_it_replaces_are_kept(people, truth, served):
    ann, bob, rob, image = people["ann"], people["bob"], people["rob"], "P4_transverse.png"
    rob.ask_readers([image], 2)
    for client, shift in ((ann, 0), (bob, 90)):
        client.submit(image, np.roll(truth(image), shift, axis=1).astype(np.uint8), structures=["nodule"])
    (found,) = [entry for entry in rob.disagreements() if entry["image"] == image]
    assert [choice["name"] for choice in found["choices"]] == ["ann", "bob", "consensus"]
    own = np.roll(truth(image), 5, axis=0)
    rob.decide(image, own)
    values, info = final(ann, image)
    assert np.array_equal(values, own * 1) and info["annotator"] == "rob"
    assert len(list((served.studies / "labels" / ".history" / "final" / image).iterdir())) == 2
    assert rob.audit()["whole"] and rob.disagreements() == []
    rob.export(served.studies.parent / "campaign.zip")
    assert (served.studies.parent / "campaign.zip").stat().st_size > 1000


def test_a_label_of_the_gland_alone_is_what_was_sent_and_nothing_is_added(people, truth):
    ann, image = people["ann"], "P1_longitudinal.png"
    send(ann, image, truth(image))
    gland = truth(image, "gland")
    ann.submit(image, (2 * gland).astype(np.uint8), structures=["gland"])
    assert np.array_equal(final(ann, image)[0], 2 * gland)


def test_a_start_makes_good_what_happened_while_the_server_was_away(serve, study, truth, tmp_path):
    """A decision that a kill kept from the datastore; a label that an admin removed stays away."""
    behind, same, removed, other = (f"P{number}_transverse.png" for number in (1, 2, 3, 4))
    store, campaign = StudyFolder(study), Campaign(study / ".llnm" / "campaign", settings=Settings())
    for image in (behind, same, removed, other):
        campaign.add_images([PoolImage(image, study / image, image[:2])])
        write_mask(tmp_path / "mask.png", truth(image))
        campaign.submitted(image, "ann", tmp_path / "mask.png")
    settled = campaign.settled(same).label.name
    old = np.roll(truth(behind), 7, axis=1)[None].astype(np.uint8)
    store.keep_label(behind, LabelMap(old, ("nodule",), {"annotator": "ann"}), FINAL)
    store.keep_label(same, LabelMap(old, ("nodule",), {"annotator": "ann", "settled": settled}), FINAL)
    (study / "labels" / "final" / f"{other}.seg.nrrd").write_bytes(b"put there by hand")
    campaign.close()
    server = serve(study)
    client = AnnotationClient(server.address, annotator="ann")
    end = time.monotonic() + 60
    while np.array_equal(client.label(behind), old) and time.monotonic() < end:
        time.sleep(0.2)
    assert np.array_equal(client.label(behind)[0], truth(behind) * 1)
    assert np.array_equal(client.label(same), old)
    assert requests.get(f"{server.address}/datastore/label?label={removed}&tag=final", timeout=60).status_code == 404
    while requests.get(f"{server.address}/datastore/label?label={other}&tag=final", timeout=60).content[:4] != b"NRRD":
        assert time.monotonic() < end
        time.sleep(0.2)
    assert np.array_equal(client.label(other)[0], truth(other) * 1)
    assert len(list((study / "labels" / ".history" / "final" / behind).iterdir())) == 1


def test_a_label_that_is_replaced_while_it_is_read_is_the_old_or_the_new_one(serve, study):
    """Of different lengths, so that one read by the length of the other would be cut or refused."""
    image, store = "P1_transverse.png", StudyFolder(study)
    rows, columns = store.source(image).geometry.shape[-2:]
    simple = np.zeros((1, rows, columns), np.uint8)
    noise = np.random.default_rng(0).integers(0, 2, simple.shape).astype(np.uint8)
    store.keep_label(image, LabelMap(simple, ("nodule",), {}), FINAL)
    client = AnnotationClient(serve(study).address, annotator="ann")

    def replace_often():
        for turn in range(80):
            store.keep_label(image, LabelMap((noise, simple)[turn % 2], ("nodule",), {}), FINAL)

    with ThreadPoolExecutor(1) as pool:
        replacing = pool.submit(replace_often)
        while not replacing.done():
            found = client.label(image)
            assert np.array_equal(found, simple) or np.array_equal(found, noise)
        replacing.result()
    assert np.array_equal(client.label(image), simple)
