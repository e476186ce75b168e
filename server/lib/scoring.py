"""Scoring methods: how far what people drew lies from what the networks found.

Comes in: the store. Goes out: mean Dice by structure between the labels `original` and `final` of each image, noted on
the image too. It tells how much the annotators had to correct.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from lib.configs import FINAL, ORIGINAL, STRUCTURES
from lib.images import structure_mask
from lib.stores.folder import StudyFolder
from monailabel.interfaces.tasks.scoring import ScoringMethod

logger = logging.getLogger(__name__)


class CorrectionDice(ScoringMethod):
    """Dice of the network's first label (`original`) with the final one."""

    def __init__(self) -> None:
        super().__init__("Dice between what the network found and what was drawn in the end")

    def __call__(self, request: Mapping[str, Any], datastore: StudyFolder) -> dict[str, Any]:
        """Mean Dice by structure and the number of images it comes from; each image's own is noted on it."""
        values: dict[str, list[float]] = {name: [] for name in STRUCTURES}
        both = set(datastore.get_labeled_images(ORIGINAL)) & set(datastore.get_labeled_images(FINAL))
        for image in sorted(both):
            found, drawn = datastore.label(image, ORIGINAL), datastore.label(image, FINAL)
            noted = {}
            for name in STRUCTURES:
                if name in found.structures and name in drawn.structures:
                    noted[name] = round(dice(structure_mask(found, name), structure_mask(drawn, name)), 4)
                    values[name].append(noted[name])
            datastore.update_image_info(image, {"correction_dice": noted})
        result = {
            name: {"dice": round(float(np.mean(each)), 4), "images": len(each)} for name, each in values.items() if each
        }
        logger.info("correction: %s", result)
        return result


def dice(first: np.ndarray, second: np.ndarray) -> float:
    """Dice of two masks; 1 where both are empty."""
    total = float(first.sum() + second.sum())
    return 1.0 if total == 0 else 2 * float((first & second).sum()) / total


def build_scoring() -> dict[str, ScoringMethod]:
    """All methods by name."""
    return {"correction": CorrectionDice()}
