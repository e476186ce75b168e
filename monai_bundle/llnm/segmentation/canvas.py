"""The way from a prepared frame to a network's canvas, and back.

Comes in: a prepared frame and where a user pointed. Goes out: what the network sees, (2, rows, columns) of the canvas,
which remembers the way back to the frame's own pixels.
"""

from __future__ import annotations

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Resize, SpatialCrop, SpatialPad
from monai.transforms.utils import reset_ops_id

from llnm.case import Box, GreyImage
from llnm.imaging import PreparedImage
from llnm.segmentation.guidance import guidance_map
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


def place_on_canvas(
    image: PreparedImage,
    point: tuple[float, float] | None = None,
    box: tuple[float, float, float, float] | None = None,
) -> MetaTensor:
    """What a network sees of `image`: echo and guidance, (2, rows, columns) of the canvas, float32, 0-1.

    `point` (x, y) and `box` (x0, y0, x1, y1) are in pixels of the frame. The tensor's meta data holds the frame's
    `spatial_shape` (rows, columns), and its applied operations lead back (`restore`).
    """
    echo = canvas_transform(image.scan_area)(torch.from_numpy(image.bmode)[None])
    guidance = torch.from_numpy(_guidance_on_canvas(image.scan_area, point, box))[None]
    # The way back is taken by other objects of the same transforms, perhaps in another process.
    return MetaTensor(
        torch.cat([echo.as_tensor(), guidance]),
        meta={"spatial_shape": np.asarray(image.shape)},
        applied_operations=reset_ops_id(echo.applied_operations),
    )


def restore(maps: torch.Tensor, placed: MetaTensor) -> torch.Tensor:
    """Maps (C, rows, columns) 0-1 on the canvas, in the pixels of the frame that `placed` was made of; 0 elsewhere."""
    back = canvas_transform(Box(0, 0, 1, 1))  # the applied operations say what is undone, not these settings
    restored = back.inverse(MetaTensor(maps, applied_operations=list(placed.applied_operations)))
    return restored.as_tensor().clamp(0, 1)


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
