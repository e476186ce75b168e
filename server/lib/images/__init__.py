"""Ultrasound images and label maps of the server, one geometry for both.

Comes in: files of every format `llnm` reads, and labels that clients send. Goes out: the image as an annotator gets it
(NRRD, without patient identifiers) and label maps (`.seg.nrrd`, lossless) on the very same pixel grid.
"""

from lib.images.frames import Geometry, SourceImage, open_source
from lib.images.labels import LabelMap, label_names, read_label, structure_mask, write_label

__all__ = [
    "Geometry",
    "LabelMap",
    "SourceImage",
    "label_names",
    "open_source",
    "read_label",
    "structure_mask",
    "write_label",
]
