"""One simulated view as a file of each format, with a nodule whose place tells a flip or a turn at once."""

from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk  # noqa: N813
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset

SPACING = (0.09, 0.08)
"""Row and column, in millimetres: not square, so that a swap shows."""
ULTRASOUND, ULTRASOUND_LOOP = "1.2.840.10008.5.1.4.1.1.6.1", "1.2.840.10008.5.1.4.1.1.3.1"
FORMATS = ("png", "rgb.png", "jpg", "bmp", "tif", "dcm", "rgb.dcm", "loop.dcm", "nrrd", "nii", "nii.gz", "turned.nrrd")


def view(seed: int = 3) -> np.ndarray:
    """(row, column) uint8 of a simulated transverse view."""
    from llnm.simulate import simulate_view

    rng = np.random.default_rng(seed)
    return np.round(simulate_view(rng, "transverse").image.pixels * 255).astype(np.uint8)


def write(folder: Path, kind: str, pixels: np.ndarray, patient: str = "patient") -> Path:
    """`pixels` as a file of `kind` (one of FORMATS)."""
    path = folder / f"{kind.partition('.')[0]}_view.{kind.rpartition('.')[2]}"
    if kind == "nii.gz":
        path = folder / "packed_view.nii.gz"
    if kind.endswith("dcm"):
        write_dicom(
            path, np.stack([pixels, pixels, pixels]) if kind.startswith("loop") else _in_colour(pixels, kind), patient
        )
    elif kind.endswith(("nrrd", "nii", "nii.gz")):
        _write_volume(path, pixels, turned=kind.startswith("turned"))
    else:
        Image.fromarray(_in_colour(pixels, kind)).save(path, **({"quality": 95} if kind == "jpg" else {}))
    return path


def _in_colour(pixels: np.ndarray, kind: str) -> np.ndarray:
    """RGB with a cyan caliper mark, if the kind says so."""
    if not kind.startswith("rgb"):
        return pixels
    colour = np.repeat(pixels[..., None], 3, axis=2)
    colour[5:15, 5:15] = (0, 255, 255)
    return colour


def _write_volume(path: Path, pixels: np.ndarray, turned: bool) -> None:
    image = sitk.GetImageFromArray(pixels[None])
    image.SetSpacing((SPACING[1], SPACING[0], 1.0))
    image.SetOrigin((12.0, -7.0, 3.0))
    if turned:
        image.SetDirection((-1, 0, 0, 0, 0, 1, 0, 1, 0))
    sitk.WriteImage(image, str(path))


def write_dicom(path: Path, pixels: np.ndarray, patient: str = "patient", study: str = "", series: str = "") -> str:
    """An ultrasound image (or loop: (frame, row, column)) with a calibrated B-mode region; gives its instance's UID."""
    loop = pixels.ndim == 3 and pixels.shape[2] != 3
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ULTRASOUND_LOOP if loop else ULTRASOUND
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.StudyInstanceUID, data.SeriesInstanceUID = (
        study or pydicom.uid.generate_uid(),
        series or pydicom.uid.generate_uid(),
    )
    data.Modality, data.PatientID, data.PatientName = "US", patient, "Somebody^Real"
    data.StudyDate, data.StudyTime, data.AccessionNumber, data.StudyID = "20240101", "120000", "", "1"
    data.PatientBirthDate, data.PatientSex, data.ReferringPhysicianName = "", "", ""
    data.SeriesNumber, data.InstanceNumber = 1, 1
    rows, columns = pixels.shape[1:] if loop else pixels.shape[:2]
    data.Rows, data.Columns = rows, columns
    colour = not loop and pixels.ndim == 3
    data.SamplesPerPixel = 3 if colour else 1
    data.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        data.PlanarConfiguration = 0
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 8, 8, 7, 0
    if loop:
        data.NumberOfFrames, data.FrameTime, data.FrameIncrementPointer = len(pixels), 40, 0x00181063
    region = Dataset()
    region.RegionSpatialFormat, region.RegionDataType, region.RegionFlags = 1, 1, 0
    region.RegionLocationMinX0, region.RegionLocationMinY0 = 0, 0
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = columns - 1, rows - 1
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX, region.PhysicalDeltaY = SPACING[1] / 10, SPACING[0] / 10
    data.SequenceOfUltrasoundRegions = [region]
    data.PixelData = pixels.tobytes() + b"\0" * (pixels.size % 2)
    data.is_little_endian, data.is_implicit_VR = True, False
    data.save_as(path, write_like_original=False)
    return str(data.SOPInstanceUID)
