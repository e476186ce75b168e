"""The way from a prepared frame to a network's canvas, and back.

Comes in: the scan area of a frame. Goes out: MONAI transforms whose inverse restores the frame's own pixels.
"""

from __future__ import annotations

from monai.transforms import Compose, Resize, SpatialCrop, SpatialPad

from llnm.case import Box
from llnm.segmentation.networks import CANVAS, fitted_size


def canvas_transform(area: Box) -> Compose:
    """Crop (1, rows, columns) to `area`, resize with the aspect ratio kept, and pad to the canvas."""
    return Compose(
        [
            SpatialCrop(roi_start=(area.top, area.left), roi_end=(area.bottom, area.right)),
            Resize(spatial_size=fitted_size(area.shape), mode="bilinear", anti_aliasing=True),
            SpatialPad(spatial_size=CANVAS),
        ]
    )
