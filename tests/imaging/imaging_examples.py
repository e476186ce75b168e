"""Frames and DICOM files whose pixels are known, for the tests of the imaging room."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from scipy import ndimage

DATA = Path(os.environ.get("LLNM_DATA", Path(__file__).parents[3] / "shared" / "data"))
PATIENT = "Doe^Jane^Secret"


def speckle(rows=96, columns=128, seed=0):
    """(row, column) uint8 that looks like echo: smooth random grey over the full range."""
    noise = np.random.default_rng(seed).normal(size=(rows, columns))
    smooth = ndimage.gaussian_filter(noise, (1, 2))
    scaled = (smooth - smooth.min()) / np.ptp(smooth)
    return (scaled * 255).round().astype(np.uint8)


def coloured(rows=96, columns=128, seed=0):
    """(row, column, 3) uint8 with strong colours that vary smoothly, so that lossy coding stays close."""
    return np.stack(
        [
            ndimage.gaussian_filter(speckle(rows, columns, seed + channel).astype(float), 4).clip(0, 255)
            for channel in range(3)
        ],
        axis=-1,
    ).astype(np.uint8) * np.array([2, 1, 1], dtype=np.uint8)


def scan_on_black(rows=240, columns=320, box=(30, 50, 200, 280), level=0, seed=0):
    """Luminance 0-1: echo in the rectangle (top, left, bottom, right) on an even surround."""
    pixels = np.full((rows, columns), level, dtype=np.uint8)
    top, left, bottom, right = box
    pixels[top:bottom, left:right] = 40 + speckle(bottom - top, right - left, seed) // 2
    return pixels.astype(np.float32) / 255


def ultrasound_dataset(pixels, photometric="MONOCHROME2", bits=8):
    """A DICOM dataset of the pixels: (row, column), (row, column, 3) or (frame, row, column[, 3])."""
    colour = pixels.shape[-1] == 3
    frames = pixels.ndim - (3 if colour else 2)
    rows, columns = pixels.shape[frames : frames + 2]
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.6.1"
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["llnm"])
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.is_little_endian, dataset.is_implicit_VR = True, False
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.Modality = "US"
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = PATIENT, "ID-4711", "19610203"
    dataset.Rows, dataset.Columns = rows, columns
    dataset.SamplesPerPixel = 3 if colour else 1
    if colour:
        dataset.PlanarConfiguration = 0
    if frames:
        dataset.NumberOfFrames = len(pixels)
    dataset.PhotometricInterpretation = photometric
    dataset.BitsAllocated = 8 * pixels.dtype.itemsize
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, bits - 1, 0
    dataset.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    return dataset


def bmode_region(box=(10, 20, 90, 120), spacing_cm=(0.01, 0.008), spatial=1, kind=1, unit=3):
    """An item of SequenceOfUltrasoundRegions; `box` is (top, left, bottom, right), ends exclusive."""
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType, item.RegionFlags = spatial, kind, 0
    item.RegionLocationMinY0, item.RegionLocationMinX0 = box[0], box[1]
    item.RegionLocationMaxY1, item.RegionLocationMaxX1 = box[2] - 1, box[3] - 1
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = unit
    item.PhysicalDeltaY, item.PhysicalDeltaX = spacing_cm
    return item


def write_dicom(dataset, path):
    """Write in DICOM file format, the same way under pydicom 2 and 3."""
    dataset.save_as(str(path), write_like_original=False)
    return path
