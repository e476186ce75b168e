"""How far readers of one image agree, and what they agree on.

Comes in: their masks. Goes out: the Dice of each pair, and the STAPLE consensus.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from itertools import combinations

import numpy as np
import SimpleITK as sitk  # noqa: N813
from PIL import Image
from scipy import ndimage

from llnm.case import Mask

Pairs = dict[tuple[str, str], float]

# Of the union of all readers' outlines, on each side, in pixels.
_MARGIN = 8
_INSIDE = 0.5


def pairwise_dice(masks: Mapping[str, Mask]) -> Pairs:
    """Dice of each pair of readers (names in alphabetical order); two empty masks agree."""
    return {(a, b): dice(masks[a], masks[b]) for a, b in combinations(sorted(masks), 2)}


def dice(first: Mask, second: Mask) -> float:
    """Overlap of two masks of one size, 0-1; 1 where both are empty."""
    total = int(first.sum()) + int(second.sum())
    return 2 * int((first & second).sum()) / total if total else 1.0


def consensus(masks: Mapping[str, Mask]) -> Mask:
    """The outline that the readers most probably meant (STAPLE, Warfield et al., IEEE TMI 2004; SimpleITK's).

    Only the surroundings of the outlines enter: over a whole frame, the background that nobody doubts would make each
    reader look perfectly specific, and the consensus would grow to the union. Where nobody or only one outline has
    anything inside, or all are the same, the majority stands: STAPLE's estimates are not defined there.
    """
    stack = np.stack([masks[name] for name in sorted(masks)])
    union = stack.any(axis=0)
    votes = stack.sum(axis=0)
    drawn = stack.any(axis=(1, 2)).sum()
    if drawn < 2 or (votes[union] == len(stack)).all():
        return votes * 2 > len(stack)
    rows, columns = ndimage.find_objects(union.astype(np.uint8))[0]
    area = tuple(slice(max(0, part.start - _MARGIN), part.stop + _MARGIN) for part in (rows, columns))
    probability = sitk.STAPLE([sitk.GetImageFromArray(mask[area].astype(np.uint8)) for mask in stack], 1.0)
    mask = np.zeros_like(union)
    mask[area] = sitk.GetArrayFromImage(probability) > _INSIDE
    return mask


def mask_png(mask: Mask) -> bytes:
    """A mask as 8-bit PNG, 0 outside and 255 inside; the same mask gives the same bytes."""
    buffer = io.BytesIO()
    Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()
