"""DICOM files: the pixels of one frame and the geometry of its B-mode region, and nothing about the patient.

Comes in: a path. Goes out: an UltrasoundImage. Only elements that describe the pixels are looked at; no other value is
kept, and no value of an element stands in a message. Works with pydicom 2.4 and 3.
"""

from __future__ import annotations

import importlib
import io
import math
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from llnm.case import Box, Spacing, UltrasoundImage
from llnm.errors import InputError, MissingExtraError
from llnm.imaging.frame import check_size, choose_frame, to_frame, usable_spacing

PHOTOMETRIC = {
    "MONOCHROME1",
    "MONOCHROME2",
    "PALETTE COLOR",
    "RGB",
    "YBR_FULL",
    "YBR_FULL_422",
    "YBR_ICT",
    "YBR_RCT",
}
NEEDS_GDCM = {
    "1.2.840.10008.1.2.4.51": "JPEG extended",
    "1.2.840.10008.1.2.4.57": "JPEG lossless",
    "1.2.840.10008.1.2.4.70": "JPEG lossless",
    "1.2.840.10008.1.2.4.80": "JPEG-LS",
    "1.2.840.10008.1.2.4.81": "JPEG-LS",
}
IMPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2"
VIDEO = "1.2.840.10008.1.2.4.10"
"""What the transfer syntaxes of MPEG-2, H.264 and HEVC video start with."""
PIXEL_DATA = 0x7FE00010
DEFERRED_BYTES = 1 << 16
"""Elements longer than this are left in the file while a cine loop is read frame by frame."""
# PS3.3 C.8.5.5.1: a two-dimensional region of tissue (B-mode), its pixel deltas in centimetres.
SPATIAL_FORMAT_2D, DATA_TYPE_TISSUE, UNIT_CM = 1, 1, 3
SAME_SPACING = 1e-3


def is_dicom(path: Path) -> bool:
    """Whether the file has DICOM's magic word, or a DICOM name (a file without preamble)."""
    with path.open("rb") as stream:
        head = stream.read(132)
    return head[128:] == b"DICM" or path.suffix.lower() in {".dcm", ".dicom", ".ima"}


def read_dicom(path: Path, frame: int | None = None, spacing_given: bool = False) -> UltrasoundImage:
    """One frame of a DICOM file (the middle one of several unless `frame`, counted from 0, says which).

    Spacing and region come from SequenceOfUltrasoundRegions (PS3.3 C.8.5.5): the two-dimensional tissue region with
    deltas in centimetres. Several such regions of equal spacing are joined (a dual view); of different spacing they are
    ambiguous and refused, unless the caller gives the spacing by hand (`spacing_given`). Without such a region
    PixelSpacing, ImagerPixelSpacing or NominalScannedPixelSpacing is taken. Values of interest (window) are not
    applied: ultrasound stores what the screen showed.

    Raises InputError for a file that cannot be read or has no usable pixels, MissingExtraError where the compression
    needs the extra `dicom`.
    """
    name = path.name
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's warnings quote the values of elements
        dataset = _read_dataset(path)
        count = _check_header(name, dataset)
        index, notes = choose_frame(name, count, frame)
        values, photometric = _decode(name, dataset, index, count)
        return _to_image(name, dataset, values, photometric, notes, spacing_given)


def read_dicom_header(path: Path) -> tuple[int, int, int, tuple[float, ...] | None]:
    """Rows, columns, number of frames, and each frame's time in seconds from the first one, or None if not stated.

    Times come from FrameTimeVector (increments, ms), FrameTime (ms) or CineRate (frames a second), in this order.

    Raises InputError as `read_dicom` does for what the header tells, and for MPEG-2, H.264 or HEVC video.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = _read_dataset(path, DEFERRED_BYTES)
        count = _check_header(path.name, dataset)
        if str(dataset.file_meta.TransferSyntaxUID).startswith(VIDEO):
            raise InputError(f"{path.name}: its frames are compressed as video, which is not read; export it as JPEG")
        return int(dataset.Rows), int(dataset.Columns), count, _frame_times(dataset, count)


def iter_dicom(path: Path, spacing_given: bool = False) -> Iterator[Callable[[], UltrasoundImage]]:
    """The frames of a DICOM file in order, each as a function that gives its image, as `read_dicom` would.

    Frames are decoded one at a time straight from the file, which is read once; with pydicom 2 the compressed bytes of
    the file, not its frames, are kept in memory.

    Raises InputError where the file holds fewer frames than it says; a frame's function raises it where that frame
    alone cannot be used.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = _read_dataset(path, DEFERRED_BYTES)
        if dataset.file_meta.TransferSyntaxUID.is_deflated:  # has to be inflated as a whole
            dataset = _read_dataset(path)
        count = _check_header(path.name, dataset)
    frames = _decode_in_turn(path, dataset, count)
    for _ in range(count):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            values, photometric = next(frames)
        yield partial(_to_image, path.name, dataset, values, photometric, (), spacing_given)


def _to_image(
    name: str,
    dataset: Any,
    values: npt.NDArray[np.generic],
    photometric: str,
    notes: tuple[str, ...],
    spacing_given: bool,
) -> UltrasoundImage:
    values, bits = _display_values(name, dataset, values, photometric)
    pixels, colour, more = to_frame(name, values, bits)
    notes += more + _modality_note(dataset)
    region, spacing, source, more = _geometry(name, dataset, pixels.shape, spacing_given)
    return UltrasoundImage(pixels, colour, spacing, source, region, notes + more)


def _read_dataset(path: Path, defer_size: int | None = None) -> Any:
    from pydicom import dcmread

    try:
        dataset = dcmread(path, force=True, defer_size=defer_size)
        known = any(word in dataset for word in ("SOPClassUID", "PixelData", "Modality"))
    except Exception as error:
        raise InputError(f"{path.name}: the DICOM file cannot be read; export it again") from error
    if not known:
        raise InputError(f"{path.name}: the file is no DICOM image; give a DICOM ultrasound image")
    meta = getattr(dataset, "file_meta", None)
    if meta is None or "TransferSyntaxUID" not in meta:
        from pydicom.dataset import FileMetaDataset

        dataset.file_meta = meta if meta is not None else FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = IMPLICIT_LITTLE_ENDIAN
    return dataset


def _check_header(name: str, dataset: Any) -> int:
    """Number of frames, once everything that the header can tell is in order."""
    if "PixelData" not in dataset:
        raise InputError(f"{name}: the DICOM file has no pixels (PixelData); give an image, not a report or a plan")
    try:
        rows, columns = int(dataset.Rows), int(dataset.Columns)
        count = int(dataset.get("NumberOfFrames") or 1)
        photometric = str(dataset.PhotometricInterpretation)
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(
            f"{name}: Rows, Columns or PhotometricInterpretation is missing or wrong; export it again"
        ) from error
    check_size(name, rows, columns)
    if photometric not in PHOTOMETRIC:
        raise InputError(f"{name}: its PhotometricInterpretation is not supported; export it as RGB or MONOCHROME2")
    return max(count, 1)


def _decode(name: str, dataset: Any, index: int, count: int) -> tuple[npt.NDArray[np.generic], str]:
    """The stored values of one frame, (row, column) or (row, column, 3), and their photometric interpretation."""
    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        try:
            pixels = importlib.import_module("pydicom.pixels")
        except ImportError:
            return _decode_pydicom2(dataset, index, count)
        values, described = pixels.get_decoder(syntax).as_array(dataset, index=index)
        return values, str(described["photometric_interpretation"])
    except Exception as error:
        raise _undecodable(name, syntax) from error


def _decode_in_turn(path: Path, dataset: Any, count: int) -> Iterator[tuple[npt.NDArray[np.generic], str]]:
    """What `_decode` gives, for all frames in order; the pixels of `dataset` may still lie in the file."""
    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        try:
            pixels = importlib.import_module("pydicom.pixels")
        except ImportError:
            decoded2 = (_decode_pydicom2(single, 0, 1) for single in _single_frames_pydicom2(path, dataset, count))
            yield from _all_of(decoded2, count)
            return
        stored = _stored_pixels(dataset)
        options = {**pixels.as_pixel_options(dataset), "transfer_syntax_uid": syntax, "pixel_keyword": "PixelData"}
        options |= {"pixel_vr": stored.VR} if stored.VR else {}
        with path.open("rb") as file:
            file.seek(stored.value_tell)
            source = dataset if syntax.is_deflated else file
            decoded = pixels.get_decoder(syntax).iter_array(source, **options)
            described = ((values, str(about["photometric_interpretation"])) for values, about in decoded)
            yield from _all_of(described, count)
    except Exception as error:
        raise _undecodable(path.name, syntax) from error


def _decode_pydicom2(dataset: Any, index: int, count: int) -> tuple[npt.NDArray[np.generic], str]:
    util = importlib.import_module("pydicom.pixel_data_handlers.util")
    values = dataset.pixel_array  # decodes all frames; updates PhotometricInterpretation where a plugin gave RGB
    photometric = str(dataset.PhotometricInterpretation)
    values = values[index] if count > 1 else values
    if photometric in {"YBR_FULL", "YBR_FULL_422"}:
        values, photometric = util.convert_color_space(values, photometric, "RGB"), "RGB"
    return values, photometric


def _all_of(frames: Iterator[Any], count: int) -> Iterator[Any]:
    """The first `count` of `frames`; raises EOFError where there are fewer."""
    for _ in range(count):
        try:
            yield next(frames)
        except StopIteration:
            raise EOFError from None


def _stored_pixels(dataset: Any) -> Any:
    """The element PixelData as it was read, with its place in the file; asking by keyword would load its value."""
    return next(element for element in dataset.values() if element.tag == PIXEL_DATA)


def _single_frames_pydicom2(path: Path, dataset: Any, count: int) -> Iterator[Any]:
    """A dataset for each frame, since pydicom 2 can only decode all the frames of a dataset at once."""
    from pydicom.dataset import Dataset

    syntax = dataset.file_meta.TransferSyntaxUID
    for value in _stored_frames_pydicom2(path, dataset, count):
        single = Dataset()
        single.update(dataset.group_dataset(0x0028))
        single.file_meta, single.NumberOfFrames = dataset.file_meta, 1
        single.is_little_endian, single.is_implicit_VR = syntax.is_little_endian, syntax.is_implicit_VR
        single.add_new("PixelData", "OB" if int(single.BitsAllocated) == 8 else "OW", value)
        yield single


def _stored_frames_pydicom2(path: Path, dataset: Any, count: int) -> Iterator[bytes]:
    """The value of PixelData that each frame would have as a file of its own."""
    if dataset.file_meta.TransferSyntaxUID.is_compressed:
        encaps = importlib.import_module("pydicom.encaps")
        for piece in encaps.generate_pixel_data_frame(dataset.PixelData, count):
            yield encaps.encapsulate([piece])
        return
    util = importlib.import_module("pydicom.pixel_data_handlers.util")
    length = util.get_expected_length(dataset) // count
    deflated = dataset.file_meta.TransferSyntaxUID.is_deflated
    start = 0 if deflated else _stored_pixels(dataset).value_tell
    with io.BytesIO(dataset.PixelData) if deflated else path.open("rb") as file:
        file.seek(start)
        for _ in range(count):
            value = file.read(length)
            if len(value) < length:
                raise EOFError
            yield value


def _undecodable(name: str, syntax: str) -> InputError | MissingExtraError:
    if str(syntax) in NEEDS_GDCM and not _has_gdcm():
        return MissingExtraError(f"{name}: python-gdcm (it reads {NEEDS_GDCM[str(syntax)]})", "dicom")
    return InputError(f"{name}: its pixels cannot be decoded; the file may be cut short, or export it uncompressed")


def _frame_times(dataset: Any, count: int) -> tuple[float, ...] | None:
    """Seconds from the first frame to each (PS3.3 C.7.6.5), None where the file does not say or makes no sense."""
    increments = _numbers(np.ravel(dataset.get("FrameTimeVector")))
    if len(increments) == count and min(increments) >= 0:
        return tuple(float(time) / 1000 for time in np.cumsum(increments) - increments[0])
    frame_time, rate = (_numbers(np.ravel(dataset.get(keyword))) for keyword in ("FrameTime", "CineRate"))
    if len(frame_time) == 1 and frame_time[0] > 0:
        step = frame_time[0] / 1000
    elif len(rate) == 1 and rate[0] > 0:
        step = 1 / rate[0]
    else:
        return None
    return tuple(index * step for index in range(count))


def _has_gdcm() -> bool:
    try:
        importlib.import_module("gdcm")
    except ImportError:
        return False
    return True


def _display_values(
    name: str, dataset: Any, values: npt.NDArray[np.generic], photometric: str
) -> tuple[npt.NDArray[np.generic], int | None]:
    """What the screen shows, and its depth in bits: palette looked up, MONOCHROME1 turned over."""
    try:
        bits = int(dataset.BitsStored)
        if photometric == "MONOCHROME1":
            return (2**bits - 1) - values.astype(np.int32), bits
        if photometric == "PALETTE COLOR":
            processing = _either_module("pydicom.pixels", "pydicom.pixel_data_handlers.util")
            values = processing.apply_color_lut(values, dataset)
            # Some machines put 8-bit entries into 16-bit tables.
            return values, 8 if int(values.max()) <= 255 else 16
    except Exception as error:
        raise InputError(f"{name}: BitsStored or the palette is missing or wrong; export it again as RGB") from error
    return values, bits


def _either_module(first: str, second: str) -> Any:
    try:
        return importlib.import_module(first)
    except ImportError:
        return importlib.import_module(second)


def _modality_note(dataset: Any) -> tuple[str, ...]:
    if dataset.get("Modality") == "US":
        return ()
    return ("image file: its Modality is not US; results on anything but B-mode ultrasound mean nothing",)


def _geometry(
    name: str, dataset: Any, shape: tuple[int, ...], spacing_given: bool
) -> tuple[Box | None, Spacing | None, str, tuple[str, ...]]:
    """Region, spacing, who says so, warnings."""
    found = _bmode_regions(dataset, shape)
    if found:
        boxes, spacings = zip(*found, strict=True)
        if not np.allclose(spacings, spacings[0], rtol=SAME_SPACING):
            if not spacing_given:
                raise InputError(
                    f"{name}: it has {len(found)} B-mode regions of different pixel spacing; "
                    "export the view alone, or give the spacing by hand"
                )
            return None, None, "none", ("image file: several B-mode regions of different spacing; none was chosen",)
        corners = np.array([(box.top, box.left, -box.bottom, -box.right) for box in boxes]).min(axis=0)
        region = Box(int(corners[0]), int(corners[1]), -int(corners[2]), -int(corners[3]))
        notes: tuple[str, ...] = ()
        if len(found) > 1:
            notes = (f"image file: {len(found)} B-mode regions of equal spacing were joined",)
        spacing, more = usable_spacing("SequenceOfUltrasoundRegions", spacings[0])
        return region, spacing, "DICOM SequenceOfUltrasoundRegions" if spacing else "none", notes + more
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        values = _numbers(dataset.get(keyword))
        if len(values) == 2:
            spacing, notes = usable_spacing(keyword, (values[0], values[1]))
            return None, spacing, f"DICOM {keyword}" if spacing else "none", notes
    return None, None, "none", ("image file: the DICOM file has no pixel spacing; give it by hand for millimetres",)


def _bmode_regions(dataset: Any, shape: tuple[int, ...]) -> list[tuple[Box, Spacing]]:
    found = []
    for item in dataset.get("SequenceOfUltrasoundRegions") or ():
        kind = (item.get("RegionSpatialFormat"), item.get("RegionDataType"))
        units = (item.get("PhysicalUnitsXDirection"), item.get("PhysicalUnitsYDirection"))
        if kind != (SPATIAL_FORMAT_2D, DATA_TYPE_TISSUE) or units != (UNIT_CM, UNIT_CM):
            continue
        deltas = _numbers([item.get("PhysicalDeltaY"), item.get("PhysicalDeltaX")])
        corners = _numbers([item.get("RegionLocation" + end) for end in ("MinY0", "MinX0", "MaxY1", "MaxX1")])
        if len(deltas) != 2 or len(corners) != 4:
            continue
        top, left, bottom, right = (int(value) for value in corners)
        box = Box(max(top, 0), max(left, 0), min(bottom + 1, shape[0]), min(right + 1, shape[1]))
        if min(box.shape) > 0:
            found.append((box, (abs(deltas[0]) * 10, abs(deltas[1]) * 10)))
    return found


def _numbers(values: Any) -> list[float]:
    """The finite numbers of a sequence; an empty list if one of its values is none."""
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError):
        return []
    return numbers if all(math.isfinite(number) for number in numbers) else []
