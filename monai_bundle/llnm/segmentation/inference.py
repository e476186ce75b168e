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
from monai.data import MetaTensor
from monai.networks.layers import AffineTransform

from llnm.case import Box, GreyImage, Mask, Structure, UltrasoundImage
from llnm.errors import InputError
from llnm.imaging import PreparedImage, prepare
from llnm.segmentation.candidates import choose, find_candidates, level_at
from llnm.segmentation.canvas import canvas_transform
from llnm.segmentation.guidance import guidance_map
from llnm.segmentation.networks import CANVAS, fitted_size, load_network
from llnm.segmentation.out_of_distribution import DistributionCheck, check_distribution
from llnm.segmentation.quality import expected_dice, quality_figures
from llnm.segmentation.yolo import LEAST_CONFIDENCE, yolo_probability
from llnm.weights import weights_file

# A network sees each frame four times: as it is and mirrored, at its own and at a smaller size. A lobe that fills the
# canvas gains from standing back further than a nodule does.
SMALLER: Mapping[Structure, float] = {"nodule": 0.9, "gland": 0.8}


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
    mask = np.any(candidates, axis=0) if candidates and point is None and box is None else target
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
    model = load_network(structure, weights)
    fit = canvas_transform(prepared.scan_area)
    square = fit(torch.from_numpy(prepared.bmode)[None])
    plain = square.as_tensor()
    guide = torch.from_numpy(_guidance_on_canvas(prepared.scan_area, point, box))[None]
    view = torch.cat([plain, guide])[None]
    smaller = _scaled(view, SMALLER[structure])
    batch = torch.cat([view, view.flip(-1), smaller, smaller.flip(-1)])
    with torch.inference_mode():
        probability = torch.sigmoid(model(batch.contiguous(memory_format=torch.channels_last)))
        probability[[1, 3]] = probability[[1, 3]].flip(-1)
        probability[2:] = _scaled(probability[2:], 1 / SMALLER[structure])
        probability = probability[:, 0]
        maps = torch.stack([probability.mean(dim=0), probability.std(dim=0)])
    restored = fit.inverse(MetaTensor(maps, applied_operations=square.applied_operations))
    mean, deviation = restored.as_tensor().clamp(0, 1).numpy()
    return mean.astype(np.float32), deviation.astype(np.float32), probability.numpy()


def _scaled(images: torch.Tensor, factor: float) -> torch.Tensor:
    """`images` (B, C, H, W) made larger by `factor` about the middle, on a canvas of the same size, zeros outside."""
    return AffineTransform(normalized=True, align_corners=False)(
        images, torch.diag(torch.tensor([1 / factor, 1 / factor, 1.0]))
    )


def _guidance_on_canvas(
    area: Box,
    point: tuple[float, float] | None,
    box: tuple[float, float, float, float] | None,
) -> GreyImage:
    """Guidance at the place where `canvas_transform` puts it."""
    size = fitted_size(area.shape)
    scale_x, scale_y = size[1] / area.shape[1], size[0] / area.shape[0]
    left, top = (CANVAS[1] - size[1]) // 2, (CANVAS[0] - size[0]) // 2

    def place(x: float, y: float) -> tuple[float, float]:
        return (x - area.left) * scale_x + left, (y - area.top) * scale_y + top

    return guidance_map(
        CANVAS,
        point=None if point is None else place(*point),
        box=None if box is None else (*place(*box[:2]), *place(*box[2:])),
    )
