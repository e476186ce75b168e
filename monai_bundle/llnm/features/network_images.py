"""The three pictures of a nodule that the network sees: location, texture and margin.

Comes in: a B-mode image (row, column) 0-1, the masks of nodule and, if there is one, gland. Goes out: three images of
224 x 224. Location and texture share one geometry; the margin is a mosaic that has lost the nodule's shape on purpose.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view
from scipy import ndimage
from skimage.transform import resize, resize_local_mean

from llnm.case import Box, GreyImage, Mask, Spacing
from llnm.errors import InputError
from llnm.features.checks import checked_image, checked_mask
from llnm.features.location import central_point_distance_transform
from llnm.features.shape import bounding_box, grown, interior

Size = Literal["padded", "resize-crop"]

IMAGE_PX = 224
PATCH_PX = 16
PATCHES = IMAGE_PX // PATCH_PX
CONTEXT_PX = 8  # half a patch: enough tissue to see the margin against
RESIZED_PX = 256  # the shorter side of `resize-crop`, before its centre is cut out


@dataclass(frozen=True)
class NetworkImages:
    """Inputs of the network for one view, each (224, 224) float32, 0-1; `location` is 0 where no gland was given."""

    location: GreyImage
    texture: GreyImage
    margin: GreyImage


def network_images(
    bmode: GreyImage,
    nodule: Mask,
    gland: Mask | None = None,
    spacing_mm: Spacing | None = None,
    seed: int = 0,
    size: Size = "padded",
) -> NetworkImages:
    """Location x_l, texture x_t and margin x_m of one view (paper, "Data feature extraction process").

    Texture is the image on the nodule and on the 8 px around it, location the CPDT on the nodule alone; 0 elsewhere.
    Both are cut by the nodule's bounding box with 8 px of context. `size` says how that becomes 224 x 224: "padded"
    centres it on zeros without resampling, so that a pixel stays as many millimetres as it was, and shrinks it by one
    factor for both axes only where it would not fit; "resize-crop" (the released code) scales the shorter side to 256
    and cuts 224 from the centre, which loses the ends of an elongated nodule. `seed` chooses the margin's patches.
    Raises InputError for an image that is not finite or not 0-1, empty masks or masks of another size, an impossible
    spacing, seed or size.
    """
    if size not in get_args(Size):
        raise InputError(f"size: {size!r} is not known; write padded or resize-crop")
    bmode = checked_image(bmode)
    nodule = checked_mask(nodule, "nodule", bmode.shape)
    box = grown(bounding_box(nodule), CONTEXT_PX, bmode.shape)
    inside = nodule[box.slices]
    context = ndimage.distance_transform_edt(~inside) <= CONTEXT_PX
    location = np.zeros((IMAGE_PX, IMAGE_PX), dtype=np.float32)
    if gland is not None:
        phi = central_point_distance_transform(checked_mask(gland, "gland", bmode.shape), spacing_mm)
        location = _placed(phi[box.slices], inside, size)
    return NetworkImages(location, _placed(bmode[box.slices], context, size), margin_mosaic(bmode, nodule, seed))


def whole_frame(bmode: GreyImage, size: Size = "padded") -> GreyImage:
    """All of a B-mode image (row, column) at the network's size, (224, 224) float32, 0-1; `size` as for the nodule.

    Raises InputError for an image that is not finite or not 0-1.
    """
    bmode = checked_image(bmode)
    return _placed(bmode, np.ones(bmode.shape, dtype=bool), size)


def margin_mosaic(bmode: GreyImage, nodule: Mask, seed: int = 0) -> GreyImage:
    """Margin feature x_m: 14 x 14 patches of 16 px from random places on the nodule's margin; (224, 224) float32, 0-1.

    The margin is the nodule's pixels that touch background. Patches are centred on them (row and column 8 of 16), drawn
    without replacement where there are at least 196, with it otherwise, and laid in the order drawn, so that the blur
    of the edge is kept and the shape of the nodule is not. Patches that reach beyond the image see its reflection; the
    image's end is no margin, unless the nodule fills the image and has no other. The same `seed` gives the same mosaic.
    Raises InputError for an image that is not finite or not 0-1, an empty mask or one of another size, a negative seed.
    """
    bmode = checked_image(bmode)
    nodule = checked_mask(nodule, "nodule", bmode.shape)
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise InputError(f"seed: {seed!r} is not usable; give a whole number from 0 up")
    margin = nodule & ~interior(nodule, image_border_is_margin=False)
    if not margin.any():
        margin = nodule & ~interior(nodule)
    pixels = np.argwhere(margin)
    rng = np.random.default_rng(seed)
    rows, columns = pixels[rng.choice(len(pixels), PATCHES**2, replace=len(pixels) < PATCHES**2)].T
    padded = np.pad(bmode, PATCH_PX // 2, mode="reflect")
    patches = sliding_window_view(padded, (PATCH_PX, PATCH_PX))[rows, columns]
    return patches.reshape(PATCHES, PATCHES, PATCH_PX, PATCH_PX).swapaxes(1, 2).reshape(IMAGE_PX, IMAGE_PX)


def on_frame(image: GreyImage, nodule: Mask, size: Size = "padded") -> GreyImage:
    """What was found on the location or texture image (224, 224) back in its place on the frame, (row, column).

    The way of `network_images` backwards, nearest neighbour; 0 outside what the network saw. Raises InputError for an
    empty mask.
    """
    nodule = checked_mask(nodule, "nodule")
    box = grown(bounding_box(nodule), CONTEXT_PX, nodule.shape)
    frame = np.zeros(nodule.shape, dtype=np.float32)
    shape = frame[box.slices].shape
    target = _target(shape, size)
    cut, canvas = _centres(tuple(target))
    placed = np.zeros(target, dtype=np.float32)
    placed[cut.slices] = image[canvas.slices]
    frame[box.slices] = resize(placed, shape, order=0, mode="edge", anti_aliasing=False)
    return frame


def _target(shape: tuple[int, ...], size: Size) -> npt.NDArray[np.int64]:
    """The size that a crop is scaled to before it is laid in the middle of 224 x 224."""
    lengths = np.asarray(shape)
    if size == "resize-crop":
        return np.round(lengths * RESIZED_PX / lengths.min()).astype(int)
    return np.maximum(np.round(lengths * min(1.0, IMAGE_PX / lengths.max())).astype(int), 1)


def _placed(image: GreyImage, kept: Mask, size: Size) -> GreyImage:
    """`image` where `kept`, brought to 224 x 224.

    Image and mask are scaled apart, so that pixels at the mask's rim are not mixed with the zeros beyond it.
    """
    target = _target(image.shape, size)
    masked = np.where(_scaled(kept.astype(np.float32), target) >= 0.5, _scaled(image, target), np.float32(0))
    return _centred(masked)


def _scaled(image: GreyImage, target: np.ndarray) -> GreyImage:
    """The image at the size `target`: its own pixels, area means where it shrinks, bilinear where it grows."""
    if tuple(target) == image.shape:
        return image
    if (target < image.shape).any():
        return np.clip(resize_local_mean(image, tuple(target)), 0, 1).astype(np.float32)
    return resize(image, tuple(target), order=1, mode="edge", anti_aliasing=False).astype(np.float32)


def _centred(image: GreyImage) -> GreyImage:
    """The image in the middle of 224 x 224 zeros; what is larger loses its ends."""
    cut, place = _centres(image.shape)
    canvas = np.zeros((IMAGE_PX, IMAGE_PX), dtype=np.float32)
    canvas[place.slices] = image[cut.slices]
    return canvas


def _centres(shape: tuple[int, ...]) -> tuple[Box, Box]:
    """Which part of an image of this shape is kept, and where it lies in 224 x 224."""
    height, width = (min(length, IMAGE_PX) for length in shape)
    top, left = (shape[0] - height) // 2, (shape[1] - width) // 2
    down, across = (IMAGE_PX - height) // 2, (IMAGE_PX - width) // 2
    return Box(top, left, top + height, left + width), Box(down, across, down + height, across + width)
