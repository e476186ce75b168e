"""Scoring methods: what the strategies need to know of each image, and how much annotators had to correct.

Comes in: the store. Goes out: the campaign's pool (how unsure the network in use is of each image, and what its encoder
sees), and the mean Dice by structure between the labels `original` and `final` of each image, noted on the image too.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from lib.activelearning import Pool
from lib.activelearning.uncertainty import dice_shortfall
from lib.configs import FINAL, ORIGINAL, STRUCTURES
from lib.images import structure_mask
from lib.stores.folder import StudyFolder
from lib.strategies import CampaignDesk
from lib.trainers import Versions
from monailabel.interfaces.tasks.scoring import ScoringMethod

from llnm.errors import InputError
from llnm.imaging import prepare
from llnm.segmentation import segment
from llnm.weights import weights_file

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


class PoolScoring(ScoringMethod):
    """Uncertainty and encoder features of every image of the campaign, by the networks in use."""

    def __init__(self, desk: CampaignDesk, versions: Versions) -> None:
        super().__init__("How unsure the network is of each image, and what it looks like: what the strategies go by")
        self.desk, self.versions = desk, versions

    def __call__(self, request: Mapping[str, Any], datastore: StudyFolder) -> dict[str, Any]:
        """Score all images of the campaign; an image that cannot be segmented is left out, as chance has it."""
        from llnm.segmentation.out_of_distribution import canvas, encoder_features, nodule_encoder

        structure = self.desk.structure
        weights = self.versions.current(structure) or self.versions.first(structure)
        encoder = nodule_encoder(weights_file("nodule"))
        images, unsure, features = [], [], []
        for image in sorted(self.desk.images(structure)):
            try:
                prepared = prepare(datastore.source(image).frame())
                found = segment(prepared, structure, weights=weights)
            except InputError as error:
                logger.warning("not scored: %s", error)
                continue
            images.append(image)
            unsure.append(dice_shortfall(found.probability))
            features.append(encoder_features(encoder, canvas(prepared)[None])[0])
        if images:
            uncertainty, rows = np.array(unsure, np.float32), np.stack(features).astype(np.float32)
            Pool(tuple(images), uncertainty, rows).save(self.desk.pool.path)
        logger.info("pool: %d images scored", len(images))
        return {"images": len(images)}


def dice(first: np.ndarray, second: np.ndarray) -> float:
    """Dice of two masks; 1 where both are empty."""
    total = float(first.sum() + second.sum())
    return 1.0 if total == 0 else 2 * float((first & second).sum()) / total


def build_scoring(desk: CampaignDesk, versions: Versions) -> dict[str, ScoringMethod]:
    """All methods by name."""
    return {"pool": PoolScoring(desk, versions), "correction": CorrectionDice()}
