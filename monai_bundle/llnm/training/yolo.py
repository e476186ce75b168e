"""Trains YOLOv8-seg with scene relations on nodules, by ultralytics (extra `yolo`, AGPL-3.0).

Comes in: annotated folders (see `training.data`). Goes out, in one folder: `yolo.pt`, and the same record, table, card
and gallery that the default network's training gives, measured by the same code on the same split.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from skimage.measure import find_contours

from llnm.case import Mask
from llnm.imaging import load_image, load_mask, prepare
from llnm.segmentation.candidates import components
from llnm.segmentation.yolo import add_scene_relations, import_ultralytics, load_yolo, network_frame
from llnm.training.data import HeldBack, Item, training_split
from llnm.training.measuring import record_run

# Longest side of what the network sees; about as many pixels as the default network's canvas.
SIDE = 256

_REPORTING = ("sync", "clearml", "comet", "dvc", "hub", "mlflow", "neptune", "raytune", "tensorboard", "wandb")


@dataclass(frozen=True)
class YoloPlan:
    """What a run depends on beside the data; `relations` False trains plain YOLOv8-seg for comparison."""

    folders: tuple[str, ...]
    held_back: HeldBack = field(default_factory=HeldBack)
    images_per_patient: int = 0
    epochs: int = 60
    batch: int = 16
    seed: int = 0
    relations: bool = True


def train_yolo(plan: YoloPlan, out: Path, *, measured: Sequence[Path] = (), threads: int = 2) -> dict[str, Any]:
    """Train from scratch on all patients that are not held back, measure on those that are.

    Raises MissingExtraError without ultralytics and InputError for data that cannot be used.
    """
    ultralytics = import_ultralytics()
    import torch
    from ultralytics.models.yolo.segment import SegmentationTrainer

    torch.set_num_threads(threads)
    split = training_split(
        plan.folders, "nodule", held_back=plan.held_back, images_per_patient=plan.images_per_patient, seed=plan.seed
    )
    training = [sample["item"] for sample in split["training"]]

    class Trainer(SegmentationTrainer):  # type: ignore[misc]
        def get_model(self, *args: Any, **kwargs: Any) -> Any:
            model = super().get_model(*args, **kwargs)
            if plan.relations:
                add_scene_relations(model)
            return model

    # Whatever it finds installed (MLflow, Comet, ClearML, ...) it would report each run to.
    ultralytics.settings.update({name: False for name in _REPORTING if name in ultralytics.settings})
    started = time.monotonic()
    trainer = Trainer(
        overrides={
            "model": "yolov8n-seg.yaml",
            "data": str(write_dataset(training, out / "dataset")),
            "epochs": plan.epochs,
            "batch": plan.batch,
            "imgsz": SIDE,
            "seed": plan.seed,
            "project": str(out.resolve()),
            "name": "ultralytics",
            "exist_ok": True,
            "device": "cpu",
            "workers": 0,
            "pretrained": False,
            "amp": False,
            "val": False,
            "plots": False,
            "verbose": False,
        }
    )
    trainer.train()
    minutes = (time.monotonic() - started) / 60
    weights = out / "yolo.pt"
    shutil.copyfile(trainer.last, weights)
    return record_run(
        "nodule",
        {**_plan_of_record(plan), "measured": [folder.name for folder in measured], "threads": threads},
        split,
        weights,
        measured=measured,
        network="yolo",
        parameters=sum(p.numel() for p in load_yolo(weights).model.parameters()),
        minutes=minutes,
    )


def _plan_of_record(plan: YoloPlan) -> dict[str, Any]:
    held_back = asdict(plan.held_back)
    return {
        "structure": "nodule",
        "network": f"YOLOv8n-seg{' with scene relations' if plan.relations else ''}, from scratch, side {SIDE}",
        "folders": [Path(folder).name for folder in plan.folders],
        "fold": held_back["fold"],
        "folds": held_back["folds"],
        "held_out_source": held_back["source"],
        "images_per_patient": plan.images_per_patient,
        "simulated_views": 0,
        "max_epochs": plan.epochs,
        "batch_size": plan.batch,
        "seed": plan.seed,
    }


def write_dataset(items: Sequence[Item], folder: Path) -> Path:
    """Write prepared frames and the polygons of their nodules as ultralytics reads them; gives its YAML file.

    The training images stand for validation too: ultralytics insists on some, and the held-back ones are not its to
    see.
    """
    for name in ("images", "labels"):
        (folder / name / "train").mkdir(parents=True, exist_ok=True)
    for item in items:
        frame = load_image(item.image)
        prepared = prepare(frame)
        mask = load_mask(item.label, frame.shape)[prepared.scan_area.slices]
        name = f"{item.source}_{item.image.stem}".replace(" ", "_")
        Image.fromarray(network_frame(prepared)).save(folder / "images" / "train" / f"{name}.png")
        lines = [" ".join(["0", *(f"{value:.6f}" for value in outline)]) for outline in outlines(mask)]
        (folder / "labels" / "train" / f"{name}.txt").write_text("\n".join(lines), encoding="utf-8")
    table = folder / "data.yaml"
    # JSON is YAML.
    content = {"path": str(folder.resolve()), "train": "images/train", "val": "images/train", "names": {0: "nodule"}}
    table.write_text(json.dumps(content), encoding="utf-8")
    return table


def outlines(mask: Mask) -> list[np.ndarray]:
    """The outer outline of each component as x, y, x, y, ... in shares of the image's width and height."""
    found = []
    for component in components(mask):
        contours = find_contours(np.pad(component, 1).astype(float), 0.5)
        # find_contours counts from pixel centres and the padding adds one; outlines are counted from the corner.
        line = max(contours, key=len)[:, ::-1] - 0.5
        found.append(np.clip(line / [mask.shape[1], mask.shape[0]], 0, 1).ravel())
    return found
