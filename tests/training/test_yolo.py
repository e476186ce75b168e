"""YOLOv8-seg with scene relations: its training data, its relations, and a real run of ultralytics."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.draw import polygon2mask

from llnm.errors import InputError
from llnm.imaging import load_image, load_mask, prepare
from llnm.segmentation.yolo import SceneRelations, add_scene_relations, import_ultralytics, load_yolo, yolo_probability
from llnm.training.yolo import outlines


def plain_yolo():
    import_ultralytics()
    from ultralytics.nn.tasks import SegmentationModel

    torch.manual_seed(0)
    return SegmentationModel("yolov8n-seg.yaml", nc=1, verbose=False)


def test_polygons_of_real_masks_enclose_the_pixels_of_the_masks(data):
    for path in sorted((data / "ddti" / "nodule").glob("*.png"))[:12]:
        mask = load_mask(path, np.asarray(Image.open(path)).shape[:2])
        drawn = np.zeros(mask.shape, dtype=bool)
        for line in outlines(mask):
            x, y = line.reshape(-1, 2).T * np.array([[mask.shape[1]], [mask.shape[0]]])
            drawn |= polygon2mask(mask.shape, np.stack([y, x], axis=1) - 0.5)
        dice = 2 * (drawn & mask).sum() / (drawn.sum() + mask.sum())
        assert dice > 0.99, (path.name, dice)


def test_each_level_of_the_pyramid_reaches_the_head_reweighted_by_the_scene_of_the_deepest_one():
    model = plain_yolo().eval()
    seen = {}
    model.model[-1].register_forward_pre_hook(lambda _, inputs: seen.update(plain=[x.clone() for x in inputs[0]]))
    add_scene_relations(model)
    model.model[-1].register_forward_pre_hook(lambda _, inputs: seen.update(reweighted=inputs[0]))
    with torch.inference_mode():
        model(torch.rand(1, 3, 64, 96))
        scene = seen["plain"][-1].mean(dim=(2, 3))
        for relation, plain, got in zip(
            model.model[-1].relations.levels, seen["plain"], seen["reweighted"], strict=True
        ):
            inner = torch.einsum("bchw,bc->bhw", relation.content(plain), relation.scene(scene))
            expected = torch.sigmoid(inner / relation.content.out_channels**0.5)[:, None] * relation.encode(plain)
            torch.testing.assert_close(got, expected)


def test_a_run_of_ultralytics_learns_relations_and_its_file_segments(llnm, few_images, tmp_path):
    out = tmp_path / "run"
    code, _, err = llnm("train", "yolo", "--data", few_images, "--out", out, "--folds", 4, "--epochs", 2, "--batch", 4)
    assert code == 0, err
    record = json.loads((out / "training.json").read_text(encoding="utf-8"))
    relations = sum(p.numel() for p in SceneRelations((64, 128, 256)).parameters())
    plain = sum(p.numel() for p in plain_yolo().parameters())
    assert record["parameters"] == plain + relations
    weights = out / "yolo.pt"
    assert weights.stat().st_size < 25e6
    learned = load_yolo(weights).model.model[-1].relations.levels[0].scene.weight
    assert torch.isfinite(learned).all()
    image = sorted((few_images / "images").iterdir())[0]
    options = ["--network", "yolo", "--weights", weights, "--out", tmp_path / "masks"]
    code, _, err = llnm("segment", image, *options)
    assert code == 0, err
    assert Image.open(tmp_path / "masks" / f"{image.stem}.png").size == Image.open(image).size


def test_instances_land_where_the_scan_area_lies_in_the_frame(data, monkeypatch):
    """What YOLO finds cannot be known in advance without hours of training, so here it finds one rectangle."""
    prepared = prepare(load_image(next((data / "samples").rglob("*.jpg"), None) or data / "ddti/images/1_1.jpg"))
    area = prepared.scan_area
    rectangle = torch.zeros((1, *area.shape))
    rectangle[0, 10:30, 20:60] = 1
    found = type("Result", (), {})()
    found.masks = type("Masks", (), {"data": rectangle})
    found.boxes = type("Boxes", (), {"conf": torch.tensor([0.4])})
    model = type("Model", (), {"predict": lambda *_, **__: [found]})()
    monkeypatch.setattr("llnm.segmentation.yolo.load_yolo", lambda _: model)
    probability = yolo_probability(prepared, data / "any.pt")
    rows, columns = np.nonzero(probability)
    assert (rows.min(), rows.max()) == (area.top + 10, area.top + 29)
    assert (columns.min(), columns.max()) == (area.left + 20, area.left + 59)
    assert probability.max() == pytest.approx(0.4)


def test_a_file_that_is_no_yolo_model_is_refused(tmp_path):
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"no model")
    with pytest.raises(InputError, match=r"weights\.pt: is no YOLO segmentation model"):
        load_yolo(weights)
    with pytest.raises(InputError, match="no file"):
        load_yolo(tmp_path / "missing.pt")
