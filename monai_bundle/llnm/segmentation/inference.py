"""Runs a segmentation network on one frame and says where it is unsure.

Comes in: a frame, or a frame already prepared by `imaging`. Goes out: the mask of the target, the probability and the
uncertainty of each pixel, and every other candidate, all in the frame's own pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from llnm.case import GreyImage, Mask, Structure, UltrasoundImage
from llnm.errors import InputError
from llnm.imaging import PreparedImage, prepare
from llnm.segmentation.candidates import choose, find_candidates, level_at, union
from llnm.segmentation.canvas import place_on_canvas, restore
from llnm.segmentation.inferer import FourPassInferer, mean_and_deviation
from llnm.segmentation.networks import load_network
from llnm.segmentation.out_of_distribution import DistributionCheck, check_distribution
from llnm.segmentation.quality import expected_dice, quality_figures
from llnm.segmentation.yolo import LEAST_CONFIDENCE, yolo_probability
from llnm.weights import weights_file


@dataclass(frozen=True)
class Segmentation:
    """What the network sees in one frame.

    `mask`: bool, every nodule (or all of the gland), or where the user pointed that nodule alone; empty if nothing was
    found. `target`: the nodule that a prediction is about: the one pointed at, else the largest. `probability`,
    `uncertainty`: float32 0-1 and the standard deviation over the test-time augmentations. `candidates`: masks of all
    components, largest first, the target too. `figures`: what the quality is told from (`segmentation.quality`).
    `expected_dice`: 0-1, or None where the weights come without a fitted quality. `distribution`: whether the frame is
    a thyroid B-mode image at all, or None where no detector lies beside the nodule network's weights.
    """

    structure: Structure
    mask: Mask
    target: Mask
    probability: GreyImage
    uncertainty: GreyImage
    candidates: tuple[Mask, ...]
    figures: Mapping[str, float] = field(default_factory=dict)
    expected_dice: float | None = None
    distribution: DistributionCheck | None = None

    @property
    def found(self) -> bool:
        """Whether there is a target at all."""
        return bool(self.mask.any())

    @property
    def mean_probability(self) -> float:
        """Mean probability inside the mask, 0 where nothing was found."""
        return float(self.probability[self.mask].mean()) if self.found else 0.0

    @property
    def mean_uncertainty(self) -> float:
        """Mean uncertainty inside the mask, 0 where nothing was found."""
        return float(self.uncertainty[self.mask].mean()) if self.found else 0.0


def segment(
    image: UltrasoundImage | PreparedImage,
    structure: Structure = "nodule",
    *,
    network: str = "default",
    point: tuple[float, float] | None = None,
    box: tuple[float, float, float, float] | None = None,
    weights: Path | None = None,
) -> Segmentation:
    """Mask of the nodules or the gland in one frame.

    The mask holds all nodules and the target is the largest one; with a `point` (x, y) or a `box` (x0, y0, x1, y1) in
    pixels of the frame both are the nodule there. A gland is all its large components.
    `network`: `default`, or `yolo` with the file that `llnm train yolo` made as `weights` (extra `yolo`; uncertainty
    1 - confidence). Raises InputError for a point or box outside the frame, or where no candidate lies there.
    """
    prepared = image if isinstance(image, PreparedImage) else prepare(image)
    if network == "yolo":
        if weights is None:
            raise InputError("weights: no YOLO weights ship with llnm; train some with: llnm train yolo")
        probability = yolo_probability(prepared, weights)
        uncertainty = np.where(probability > 0, 1 - probability, 0).astype(np.float32)
        maps, level = probability[None], LEAST_CONFIDENCE
    elif network == "default":
        weights = weights or weights_file(structure)
        probability, uncertainty, maps = _predict(prepared, structure, weights, point, box)
        level = level_at(probability, point)
    else:
        raise InputError(f"network: {network!r} is not known; choose default or yolo")
    candidates = find_candidates(probability, structure, level)
    target = choose(candidates, structure, probability.shape, point=point, box=box)
    mask = union(candidates, target.shape) if point is None and box is None else target
    figures = quality_figures(maps, tuple(int(found.sum()) for found in candidates))
    expected = expected_dice(figures, weights) if network == "default" else None
    known = weights if network == "default" and structure == "nodule" else weights_file("nodule")
    distribution = check_distribution(prepared, known)
    return Segmentation(structure, mask, target, probability, uncertainty, candidates, figures, expected, distribution)


def _predict(
    prepared: PreparedImage,
    structure: Structure,
    weights: Path,
    point: tuple[float, float] | None,
    box: tuple[float, float, float, float] | None,
) -> tuple[GreyImage, GreyImage, npt.NDArray[np.float32]]:
    """Mean and deviation over test-time augmentations in the frame's pixels, and each one's map on the canvas."""
    network = load_network(structure, weights)
    placed = place_on_canvas(prepared, point, box)
    with torch.inference_mode():
        passes = FourPassInferer(structure).passes(placed[None], network)
        maps = mean_and_deviation(passes)[0]
    mean, deviation = restore(maps, placed).numpy()
    return mean.astype(np.float32), deviation.astype(np.float32), passes[:, 0].numpy()
