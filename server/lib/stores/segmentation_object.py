"""DICOM SEG of what was drawn, one object a frame, with SNOMED CT codes.

Comes in: the DICOM file of an ultrasound image and its label map. Goes out: SEG data sets that refer to that very image
(and frame). Ultrasound has no patient coordinates, and a multi-frame image without a frame of reference cannot be the
source of a SEG as it stands; so each frame is described by an object of its own.
"""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pydicom
from highdicom.content import AlgorithmIdentificationSequence
from highdicom.seg import Segmentation, SegmentDescription
from highdicom.seg.enum import SegmentAlgorithmTypeValues, SegmentationTypeValues
from highdicom.sr.coding import CodedConcept
from lib.configs import APP_NAME, LABELS, TISSUE, VERSION
from lib.images import LabelMap, structure_mask
from pydicom.dataset import Dataset
from pydicom.uid import UID, generate_uid

from llnm import NOTICE
from llnm.case import Structure

SINGLE_FRAME_ULTRASOUND = "1.2.840.10008.5.1.4.1.1.6.1"
SCT = "SCT"
SERIES_NUMBER = 900
# Elements that make a source multi-frame, or tie it to a space that ultrasound does not have.
DROPPED = (
    "NumberOfFrames",
    "FrameIncrementPointer",
    "FrameTime",
    "FrameTimeVector",
    "FrameOfReferenceUID",
    "PixelData",
)


def segmentation_objects(source: Path, label: LabelMap, by_person: bool = True) -> list[Dataset]:
    """A SEG for every frame in which something was drawn; all in one new series of the image's study.

    `by_person`: whether somebody drew or confirmed it, or it is a network's own.
    """
    image = pydicom.dcmread(source)
    series = generate_uid()
    masks = {name: structure_mask(label, name) for name in label.structures}
    objects: list[Dataset] = []
    for frame in range(label.values.shape[0]):
        drawn = {name: mask[frame] for name, mask in masks.items() if mask[frame].any()}
        if drawn:
            objects.append(_object(image, frame, drawn, series, len(objects) + 1, by_person))
    return objects


def _object(
    image: Dataset, frame: int, masks: dict[Structure, np.ndarray], series: UID, number: int, by_person: bool
) -> Dataset:
    names = sorted(masks, key=lambda name: LABELS[name].value)
    segmentation = Segmentation(
        source_images=[_single_frame(image)],
        pixel_array=np.stack([masks[name] for name in names], axis=-1)[None].astype(np.uint8),
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[_description(index + 1, name, by_person) for index, name in enumerate(names)],
        series_instance_uid=series,
        series_number=SERIES_NUMBER,
        sop_instance_uid=generate_uid(),
        instance_number=number,
        manufacturer="LLNM",
        manufacturer_model_name=APP_NAME,
        software_versions=VERSION,
        device_serial_number="0",
        content_label="ANNOTATION",
        content_description=NOTICE,
        series_description=f"Thyroid annotation. {NOTICE}",
    )
    _refer_to(segmentation, image, frame)
    return segmentation


def _single_frame(image: Dataset) -> Dataset:
    """The header of one frame, as if it were an image of its own."""
    single = Dataset()
    for element in image:
        if element.keyword not in DROPPED:
            single.add(copy.deepcopy(element) if element.VR == "SQ" else element)
    single.SOPClassUID = SINGLE_FRAME_ULTRASOUND
    single.file_meta = image.file_meta
    # Required of a source, and often left out by scanners.
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"):
        if keyword not in single:
            setattr(single, keyword, "")
    for keyword in ("StudyDate", "StudyTime", "ReferringPhysicianName"):
        if keyword not in single:
            setattr(single, keyword, None)
    return single


def _refer_to(segmentation: Dataset, image: Dataset, frame: int) -> None:
    """Name the image's true class and the frame wherever the SEG refers to it."""
    count = int(image.get("NumberOfFrames", 1) or 1)

    def visit(_: Dataset, element: pydicom.DataElement) -> None:
        if element.keyword == "ReferencedSOPInstanceUID" and element.value == image.SOPInstanceUID:
            parents.append(_)

    parents: list[Dataset] = []
    segmentation.walk(visit)
    for parent in parents:
        parent.ReferencedSOPClassUID = image.SOPClassUID
        if count > 1:
            parent.ReferencedFrameNumber = frame + 1


def _description(number: int, name: Structure, by_person: bool) -> SegmentDescription:
    label = LABELS[name]
    kind = SegmentAlgorithmTypeValues.SEMIAUTOMATIC if by_person else SegmentAlgorithmTypeValues.AUTOMATIC
    about = AlgorithmIdentificationSequence(
        name=APP_NAME, version=VERSION, family=CodedConcept("123110", "DCM", "Artificial Intelligence")
    )
    return SegmentDescription(
        segment_number=number,
        segment_label=label.meaning,
        segmented_property_category=CodedConcept(TISSUE[0], SCT, TISSUE[1]),
        segmented_property_type=CodedConcept(label.code, SCT, label.meaning),
        algorithm_type=kind,
        algorithm_identification=about,
    )
