"""Instance segmentation by a YOLO model that the user trained (extra `yolo`; ultralytics is AGPL-3.0).

Comes in: a prepared frame and a YOLO segmentation file. Goes out: one probability map in the frame's pixels. Whoever
uses this module accepts the AGPL for what is built on it; nothing of it is used by default.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np

from llnm.case import GreyImage
from llnm.errors import InputError, MissingExtraError
from llnm.imaging import PreparedImage

LEAST_CONFIDENCE = 0.25


def yolo_probability(prepared: PreparedImage, weights: Path) -> GreyImage:
    """Probability of a nodule in each pixel, (row, column) float32: the confidence of the surest instance there.

    Raises MissingExtraError without ultralytics and InputError if `weights` is no YOLO segmentation model.
    """
    # Both keep ultralytics from fetching anything or writing to the user's settings.
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")
    os.environ.setdefault("YOLO_CONFIG_DIR", tempfile.gettempdir())
    try:
        from ultralytics import YOLO
    except ImportError as error:
        raise MissingExtraError("ultralytics", "yolo") from error
    if not weights.is_file():
        raise InputError(f"{weights}: is no file; give the weights of a YOLO segmentation model")
    model = YOLO(str(weights), task="segment")
    area = prepared.scan_area
    frame = np.repeat((255 * prepared.bmode[area.slices]).astype(np.uint8)[..., None], 3, axis=2)
    found = model.predict(frame, conf=LEAST_CONFIDENCE, retina_masks=True, verbose=False, device="cpu")[0]
    probability = np.zeros(prepared.shape, dtype=np.float32)
    if found.masks is not None:
        confidence = found.boxes.conf.numpy()[:, None, None]
        probability[area.slices] = (found.masks.data.numpy() * confidence).max(axis=0)
    return probability
