"""The nodule in numbers and pictures: texture, margin, echogenicity, shape and location.

Comes in: a cleaned B-mode image (row, column) 0-1, masks of nodule and gland, the spacing where it is known. Goes out:
Features (what a report states) and NetworkImages (what the network sees). NumPy, SciPy and scikit-image only.
"""

from llnm.features.echogenicity import echogenicity_difference
from llnm.features.location import (
    CapsuleDistance,
    Side,
    capsule_distance,
    central_point_distance_transform,
    direction_name,
    distance_to_capsule,
    location_image,
)
from llnm.features.measure import Features, measure
from llnm.features.network_images import NetworkImages, Size, margin_mosaic, network_images, whole_frame
from llnm.features.shape import Shape, shape_of

__all__ = [
    "CapsuleDistance",
    "Features",
    "NetworkImages",
    "Shape",
    "Side",
    "Size",
    "capsule_distance",
    "central_point_distance_transform",
    "direction_name",
    "distance_to_capsule",
    "echogenicity_difference",
    "location_image",
    "margin_mosaic",
    "measure",
    "network_images",
    "shape_of",
    "whole_frame",
]
