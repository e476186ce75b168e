"""A disagreement as a picture: the image with every reader's outline on it, and the consensus.

Comes in: an image and masks by name. Goes out: a PNG. Outlines differ in colour and in dash, so that those who see no
colours tell them apart too: the consensus is white and whole, each reader's is dashed in a rhythm of its own.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage
from skimage.measure import find_contours

from llnm.case import GreyImage, Mask

# Okabe and Ito (2008): told apart by colour-blind readers. One colour a reader, in the order of their names.
READER_COLOURS = ("#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#f0e442", "#d55e00")
CONSENSUS_COLOUR = "#ffffff"
# Smallest side of the picture, so that thin lines on a small frame stay lines.
_SIDE = 720
_MARGIN = 0.6


def disagreement_png(image: GreyImage, readers: Mapping[str, Mask], consensus: Mask) -> bytes:
    """PNG of the surroundings of all outlines. `image` (row, column) 0-1; masks of its size."""
    area = _area([*readers.values(), consensus])
    scale = max(1, round(_SIDE / max(part.stop - part.start for part in area)))
    grey = np.round(np.clip(image[area], 0, 1) * 255).astype(np.uint8)
    picture = Image.fromarray(grey).resize((grey.shape[1] * scale, grey.shape[0] * scale), Image.Resampling.BICUBIC)
    pixels = np.array(picture.convert("RGB"))
    for mask, colour, dash in _lines(readers, consensus):
        _draw(pixels, mask[area], scale, colour, dash)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def colour_of(index: int) -> str:
    """The colour of the reader at `index`."""
    return READER_COLOURS[index % len(READER_COLOURS)]


def _lines(readers: Mapping[str, Mask], consensus: Mask) -> list[tuple[Mask, str, int]]:
    drawn = [(readers[name], colour_of(index), 10 + 6 * index) for index, name in enumerate(sorted(readers))]
    return [(consensus, CONSENSUS_COLOUR, 0), *drawn]


def _area(masks: Sequence[Mask]) -> tuple[slice, slice]:
    """The rows and columns around all of the masks; the whole frame where all are empty."""
    union = np.any(masks, axis=0)
    if not union.any():
        return slice(0, union.shape[0]), slice(0, union.shape[1])
    found = ndimage.find_objects(union.astype(np.uint8))[0]
    around = round(_MARGIN * max(part.stop - part.start for part in found))
    rows, columns = (
        slice(max(0, part.start - around), min(size, part.stop + around))
        for part, size in zip(found, union.shape, strict=True)
    )
    return rows, columns


def _draw(pixels: npt.NDArray[np.uint8], mask: Mask, scale: int, colour: str, dash: int) -> None:
    """The outline of `mask`, `dash` points on and as many off; 0 draws all of it."""
    value = tuple(int(colour[n : n + 2], 16) for n in (1, 3, 5))
    for outline in find_contours(np.pad(mask, 1).astype(float), 0.5):
        # A point every half pixel of the picture, from the corners that the contour gives.
        fine = np.linspace(0, len(outline) - 1, 2 * scale * len(outline))
        corners = np.arange(len(outline))
        rows, columns = (np.interp(fine, corners, outline[:, axis]) - 0.5 for axis in (0, 1))
        shown = np.ones(len(fine), dtype=bool) if dash == 0 else (np.arange(len(fine)) // (2 * dash)) % 2 == 0
        for shift in ((0, 0), (0, 1), (1, 0), (1, 1)):
            row = np.clip((rows[shown] * scale).astype(int) + shift[0], 0, pixels.shape[0] - 1)
            column = np.clip((columns[shown] * scale).astype(int) + shift[1], 0, pixels.shape[1] - 1)
            pixels[row, column] = value
