"""The paper's alternative nodule network: YOLOv8-seg with a scene relation on its pyramid (extra `yolo`).

Comes in: a prepared frame and a YOLO segmentation file, from `llnm train yolo` or of your own. Goes out: one
probability map in the frame's pixels. ultralytics is AGPL-3.0: whoever uses this module accepts that licence for what
is built on it; nothing of it is used by default.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from llnm.case import ColourImage, GreyImage
from llnm.errors import InputError, MissingExtraError
from llnm.imaging import PreparedImage
from llnm.segmentation.networks import SceneRelation

LEAST_CONFIDENCE = 0.25
"""Confidence from which an instance counts; ultralytics' own default. It is no probability that a pixel is nodule."""


class SceneRelations(nn.Module):
    """A scene relation for each level of a pyramid, the scene being the mean of its deepest level."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.levels = nn.ModuleList(SceneRelation(width, channels[-1]) for width in channels)

    def forward(self, pyramid: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """The pyramid, finest level first, re-weighted."""
        scene = pyramid[-1].mean(dim=(2, 3))
        return [relation(level, scene) for relation, level in zip(self.levels, pyramid, strict=True)]


def add_scene_relations(model: Any) -> None:
    """Put scene relations between the neck and the head of an ultralytics `SegmentationModel`."""
    head = model.model[-1]
    head.relations = SceneRelations([branch[0].conv.in_channels for branch in head.cv2])
    head.register_forward_pre_hook(_reweight)


def _reweight(head: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return (head.relations(inputs[0]), *inputs[1:])


def import_ultralytics() -> Any:
    """ultralytics, kept from fetching anything and from writing to the user's settings.

    Raises MissingExtraError where it is not installed.
    """
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")
    os.environ.setdefault("YOLO_OFFLINE", "true")
    os.environ.setdefault("YOLO_CONFIG_DIR", tempfile.gettempdir())
    try:
        import ultralytics
    except ImportError as error:
        raise MissingExtraError("ultralytics", "yolo") from error
    return ultralytics


def network_frame(prepared: PreparedImage) -> ColourImage:
    """The scan area as YOLO reads it: (row, column, 3) uint8, three equal channels."""
    grey = (255 * prepared.bmode[prepared.scan_area.slices]).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def yolo_probability(prepared: PreparedImage, weights: Path) -> GreyImage:
    """Confidence of the surest instance in each pixel, (row, column) float32, 0 where there is none.

    Raises MissingExtraError without ultralytics and InputError if `weights` is no YOLO segmentation model.
    """
    model = load_yolo(weights)
    found = model.predict(
        network_frame(prepared), conf=LEAST_CONFIDENCE, retina_masks=True, verbose=False, device="cpu"
    )[0]
    probability = np.zeros(prepared.shape, dtype=np.float32)
    if found.masks is not None:
        confidence = found.boxes.conf.numpy()[:, None, None]
        probability[prepared.scan_area.slices] = (found.masks.data.numpy() * confidence).max(axis=0)
    return probability


@lru_cache(maxsize=2)
def load_yolo(weights: Path) -> Any:
    """The YOLO model of a file, kept for the next frame. The file holds code: open only files you trust."""
    ultralytics = import_ultralytics()
    from ultralytics.nn.tasks import SegmentationModel

    if not weights.is_file():
        raise InputError(f"{weights}: is no file; give the weights of a YOLO segmentation model")
    try:
        model = ultralytics.YOLO(str(weights), task="segment")
        if not isinstance(model.model, SegmentationModel):
            raise TypeError("another task")
    except Exception as error:
        # What is wrong with such a file shows as many types, from EOFError to UnpicklingError.
        raise InputError(f"{weights}: is no YOLO segmentation model ({type(error).__name__}); train one") from error
    return model
