"""Imaging: reads, calibrates and de-identifies a frame, finds its scan area and standardises its brightness.

Comes in: the path of a DICOM, PNG, JPEG, BMP, TIFF, NIfTI, NRRD or MetaImage file. Goes out: an UltrasoundImage, from
it a PreparedImage for networks and features, masks, and the vascularity of a colour Doppler frame. Nothing about the
patient is kept.
"""

from llnm.imaging.doppler import Vascularity, is_colour_doppler, measure_vascularity
from llnm.imaging.dual_view import find_seam, split_dual_view
from llnm.imaging.prepare import PreparedImage, prepare, standardise_brightness
from llnm.imaging.reading import load_image, load_mask
from llnm.imaging.scan_area import find_scan_area, find_scan_outline

__all__ = [
    "PreparedImage",
    "Vascularity",
    "find_scan_area",
    "find_scan_outline",
    "find_seam",
    "is_colour_doppler",
    "load_image",
    "load_mask",
    "measure_vascularity",
    "prepare",
    "split_dual_view",
    "standardise_brightness",
]
