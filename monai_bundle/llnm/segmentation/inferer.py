"""How a segmentation network is run: four passes over each frame, with test-time augmentation.

Comes in: frames on the canvas (B, 2, H, W) and a network that gives logits (B, 1, H, W). Goes out: mean and standard
deviation of the probability over the passes, or each pass by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from monai.networks.layers import AffineTransform

from llnm.case import Structure
from llnm.errors import InputError

# A lobe that fills the canvas gains from standing back further than a nodule does.
SMALLER: Mapping[Structure, float] = {"nodule": 0.9, "gland": 0.8}
"""Size of the two smaller passes, as a share of the canvas."""


class FourPassInferer(Inferer):
    """Runs a network on each frame as it is and mirrored, at its own and at the smaller size of its `structure`.

    Raises InputError for a structure that is not known.
    """

    def __init__(self, structure: Structure) -> None:
        if structure not in SMALLER:
            raise InputError(f"structure: {structure!r} is not known; choose one of {', '.join(SMALLER)}")
        self.smaller = SMALLER[structure]

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        """Mean probability, 0-1, and its standard deviation over the passes, (B, 2, H, W), of `inputs` (B, 2, H, W)."""
        maps = mean_and_deviation(self.passes(inputs, network, *args, **kwargs))
        # What says how to go back to the frame's own pixels goes along.
        return MetaTensor(maps).copy_meta_from(inputs) if isinstance(inputs, MetaTensor) else maps

    def passes(self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        """Probability, 0-1, by each pass, (4, B, H, W): as it is, mirrored, smaller, smaller and mirrored."""
        # What rides along with a MetaTensor would slow every layer down.
        images = inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs
        smaller = _scaled(images, self.smaller)
        batch = torch.cat([images, images.flip(-1), smaller, smaller.flip(-1)])
        logits = network(batch.contiguous(memory_format=torch.channels_last), *args, **kwargs)
        as_is, mirrored, small, small_mirrored = torch.sigmoid(logits).chunk(4)
        restored = _scaled(torch.cat([small, small_mirrored.flip(-1)]), 1 / self.smaller)
        return torch.cat([as_is, mirrored.flip(-1), restored])[:, 0].unflatten(0, (4, -1))


def mean_and_deviation(passes: torch.Tensor) -> torch.Tensor:
    """(B, 2, H, W) of the probability by each pass (4, B, H, W)."""
    return torch.stack([passes.mean(dim=0), passes.std(dim=0)], dim=1)


def _scaled(images: torch.Tensor, factor: float) -> torch.Tensor:
    """`images` (B, C, H, W) made larger by `factor` about the middle, on a canvas of the same size, zeros outside."""
    theta = torch.diag(torch.tensor([1 / factor, 1 / factor, 1.0])).to(images)
    return AffineTransform(normalized=True, align_corners=False)(images, theta)
