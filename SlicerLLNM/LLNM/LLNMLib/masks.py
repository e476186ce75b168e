"""Masks as segmentations of Slicer: terminology, colours, and what a person corrected.

Comes in: masks (row, column) of a view. Goes out: a vtkMRMLSegmentationNode in the geometry of the view's volume with
the segments `gland` and `nodule`, and masks back from it. Each segment remembers what was drawn, so that a correction
is told from what the network drew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from LLNMLib.interfaces import STRUCTURES, logic_error
from LLNMLib.ultrasound import image_of, pixels_of

DRAWN_TAG, SOURCE_TAG = "LLNM.Drawn", "LLNM.Source"
NETWORK, SERVER = "network", "server"


class Terms(NamedTuple):
    """A structure in words and codes (SNOMED CT): name, category, type, each (code, meaning); colour 0-1."""

    name: str
    category: tuple[str, str]
    type: tuple[str, str]
    region: tuple[str, str] | None
    colour: tuple[float, float, float]


THYROID = ("69748006", "Thyroid gland")
# Colours of the report (Okabe and Ito), told apart also by those who see few colours.
TERMS = {
    "gland": Terms("Thyroid gland", ("123037004", "Anatomical Structure"), THYROID, None, (0.337, 0.706, 0.914)),
    "nodule": Terms(
        "Nodule",
        ("49755003", "Morphologically Altered Structure"),
        ("27925004", "Nodule"),
        THYROID,
        (0.902, 0.624, 0.0),
    ),
}


def terminology_entry(structure: str) -> str:
    """The serialised terminology of a structure, as Slicer's segments carry it in the tag `TerminologyEntry`."""
    terms = TERMS[structure]
    codes = ["^".join(("SCT", *code)) for code in (terms.category, terms.type)]
    region = "^^" if terms.region is None else "^".join(("SCT", *terms.region))
    parts = ("Segmentation category and type - DICOM master list", *codes, "^^")
    return "~".join((*parts, "Anatomic codes - DICOM master list", region, "^^"))


def new_segmentation(name: str) -> Any:
    """A segmentation node outside any scene."""
    node = slicer.vtkMRMLSegmentationNode()
    node.SetName(name)
    node.GetSegmentation().SetSourceRepresentationName("Binary labelmap")
    return node


def draw(segmentation: Any, volume: Any, masks: Mapping[str, np.ndarray], source: str = NETWORK) -> None:
    """Set segments to masks (row, column) of `volume`; `source`: NETWORK or SERVER. Segments of no mask stay.

    Raises LogicError for a mask of another size than the view.
    """
    shape = pixels_of(volume).shape[:2]
    for structure, mask in masks.items():
        if mask.shape != shape:
            text = f"{structure} mask: it is {mask.shape[1]} x {mask.shape[0]} pixels, the view {shape[1]} x {shape[0]}"
            raise logic_error("InputError", text, "run again on the image that is shown")
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    segmentation.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    for structure in STRUCTURES:
        if structure not in masks:
            continue
        segment = _segment(segmentation, structure) or _add_segment(segmentation, structure)
        drawn = _oriented(volume, masks[structure])
        logic.SetBinaryLabelmapToSegment(drawn, segmentation, structure, logic.MODE_REPLACE)
        segment.SetTag(DRAWN_TAG, _digest(masks[structure]))
        segment.SetTag(SOURCE_TAG, source)


def erase(segmentation: Any, structure: str) -> None:
    """Remove a segment that is no longer true."""
    if _segment(segmentation, structure) is not None:
        segmentation.GetSegmentation().RemoveSegment(structure)


def mask_of(segmentation: Any | None, structure: str, volume: Any) -> np.ndarray | None:
    """The mask (row, column) bool of a segment in the pixels of `volume`; None where there is none or it is empty."""
    if segmentation is None or _segment(segmentation, structure) is None:
        return None
    stored = slicer.vtkOrientedImageData()
    if not segmentation.GetBinaryLabelmapRepresentation(structure, stored) or stored.IsEmpty():
        return None
    shape = pixels_of(volume).shape[:2]
    reference = _oriented(volume, np.zeros(shape, np.uint8))
    fitted = slicer.vtkOrientedImageData()
    resample = slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage
    if not resample(stored, reference, fitted, False):
        return None
    mask = vtk_to_numpy(fitted.GetPointData().GetScalars()).reshape(shape) > 0
    return mask if mask.any() else None


def corrected(segmentation: Any | None, structure: str, volume: Any) -> np.ndarray | None:
    """The mask of a segment if it is not what the local network drew: corrected, drawn by hand, or from a server."""
    mask = mask_of(segmentation, structure, volume)
    if mask is None:
        return None
    segment = _segment(segmentation, structure)
    as_drawn = _tag(segment, DRAWN_TAG) == _digest(mask) and _tag(segment, SOURCE_TAG) == NETWORK
    return None if as_drawn else mask


def largest_part(mask: np.ndarray) -> np.ndarray:
    """The largest connected part (8-neighbourhood) of a mask: a prediction is about one nodule."""
    if not mask.any():
        return mask
    parts = vtk.vtkImageConnectivityFilter()
    parts.SetInputData(image_of(np.pad(mask, 1)[None].astype(np.uint8)))
    parts.SetScalarRange(1, 1)
    parts.SetExtractionModeToLargestRegion()
    parts.SetLabelModeToConstantValue()
    parts.SetLabelConstantValue(1)
    parts.Update()
    shape = (mask.shape[0] + 2, mask.shape[1] + 2)
    return (vtk_to_numpy(parts.GetOutput().GetPointData().GetScalars()).reshape(shape) > 0)[1:-1, 1:-1]


def write_segmentation(segmentation: Any, path: Path) -> None:
    """Write a segmentation as .seg.nrrd with names, colours and terminology; raises LogicError if that fails."""
    scene = segmentation.GetScene()
    storage = slicer.vtkMRMLSegmentationStorageNode()
    storage.SetScene(scene)
    storage.SetFileName(str(path))
    if not storage.WriteData(segmentation) or not path.is_file():
        raise logic_error("DiskFull", f"{path}: cannot be written", "free some space or choose another folder")


def _segment(segmentation: Any, structure: str) -> Any | None:
    return segmentation.GetSegmentation().GetSegment(structure)


def _add_segment(segmentation: Any, structure: str) -> Any:
    terms = TERMS[structure]
    segment = slicer.vtkSegment()
    segment.SetName(terms.name)
    segment.SetColor(*terms.colour)
    segment.SetTag(segment.GetTerminologyEntryTagName(), terminology_entry(structure))
    segmentation.GetSegmentation().AddSegment(segment, structure)
    return segmentation.GetSegmentation().GetSegment(structure)


def _oriented(volume: Any, mask: np.ndarray) -> Any:
    """A mask in the geometry of a volume, as the segmentation logic takes it."""
    image = slicer.vtkOrientedImageData()
    image.ShallowCopy(image_of(mask[None].astype(np.uint8)))
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    image.SetGeometryFromImageToWorldMatrix(matrix)
    return image


def _tag(segment: Any, name: str) -> str:
    value = vtk.reference("")
    return str(value) if segment.GetTag(name, value) else ""


def _digest(mask: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(mask, dtype=bool).tobytes()).hexdigest()


OF_SEQUENCE = "LLNM.MasksOf"
"""Attribute of a sequence of masks: the images' sequence and the structure."""


def new_sequence(images: Any, structure: str, found: Sequence[np.ndarray | None], name: str) -> Any:
    """A sequence of segmentations, outside any scene, with the index values of the sequence `images`."""
    sequence = slicer.vtkMRMLSequenceNode()
    sequence.SetName(name)
    sequence.SetIndexName(images.GetIndexName())
    sequence.SetIndexUnit(images.GetIndexUnit())
    sequence.SetIndexType(images.GetIndexType())
    sequence.SetAttribute(OF_SEQUENCE, f"{images.GetID()} {structure}")
    for number, mask in enumerate(found):
        volume = images.GetNthDataNode(number)
        segmentation = new_segmentation(name)
        drawn = np.zeros(pixels_of(volume).shape[:2], bool) if mask is None else mask
        draw(segmentation, volume, {structure: drawn})
        sequence.SetDataNodeAtValue(segmentation, images.GetNthIndexValue(number))
    return sequence
