"""Reads the masks of a campaign. Comes in: a label and its image. Goes out: a mask of the image's size."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from llnm.case import Mask
from llnm.imaging import load_image, load_mask

# (label, image) -> (row, column) bool of the image's size.
ReadLabel = Callable[[Path, Path], Mask]


def read_mask(label: Path, image: Path) -> Mask:
    """(row, column) bool; may be empty, since an annotator may find nothing. Raises InputError as `llnm` does."""
    return load_mask(label, image_size(image), may_be_empty=True)


@lru_cache(maxsize=4096)
def image_size(image: Path) -> tuple[int, int]:
    """(rows, columns) of an image of the pool, which does not change under a campaign."""
    return load_image(image).shape
