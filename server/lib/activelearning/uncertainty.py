"""How unsure a network is of a mask, told where the structure is and not over the whole frame.

Comes in: probability maps of one frame. Goes out: numbers from 0 (sure) to 1. The frame's black border and the tissue
far from any nodule are sure zeros; averaged with them, a small nodule's doubt would vanish. Here every measure is taken
over the region in question, or in proportion to it: a nodule of thirty pixels counts as much as one of three thousand.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Floats = npt.NDArray[np.floating]
Bools = npt.NDArray[np.bool_]

LEVEL = 0.5
# Width of the band around the outline, as a share of the radius of a disc of the region's area.
BAND = 0.5


def predicted_mask(probability: Floats) -> Bools:
    """The mask (row, column) that `probability` stands for; empty where nothing reaches one half."""
    return probability > LEVEL


def dice_shortfall(probability: Floats) -> float:
    """1 less the Dice to expect if each probability were right: 1 - 2 sum(p m) / (sum(p) + sum(m)), m the mask.

    1 where the network finds nothing: on an image of a study about nodules that is what it is to be taught.
    """
    mask = predicted_mask(probability)
    if not mask.any():
        return 1.0
    return float(1 - 2 * probability[mask].sum() / (probability.sum() + mask.sum()))


def region_of_interest(probability: Floats) -> Bools:
    """The predicted mask and a band around it, in proportion to its size and at least a pixel wide."""
    mask = predicted_mask(probability)
    if not mask.any():
        return mask
    width = max(1.0, BAND * float(np.sqrt(mask.sum() / np.pi)))
    return ndimage.distance_transform_edt(~mask) <= width


def region_entropy(probability: Floats) -> float:
    """Mean binary entropy, in bits, inside `region_of_interest`; 1 where the network finds nothing."""
    region = region_of_interest(probability)
    if not region.any():
        return 1.0
    p = np.clip(probability[region].astype(np.float64), 1e-7, 1 - 1e-7)
    return float(-(p * np.log2(p) + (1 - p) * np.log2(1 - p)).mean())


def disagreement(passes: Floats) -> float:
    """1 less the mean Dice of each pass's mask with that of their mean; `passes` (pass, row, column)."""
    mean = predicted_mask(passes.mean(axis=0))
    if not mean.any():
        return 1.0
    single = passes > LEVEL
    overlap = 2 * (single & mean).sum(axis=(1, 2)) / (single.sum(axis=(1, 2)) + mean.sum())
    return float(1 - overlap.mean())
