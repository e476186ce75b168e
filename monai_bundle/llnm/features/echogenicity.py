"""How dark the nodule is against the tissue around it.

Comes in: a B-mode image (row, column) 0-1 of standardised brightness, 0 outside the scan area, and the nodule's mask.
Goes out: one number, the echogenicity feature x_e of the paper.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from llnm.case import GreyImage, Mask
from llnm.features.checks import checked_image, checked_mask
from llnm.features.shape import bounding_box, grown, interior

# Widths as shares of the nodule's equivalent diameter, so that the number does not depend on the zoom.
TRANSITION_SHARE = 0.05
RING_SHARE = 0.25
MINIMUM_TRANSITION_PX = 1.0
MINIMUM_RING_PX = 2.0


def echogenicity_difference(bmode: GreyImage, nodule: Mask) -> float | None:
    """Mean echo outside the nodule's margin minus mean echo inside it, in units of the image's range 0-1.

    Positive: the nodule is darker than its surroundings (hypoechoic); negative: brighter (hyperechoic). With D the
    diameter of a circle of the nodule's area, pixels within 0.05 D (at least 1) of the margin on either side are left
    out, since margins are blurred and hand-drawn; "outside" is the ring 0.25 D wide (at least 2) that follows, and
    "inside" is the rest of the nodule (all of it where it is too thin to have a rest). Ring pixels of exactly 0 lie
    outside the scan area and do not count. None where the ring holds no other: the nodule fills the picture.
    Raises InputError for an image that is not finite or not 0-1, an empty mask or one of another size.
    """
    bmode = checked_image(bmode)
    nodule = checked_mask(nodule, "nodule", bmode.shape)
    diameter = 2 * math.sqrt(np.count_nonzero(nodule) / math.pi)
    transition = max(TRANSITION_SHARE * diameter, MINIMUM_TRANSITION_PX)
    reach = transition + max(RING_SHARE * diameter, MINIMUM_RING_PX)
    near = grown(bounding_box(nodule), math.ceil(reach) + 1, bmode.shape).slices
    echo, inside = bmode[near], nodule[near]

    margin = inside & ~interior(inside, image_border_is_margin=False)
    if not margin.any():
        return None
    # The line between nodule and surroundings runs half a pixel beyond the centres of the margin's pixels.
    distance = ndimage.distance_transform_edt(~margin) + np.where(inside, 0.5, -0.5)
    ring = ~inside & (distance > transition) & (distance <= reach) & (echo > 0)
    if not ring.any():
        return None
    core = inside & (distance > transition)
    if not core.any():
        core = inside
    return float(echo[ring].mean(dtype=np.float64) - echo[core].mean(dtype=np.float64))
