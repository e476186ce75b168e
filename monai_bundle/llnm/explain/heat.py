"""Which places of a view matter: how far the risk moves when a place is not seen.

Comes in: a `Prediction`. Goes out: a heat map in the pixels of each view. A place is a patch of 16 x 16 pixels of what
the network sees of location and texture; it is covered in both (occlusion, Zeiler and Fergus 2014), which leaves it out
of the network's attention altogether, and the distance to the capsule becomes that of what is left. The margin is a
shuffled mosaic and has no place.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from llnm.case import PLANES, GreyImage, Plane
from llnm.features import distance_to_capsule
from llnm.features.network_images import PATCH_PX, PATCHES, on_frame
from llnm.pipeline import MeasuredView, Prediction
from llnm.pipeline.risk import load_tmdl
from llnm.tmdl.config import NOT_MEASURED

BATCH = 32
_COVERED = ("location", "texture")


def heat_maps(prediction: Prediction) -> dict[Plane, GreyImage]:
    """For each view the change of the probability (points, 0 or more) where a place is covered, on the frame's pixels.

    Empty where no risk was given.
    """
    if prediction.risk is None:
        return {}
    config = load_tmdl(prediction.weights).config
    maps: dict[Plane, GreyImage] = {}
    for index, plane in enumerate(PLANES):
        if plane in prediction.views:
            patches = _influence(prediction, index, gland_depth_mm(prediction.views[plane]))
            image = np.kron(patches, np.ones((PATCH_PX, PATCH_PX), np.float32))
            maps[plane] = on_frame(image, prediction.views[plane].nodule, config.size)
    return maps


def gland_depth_mm(view: MeasuredView) -> float:
    """The largest distance of the gland's pixels to its capsule, by which CPDT divides; 0 where it is not known."""
    if view.gland is None or view.spacing_mm is None:
        return 0.0
    return float(distance_to_capsule(view.gland, view.spacing_mm).max())


def _influence(prediction: Prediction, view: int, depth_mm: float) -> GreyImage:
    """Absolute change of the probability for each patch of a view, (14, 14)."""
    assert prediction.risk is not None
    inputs, calibration = prediction.risk.inputs, prediction.risk.calibration
    shown = torch.stack([inputs[name][0, view, 0] for name in _COVERED]).amax(dim=0)
    places = np.argwhere(_by_patch(shown).amax(dim=(1, 3)).numpy() > 0)
    influence = np.zeros((PATCHES, PATCHES), np.float32)
    network = load_tmdl(prediction.weights)
    with torch.inference_mode():
        whole = calibration(network(inputs).logits[:, -1].double().numpy())
        for start in range(0, len(places), BATCH):
            part = places[start : start + BATCH]
            batch = {name: value.expand(len(part), *value.shape[1:]) for name, value in inputs.items()}
            for name in _COVERED:
                covered = batch[name].clone()
                for row, (top, left) in enumerate(part):
                    _by_patch(covered[row, view, 0])[top, :, left] = 0
                batch[name] = covered
            batch["capsule_distance"] = inputs["capsule_distance"].repeat(len(part), 1)
            batch["capsule_distance"][:, view] = distance_of_the_rest(inputs, batch["location"], view, depth_mm)
            changed = calibration(network(batch).logits[:, -1].double().numpy())
            influence[tuple(part.T)] = np.abs(changed - whole)
    return influence


def distance_of_the_rest(
    inputs: Mapping[str, torch.Tensor], covered: torch.Tensor, view: int, depth_mm: float
) -> torch.Tensor:
    """Distance to the capsule, (B,), of what is not covered of a view: CPDT tells how much farther away it is.

    Not known where it was not, or where nothing is left.
    """
    before = inputs["capsule_distance"][0, view]
    nearest = covered[:, view, 0].flatten(1).amax(dim=1)
    after = before + (inputs["location"][0, view, 0].max() - nearest) * depth_mm
    return torch.where((before >= 0) & (nearest > 0), after, NOT_MEASURED)


def _by_patch(image: torch.Tensor) -> torch.Tensor:
    """A view of (224, 224) as (14, 16, 14, 16): row of patches, row in it, column of patches, column in it."""
    return image.view(PATCHES, PATCH_PX, PATCHES, PATCH_PX)
