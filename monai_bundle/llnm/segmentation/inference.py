"""Runs a segmentation network on one frame and says where it is unsure.

Comes in: a frame, or a frame already prepared by `imaging`. Goes out: the mask of the target, the probability and the
uncertainty of each pixel, and every other candidate, all in the frame's own pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Resize, SpatialCrop, SpatialPad
from scipy import ndimage

from llnm.case import GreyImage, Mask, Structure, UltrasoundImage
from llnm.errors import InputError
from llnm.imaging import PreparedImage, prepare
from llnm.segmentation.networks import NETWORK_SIDE, build_network
from llnm.segmentation.yolo import yolo_probability
from llnm.weights import load_state_dict, weights_file

PROBABILITY_THRESHOLD = 0.5
# A connected component smaller than this share of the frame is speckle, not a nodule or a gland.
SMALLEST_SHARE = 2e-4
# The gland may be seen in parts (isthmus, two lobes); a part smaller than this share of the largest is no gland.
GLAND_PART = 0.1


@dataclass(frozen=True)
class Segmentation:
    """What the network sees in one frame.

    `mask`: bool, the target, empty if nothing was found. `probability`, `uncertainty`: float32 0-1 and the standard
    deviation over the test-time augmentations. `candidates`: masks of all components, largest first, the target too.
    """

    structure: Structure
    mask: Mask
    probability: GreyImage
    uncertainty: GreyImage
    candidates: tuple[Mask, ...]

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
    """Mask of the nodule or the gland in one frame.

    Several nodules are all returned as candidates; the target is the largest one, or the one at `point` (x, y) or the
    one that overlaps `box` (x0, y0, x1, y1) most, both in pixels of the frame. A gland is all its large components.
    `network`: `default`, or `yolo` with a model of your own as `weights` (extra `yolo`; its uncertainty is 1 -
    confidence). Raises InputError for a point or box outside the frame, or where no candidate lies there.
    """
    prepared = image if isinstance(image, PreparedImage) else prepare(image)
    if network == "yolo":
        if weights is None:
            raise InputError("weights: no YOLO weights ship with llnm; give a model of your own with --weights")
        probability = yolo_probability(prepared, weights)
        uncertainty = np.where(probability > 0, 1 - probability, 0).astype(np.float32)
    elif network == "default":
        probability, uncertainty = _predict(prepared, structure, weights)
    else:
        raise InputError(f"network: {network!r} is not known; choose default or yolo")
    candidates = find_candidates(probability, structure)
    mask = choose(candidates, structure, probability.shape, point=point, box=box)
    return Segmentation(structure, mask, probability, uncertainty, candidates)


def find_candidates(
    probability: GreyImage, structure: Structure, level: float = PROBABILITY_THRESHOLD
) -> tuple[Mask, ...]:
    """Connected components above `level`, holes filled, largest first; speckle-sized ones are dropped."""
    found = components(ndimage.binary_fill_holes(probability > level))
    largest = float(found[0].sum()) if found else 0.0
    smallest = max(SMALLEST_SHARE * probability.size, GLAND_PART * largest if structure == "gland" else 0.0)
    return tuple(mask for mask in found if mask.sum() >= smallest)


def components(mask: Mask) -> tuple[Mask, ...]:
    """The connected components of a mask, largest first."""
    labels, count = ndimage.label(mask)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    return tuple(labels == index + 1 for index in np.argsort(-sizes, kind="stable"))


def choose(
    candidates: tuple[Mask, ...],
    structure: Structure,
    shape: tuple[int, ...],
    *,
    point: tuple[float, float] | None = None,
    box: tuple[float, float, float, float] | None = None,
) -> Mask:
    """The target among `candidates`: the largest (a gland: all), or the one at `point` or in `box`; see `segment`."""
    if point is None and box is None:
        if not candidates:
            return np.zeros(shape, dtype=bool)
        return np.any(candidates, axis=0) if structure == "gland" else candidates[0]
    rows, columns = shape
    if point is not None:
        x, y = point
        if not (0 <= x < columns and 0 <= y < rows):
            raise InputError(f"point: {x:g},{y:g} is outside the image of {columns}x{rows} pixels; give X,Y inside it")
        hits = [mask[int(y), int(x)] for mask in candidates]
        what = f"point {x:g},{y:g}"
    else:
        assert box is not None
        x0, y0, x1, y1 = box
        if not (0 <= x0 < x1 <= columns and 0 <= y0 < y1 <= rows):
            raise InputError(f"box: {box} does not lie inside the image of {columns}x{rows} pixels; give X0,Y0,X1,Y1")
        hits = [mask[int(y0) : int(np.ceil(y1)), int(x0) : int(np.ceil(x1))].sum() for mask in candidates]
        what = f"box {x0:g},{y0:g},{x1:g},{y1:g}"
    if not any(hits):
        raise InputError(f"{what}: no {structure} was found there; point at another place or give a mask")
    return candidates[int(np.argmax(hits))]


def _predict(prepared: PreparedImage, structure: Structure, weights: Path | None) -> tuple[GreyImage, GreyImage]:
    """Mean and standard deviation of the probability over test-time augmentations, in the frame's pixels."""
    model = load_network(structure, weights or weights_file(structure))
    side = NETWORK_SIDE[structure]
    area = prepared.scan_area
    fit = Compose(
        [
            SpatialCrop(roi_start=(area.top, area.left), roi_end=(area.bottom, area.right)),
            Resize(spatial_size=side, size_mode="longest", mode="bilinear", anti_aliasing=True),
            SpatialPad(spatial_size=(side, side)),
        ]
    )
    square = fit(torch.from_numpy(prepared.bmode)[None])
    plain = square.as_tensor()
    # Mirror image and two gains: what an honest network should not mind.
    batch = torch.stack([plain, plain.flip(-1), plain**0.8, plain**1.25])
    with torch.inference_mode():
        probability = torch.sigmoid(model(batch))[:, 0]
        probability[1] = probability[1].flip(-1)
        maps = torch.stack([probability.mean(dim=0), probability.std(dim=0)])
    restored = fit.inverse(MetaTensor(maps, applied_operations=square.applied_operations))
    mean, deviation = restored.as_tensor().clamp(0, 1).numpy()
    return mean.astype(np.float32), deviation.astype(np.float32)


@lru_cache(maxsize=4)
def load_network(structure: Structure, path: Path) -> torch.nn.Module:
    """The network of `structure` with the weights of `path`, for inference; kept in memory for the next frame."""
    network = build_network(structure)
    network.load_state_dict(load_state_dict(path))
    return network.eval()
