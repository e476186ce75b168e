"""Reads what a radiologist has: one frame of ultrasound, or a mask drawn on it, from any usual file.

Comes in: a path to DICOM, PNG, JPEG, BMP, TIFF, NIfTI, NRRD or MetaImage. Goes out: an UltrasoundImage (the frame as it
is stored, 0-1, with its spacing if somebody knows it) or a bool mask. Whatever is wrong with the file ends in one line.
"""

from __future__ import annotations

import gzip
import math
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from llnm.case import Mask, Spacing, UltrasoundImage
from llnm.errors import InputError
from llnm.imaging.declared import declared_in
from llnm.imaging.dicom import is_dicom, read_dicom, read_dicom_header
from llnm.imaging.frame import MIN_SIZE, check_size, choose_frame, to_frame, usable_spacing

RASTER_FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
PAGED_FORMATS = (*RASTER_FORMATS, "GIF", "WEBP")
"""Formats whose pages may be the frames of a cine loop (PNG: animated)."""
RASTER_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
VOLUME_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
VIDEO_SUFFIXES = (".mp4", ".m4v", ".avi", ".mov", ".mkv", ".webm", ".wmv", ".mpg", ".mpeg")
SUPPORTED = "DICOM, PNG, JPEG, BMP, TIFF, NIfTI, NRRD or MetaImage"
NIFTI1_HEADER = 348
SPACING_AGREES = 0.05
MANY_LEVELS = 16
"""A mask with more grey levels than this is no label map but a lossy or smoothed drawing, cut at half its maximum."""
FAINT = 32
"""A JPEG whose brightest pixel (0-255) is below this is an empty mask: what is there is coding noise."""

Array = npt.NDArray[np.generic]


class Header(NamedTuple):
    """What a file's header says: size of a frame in pixels, number of frames, each frame's time in s if it is known."""

    rows: int
    columns: int
    frames: int
    times_s: tuple[float, ...] | None = None


def load_image(path: str | Path, spacing_mm: float | None = None, frame: int | None = None) -> UltrasoundImage:
    """One frame from a file, as it is stored.

    `spacing_mm` (millimetres per pixel, square) goes before what the file says. `frame` counts from 0; without it the
    middle frame of several is taken, with a warning. Several frames are DICOM frames, TIFF pages or the slices (third
    axis) of a NIfTI, NRRD or MetaImage file. Rows are a file's y axis and columns its x axis, without flips. Spacing of
    exactly 1 in these files, or none, counts as unknown; PNG, JPEG, BMP and TIFF never give one. A NRRD file may hand
    on what an earlier reader knew (`llnm.imaging.declared`).

    Raises InputError (one line) for whatever cannot be used: missing, empty, cut short, of another type, smaller than
    32 or larger than 8192 pixels on a side (told from the header), blank, NaN, a frame that is not there. Raises
    MissingExtraError for a compression that needs the extra `dicom`.
    """
    path = check_path(path)
    if is_dicom(path):
        image = read_dicom(path, frame, spacing_given=spacing_mm is not None)
    elif is_volume(path):
        values, spacing, notes = _read_volume(path, frame)
        pixels, colour, more = to_frame(path.name, values)
        source = "file header" if spacing is not None else "none"
        image = UltrasoundImage(pixels, colour, spacing, source, warnings=notes + more)
        declared = declared_in(path, image.shape)
        if declared is not None:
            image = declared.of(pixels, colour, more)
    else:
        values, notes = _read_raster(path, frame)
        pixels, colour, more = to_frame(path.name, values)
        image = UltrasoundImage(pixels, colour, warnings=notes + more)
    return image if spacing_mm is None else with_given_spacing(image, spacing_mm)


def read_header(path: str | Path) -> Header:
    """Size and number of frames of a file; no pixel is decoded.

    Pages count as frames in TIFF and in animated GIF, PNG and WebP files, slices in NIfTI, NRRD and MetaImage files.

    Raises InputError for a file that is missing or empty, has a header that cannot be read, or is a video.
    """
    path = check_path(path)
    if path.suffix.lower() in VIDEO_SUFFIXES:
        raise InputError(f"{path.name}: video files are not read; export the loop as DICOM or as a folder of frames")
    if is_dicom(path):
        return Header(*read_dicom_header(path))
    if is_volume(path):
        import SimpleITK as sitk  # noqa: N813 - kept out of `import llnm`

        with _volume_errors(path.name):
            columns, rows, frames = _volume_sizes(path, sitk.ImageFileReader())
        return Header(rows, columns, frames)
    from PIL import Image

    with raster_errors(path), Image.open(path, formats=PAGED_FORMATS) as picture:
        check_size(path.name, picture.height, picture.width)
        return Header(picture.height, picture.width, getattr(picture, "n_frames", 1))


def load_mask(path: str | Path, shape: tuple[int, int], may_be_empty: bool = False) -> Mask:
    """A mask from an image file, (row, column) bool of `shape` (rows, columns).

    Above 0 is inside; where the file holds many grey levels (a lossy JPEG, a smoothed drawing) above half of the
    maximum is. Colours count by their brightest channel, transparent pixels are outside.

    `may_be_empty`: whether nothing inside is a mask too, that of a network that found nothing. Raises InputError for a
    file that cannot be read, a size other than `shape`, or else an empty mask.
    """
    path = check_path(path)
    name = path.name
    if is_dicom(path):
        raise InputError(f"{name}: masks in DICOM are not read; save the mask as PNG or NRRD")
    values = _read_volume(path, None, is_mask=True)[0] if is_volume(path) else _read_raster(path, None, is_mask=True)[0]
    numbers = values.astype(np.float32)
    if not np.isfinite(numbers).all():
        raise InputError(f"{name}: the mask has pixels that are no number (NaN or infinite); draw it again")
    if numbers.ndim == 3:
        alpha = numbers[..., 3] > 0 if numbers.shape[2] == 4 else True
        numbers = numbers[..., :3].max(axis=2) * alpha
    if numbers.shape != shape:
        raise InputError(
            f"{name}: the mask is {numbers.shape[1]} x {numbers.shape[0]} pixels, the image {shape[1]} x {shape[0]}; "
            "draw it on the same image"
        )
    inside = numbers > _mask_threshold(numbers, path.suffix.lower() in {".jpg", ".jpeg"})
    if not (may_be_empty or inside.any()):
        raise InputError(f"{name}: the mask is empty; draw the structure or leave the mask out")
    return inside


def _mask_threshold(numbers: npt.NDArray[np.float32], jpeg: bool) -> float:
    """The value above which a pixel is inside."""
    high = float(numbers.max())
    if jpeg and high < FAINT:
        return high
    return high / 2 if jpeg or len(np.unique(numbers)) > MANY_LEVELS else 0.0


def check_path(path: str | Path) -> Path:
    """`path`, sure to be a file that is there, is not empty and can be opened; raises InputError otherwise."""
    path = Path(path)
    try:
        if path.is_dir():
            raise InputError(f"{path.name or path}: it is a folder; give one image file")
        if not path.exists():
            raise InputError(f"{path}: there is no such file; check the path")
        if path.stat().st_size == 0:
            raise InputError(f"{path.name}: the file is empty; export it again")
        with path.open("rb"):
            return path
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: the file cannot be opened; check the path and the permissions") from error


def is_volume(path: Path) -> bool:
    """Whether the file's name says that SimpleITK reads it."""
    return path.name.lower().endswith(VOLUME_SUFFIXES)


def with_given_spacing(image: UltrasoundImage, spacing_mm: float) -> UltrasoundImage:
    """The image with the spacing given by hand, and a warning where the file says another one."""
    given = image.with_spacing(spacing_mm)
    known, (value, _) = image.spacing_mm, given.spacing_mm or (0.0, 0.0)
    if known is not None and not np.allclose(known, value, rtol=SPACING_AGREES):
        stored = f"{known[0]:g}, {known[1]:g} mm"
        note = f"image file: the spacing given by hand ({value:g} mm) differs from the file's ({stored})"
        given = replace(given, warnings=(*given.warnings, note))
    return given


def _read_raster(path: Path, frame: int | None, is_mask: bool = False) -> tuple[Array, tuple[str, ...]]:
    """One page through Pillow, turned as EXIF says; palettes looked up."""
    from PIL import Image

    name = path.name
    with raster_errors(path), Image.open(path, formats=RASTER_FORMATS) as picture:
        check_size(name, picture.height, picture.width, 1 if is_mask else MIN_SIZE)
        pages = getattr(picture, "n_frames", 1) if picture.format == "TIFF" else 1
        index, notes = choose_frame(name, pages, frame)
        if is_mask and pages > 1:
            raise InputError(f"{name}: the mask has {pages} pages; give one page")
        if index:
            picture.seek(index)
            check_size(name, picture.height, picture.width)
        return raster_values(picture), notes


@contextmanager
def raster_errors(path: Path) -> Iterator[None]:
    """Turns whatever Pillow raises while it reads `path` into an InputError of one line."""
    from PIL import Image, UnidentifiedImageError

    name = path.name
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # sizes are checked by the readers, damaged EXIF does not matter
            yield
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise InputError(f"{name}: the image has too many pixels; give a smaller one") from error
    except UnidentifiedImageError as error:
        if path.suffix.lower() in RASTER_SUFFIXES:
            raise InputError(f"{name}: the content is no {path.suffix[1:].upper()} image; export it again") from error
        raise InputError(f"{name}: this type of file is not supported; give {SUPPORTED}") from error
    except Exception as error:  # Pillow's plugins raise whatever their parsers meet
        raise InputError(f"{name}: the image cannot be read, it may be cut short; export it again") from error


def raster_values(picture: Any) -> Array:
    """(row, column) or (row, column, 3 or 4) of the page that Pillow has open, turned as EXIF says."""
    from PIL import ImageOps

    picture = ImageOps.exif_transpose(picture)
    if picture.mode in {"P", "PA"}:
        picture = picture.convert("RGBA" if "transparency" in picture.info or picture.mode == "PA" else "RGB")
    elif picture.mode in {"LA", "La", "RGBa"}:
        picture = picture.convert("RGBA")
    elif picture.mode in {"CMYK", "YCbCr", "LAB", "HSV", "RGBX"}:
        picture = picture.convert("RGB")
    return np.asarray(picture)


def _read_volume(path: Path, frame: int | None, is_mask: bool = False) -> tuple[Array, Spacing | None, tuple[str, ...]]:
    """One slice through SimpleITK: values, spacing if the header knows it, warnings."""
    values, spacing, notes = read_stack(path, 1 if is_mask else MIN_SIZE)
    if is_mask and len(values) > 1:
        raise InputError(f"{path.name}: the mask has {len(values)} slices; give one slice")
    index, more = choose_frame(path.name, len(values), frame)
    return values[index], spacing, more + notes


def read_stack(path: Path, least: int = MIN_SIZE) -> tuple[Array, Spacing | None, tuple[str, ...]]:
    """All slices of a volume file as stored, (frame, row, column[, channel]); spacing if the header knows it, warnings.

    Raises InputError for a file that cannot be read or whose slices are smaller than `least`.
    """
    import SimpleITK as sitk  # noqa: N813 - kept out of `import llnm`

    name = path.name
    with _volume_errors(name):
        reader = sitk.ImageFileReader()
        columns, rows, frames = _volume_sizes(path, reader, least)
        if name.lower().endswith((".nii", ".nii.gz")):
            _check_nifti_is_whole(path)
        image = reader.Execute()
    values = sitk.GetArrayFromImage(image)  # (..., z, y, x[, component])
    values = values.reshape(frames, rows, columns, *values.shape[image.GetDimension() :])
    axes = _plane_axes(name, image.GetSize())
    spacings = image.GetSpacing()
    spacing, notes = usable_spacing("the header's spacing", (spacings[axes[1]], spacings[axes[0]]))
    return values, spacing, notes


def _volume_sizes(path: Path, reader: Any, least: int = MIN_SIZE) -> tuple[int, int, int]:
    """Columns, rows and slices, from the header alone."""
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    sizes = reader.GetSize()  # (x, y, z, ...)
    axes = _plane_axes(path.name, sizes)
    check_size(path.name, sizes[axes[1]], sizes[axes[0]], least)
    return sizes[axes[0]], sizes[axes[1]], math.prod(sizes) // (sizes[axes[0]] * sizes[axes[1]])


@contextmanager
def _volume_errors(name: str) -> Iterator[None]:
    """Keeps ITK quiet and turns what it raises into an InputError of one line."""
    import SimpleITK as sitk  # noqa: N813

    loud = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    except (RuntimeError, OSError, EOFError, zlib.error) as error:
        raise InputError(f"{name}: the file cannot be read, it may be cut short; export it again") from error
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(loud)


def _check_nifti_is_whole(path: Path) -> None:
    """Raises OSError or EOFError for a NIfTI file that is cut short: ITK reads what is missing as zeros, silently."""
    with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as stream:
        head = stream.read(NIFTI1_HEADER)
        order = "<" if head[:4] == struct.pack("<i", NIFTI1_HEADER) else ">"
        if head[:4] != struct.pack(order + "i", NIFTI1_HEADER):
            return  # NIfTI-2 is rare; ITK alone judges it
        rank, *sizes = struct.unpack_from(order + "8h", head, 40)
        (bits,) = struct.unpack_from(order + "h", head, 72)
        (offset,) = struct.unpack_from(order + "f", head, 108)
        missing = int(offset) + math.prod(sizes[:rank]) * bits // 8 - len(head)
        while missing > 0:
            piece = stream.read(min(missing, 1 << 20))
            if not piece:
                raise EOFError
            missing -= len(piece)
        stream.read(1 << 20)  # lets gzip compare its checksum


def _plane_axes(name: str, sizes: tuple[int, ...]) -> tuple[int, int]:
    """The file's axes that are columns and rows; axes of one sample are left out, a third one holds the frames."""
    axes = [axis for axis, size in enumerate(sizes) if size > 1]
    if len(axes) not in (2, 3):
        raise InputError(f"{name}: it holds no two-dimensional image ({' x '.join(map(str, sizes))}); give one frame")
    return axes[0], axes[1]
