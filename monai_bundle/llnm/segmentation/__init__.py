"""Finds the nodule and the gland in one frame: networks, inference, candidates.

Comes in: an `UltrasoundImage` or a `PreparedImage`. Goes out: a `Segmentation` in the frame's own pixels.
"""

from llnm.segmentation.inference import Segmentation, segment

__all__ = ["Segmentation", "segment"]
