"""The server's masks are those of `llnm segment`, pixel by pixel, for every model."""

import json

import numpy as np
import pictures
import pytest
from lib.client import AnnotationClient, ServerError
from PIL import Image


@pytest.fixture
def client(shared_server):
    return AnnotationClient(shared_server.address, annotator="reader")


@pytest.fixture
def on_command_line(llnm, tmp_path):
    """`llnm segment` on an image; gives its mask."""

    def run(image, *options):
        code, _, err = llnm("segment", image, *options, "--out", tmp_path / "masks")
        assert code == 0, err
        return np.asarray(Image.open(tmp_path / "masks" / f"{image.stem}.png")) > 0

    return run


IMAGE = "P1_transverse.png"


def test_nodule_gland_and_joint_are_the_masks_of_llnm_segment(client, shared_server, on_command_line):
    image = shared_server.studies / IMAGE
    nodule, gland = on_command_line(image), on_command_line(image, "--structure", "gland")
    assert nodule.any() and gland.any()
    assert np.array_equal(client.infer("nodule", IMAGE)[0], nodule[None] * 1)
    assert np.array_equal(client.infer("gland", IMAGE)[0], gland[None] * 2)
    both, about = client.infer("joint", IMAGE)
    assert np.array_equal(both[0] == 1, nodule)
    assert np.array_equal(both[0] == 2, gland & ~nodule)
    assert about["label_names"] == {"nodule": 1, "gland": 2}
    assert "not a medical device" in about["notice"]


def test_a_click_and_a_box_give_the_mask_of_llnm_segment(client, shared_server, on_command_line):
    image = shared_server.studies / IMAGE
    rows, columns = np.nonzero(on_command_line(image))
    x, y = int(columns.mean()), int(rows.mean())
    x0, x1, y0, y1 = int(columns.min()), int(columns.max()), int(rows.min()), int(rows.max())
    clicked = on_command_line(image, "--point", f"{x},{y}")
    boxed = on_command_line(image, "--box", f"{x0},{y0},{x1},{y1}")
    assert np.array_equal(client.infer("interactive", IMAGE, point=[x, y])[0], clicked[None])
    assert np.array_equal(client.infer("interactive", IMAGE, box=[x0, y0, x1, y1])[0], boxed[None])
    # As 3D Slicer's plugin sends a click and a box.
    plugin = {"foreground": [[x, y, 0]], "background": [], "label": "nodule"}
    assert np.array_equal(label_of(client, plugin), clicked[None])
    assert np.array_equal(label_of(client, {"roi": [x0, x1, y0, y1, 0, 0]}), boxed[None])


def label_of(client, params):
    """The interactive model's label map for raw parameters."""
    data = {"params": json.dumps(params)}
    query = {"image": IMAGE, "output": "image"}
    content = client._ask("POST", "/infer/interactive", params=query, data=data).content
    import SimpleITK as sitk  # noqa: N813

    return sitk.GetArrayFromImage(client._read(content))


def test_a_loop_gives_frame_by_frame_the_main_track_of_llnm_segment(client, shared_server, llnm, tmp_path):
    path = shared_server.studies / "loop.dcm"
    shifted = [np.roll(pictures.view(), 3 * step, axis=1) for step in range(4)]
    pictures.write_dicom(path, np.stack(shifted))
    code, _, err = llnm("segment", path, "--out", tmp_path / "masks")
    assert code == 0, err
    frames = [np.asarray(Image.open(file)) > 0 for file in sorted((tmp_path / "masks" / "loop").glob("*.png"))]
    import time

    time.sleep(1.2)
    found, about = client.infer("cine", "loop.dcm")
    assert np.array_equal(found, np.stack(frames) * 1) and found.any(axis=(1, 2)).all()
    assert about["found"]["nodule"]["frames"] == 4
    path.unlink()


@pytest.mark.parametrize(
    "params",
    [
        {"point": [1e9, 5]},
        {"point": ["a", "b"]},
        {"point": [1]},
        {"box": [0, 0, 0]},
        {"foreground": [[None, 2]]},
        {"label": "spleen", "point": [5, 5]},
        {"roi": "0,0,1,1"},
        {},
    ],
)
def test_guidance_that_cannot_be_is_refused_with_one_line(client, params):
    with pytest.raises(ServerError) as refusal:
        label_of(client, params)
    assert refusal.value.status == 400 and "\n" not in str(refusal.value)


def test_an_image_sent_with_the_request_or_in_a_session_is_segmented_and_not_kept(client, shared_server):
    images = set(client.images())
    with (shared_server.studies / IMAGE).open("rb") as file:
        session = client._ask("PUT", "/session/", files={"files": ("view.png", file)}).json()["session_id"]
    query = {"session_id": session, "output": "json"}
    about = client._ask("POST", "/infer/nodule", params=query, data={"params": "{}"}).json()
    assert about["found"]["nodule"]["found"]
    assert client._ask("GET", f"/session/{session}").status_code == 200
    client._ask("DELETE", f"/session/{session}")
    with pytest.raises(ServerError, match="404"):
        client._ask("GET", f"/session/{session}")
    assert set(client.images()) == images
