"""DICOM ultrasound files as scanners write them, small."""

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid


def write_dicom(path, pixels, regions=(), spacing=None, **elements):
    """Write (row, column[, 3]) or with frames in front; `regions`: (x0, y0, x1, y1, cm per column, cm per row)."""
    colour = pixels.shape[-1] == 3
    shape = pixels.shape[:-1] if colour else pixels.shape
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = f"1.2.840.10008.5.1.4.1.1.{'3.1' if len(shape) == 3 else '6.1'}"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.Modality, (dataset.Rows, dataset.Columns) = "US", shape[-2:]
    dataset.SamplesPerPixel = 3 if colour else 1
    dataset.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    if len(shape) == 3:
        dataset.NumberOfFrames = shape[0]
    if spacing is not None:
        dataset.PixelSpacing = list(map(str, spacing))
    if regions:
        dataset.SequenceOfUltrasoundRegions = Sequence([_region(*region) for region in regions])
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    content = np.ascontiguousarray(pixels).tobytes()
    dataset.PixelData = content + b"\0" * (len(content) % 2)
    dataset.save_as(str(path), enforce_file_format=True)
    return path


def _region(left, top, right, bottom, column_cm, row_cm):
    item = Dataset()
    item.RegionSpatialFormat = item.RegionDataType = 1
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = 3
    item.RegionLocationMinX0, item.RegionLocationMinY0 = left, top
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = right, bottom
    item.PhysicalDeltaX, item.PhysicalDeltaY = column_cm, row_cm
    return item
