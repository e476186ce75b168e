"""Cine loops: the frames of one file, or of a folder, one at a time.

Comes in: the path of a multi-frame DICOM file, a TIFF with pages, an animated GIF, PNG or WebP, a stack of slices in
NIfTI, NRRD or MetaImage, or a folder of single frames. Goes out: a `Cine`, which knows its frames' names and number and
gives their images in order. Only one frame at a time is held as an image. DICOM files, pages and folders are read from
the disk as they are asked for; stacks are kept as stored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from llnm.case import UltrasoundImage, check_spacing
from llnm.errors import InputError
from llnm.imaging.dicom import is_dicom, iter_dicom
from llnm.imaging.frame import to_frame
from llnm.imaging.reading import (
    PAGED_FORMATS,
    RASTER_SUFFIXES,
    VOLUME_SUFFIXES,
    is_volume,
    load_image,
    raster_errors,
    raster_values,
    read_header,
    read_stack,
    with_given_spacing,
)

FRAME_NUMBER_DIGITS = 4

ReadFrame = Callable[[], UltrasoundImage]


@dataclass(frozen=True)
class CineFrame:
    """One frame of a loop: `index` from 0, `time_s` from the first frame or None where the file does not say.

    `image` is None where this frame cannot be used (blank, cut short, of another size); `problem` then says why.
    """

    index: int
    name: str
    time_s: float | None
    image: UltrasoundImage | None
    problem: str | None = None


@dataclass(frozen=True)
class Cine:
    """A loop of frames, read anew each time it is iterated over.

    `name`: of the file or folder. `frame_names`: all different, fit for file names: the stems of a folder's files,
    otherwise `0001`, `0002`, ... `times_s`: seconds from the first frame to each, None where the file does not say.
    `read_frames`: gives, in order, a function for each frame that reads it or raises InputError.
    """

    name: str
    frame_names: tuple[str, ...]
    times_s: tuple[float, ...] | None
    read_frames: Callable[[], Iterator[ReadFrame]] = field(repr=False)

    def __len__(self) -> int:
        return len(self.frame_names)

    def __iter__(self) -> Iterator[CineFrame]:
        """The frames in order.

        A frame that cannot be used does not end the loop. Raises InputError where the file itself breaks off.
        """
        times = self.times_s or (None,) * len(self)
        shape: tuple[int, int] | None = None
        for index, read in enumerate(self.read_frames()):
            image, problem = None, None
            try:
                image = read()
            except InputError as error:
                problem = str(error)
            if image is not None:
                shape = shape or image.shape
                if image.shape != shape:
                    problem = f"{self.frame_names[index]}: its size {image.shape} is not the first frame's {shape}"
                    image = None
            yield CineFrame(index, self.frame_names[index], times[index], image, problem)


def open_cine(path: str | Path, spacing_mm: float | None = None) -> Cine:
    """The loop in a file or folder, once everything that headers can tell is in order; no pixel is decoded yet.

    In a folder every file with the suffix or the signature of an image is a frame, in natural order of the names
    (`frame_2` before `frame_10`); hidden files, other files and folders inside are passed over. `spacing_mm`
    (millimetres per pixel, square) goes before what the files say. A file with one frame is a loop of one frame.

    Raises InputError (one line) for a missing, empty or unreadable file or folder, for a video file, and for a folder
    whose files differ in size or hold several frames.
    """
    path = Path(path)
    if spacing_mm is not None:
        check_spacing(spacing_mm, "spacing")
    if path.is_dir():
        return _open_folder(path, spacing_mm)
    header = read_header(path)
    digits = max(FRAME_NUMBER_DIGITS, len(str(header.frames)))
    names = tuple(f"{number:0{digits}d}" for number in range(1, header.frames + 1))
    if is_dicom(path):
        read_frames = partial(iter_dicom, path, spacing_given=spacing_mm is not None)
    elif is_volume(path):
        read_frames = partial(_iter_stack, path)
    else:
        read_frames = partial(_iter_pages, path)
    if spacing_mm is not None:
        read_frames = partial(_iter_with_spacing, read_frames, spacing_mm)
    return Cine(path.name, names, header.times_s, read_frames)


def is_cine(path: str | Path) -> bool:
    """Whether the path is a folder, or a file with more than one frame; raises InputError as `open_cine` does."""
    return Path(path).is_dir() or read_header(path).frames > 1


def natural_order(name: str) -> tuple[tuple[int, int | str], ...]:
    """Sorting key that takes runs of digits as numbers, so that `frame_2` comes before `frame_10`."""
    parts = re.split(r"([0-9]+)", name.casefold())
    return tuple((0, int(part)) if part.isdigit() else (1, part) for part in parts if part)


def _open_folder(folder: Path, spacing_mm: float | None) -> Cine:
    name = folder.name or str(folder)
    try:
        files = sorted(filter(is_frame, folder.iterdir()), key=lambda file: natural_order(file.name))
    except OSError as error:
        raise InputError(f"{name}: the folder cannot be read ({error.strerror}); check its permissions") from error
    if not files:
        raise InputError(f"{name}: the folder holds no frames; give one with images, or a multi-frame file")
    headers = {file: read_header(file) for file in files}
    first = headers[files[0]]
    for file, header in headers.items():
        if header.frames > 1:
            raise InputError(f"{file.name}: it holds {header.frames} frames itself; give it alone, not in a folder")
        if (header.rows, header.columns) != (first.rows, first.columns):
            raise InputError(
                f"{file.name}: it is {header.columns} x {header.rows} pixels, {files[0].name} {first.columns} x "
                f"{first.rows}; a folder is one cine loop, give images of different loops one by one"
            )
    stems = tuple(file.stem for file in files)
    distinct = len({stem.casefold() for stem in stems}) == len(stems)
    names = stems if distinct else tuple(file.name for file in files)
    return Cine(name, names, None, lambda: (partial(load_image, file, spacing_mm) for file in files))


def is_frame(file: Path) -> bool:
    """Whether a file in a folder is an image, told from its name or, for DICOM, its content; hidden files are not."""
    if file.name.startswith(".") or file.name.upper() == "DICOMDIR" or not file.is_file():
        return False
    return file.name.lower().endswith((*RASTER_SUFFIXES, *VOLUME_SUFFIXES)) or is_dicom(file)


def _iter_with_spacing(read_frames: Callable[[], Iterator[ReadFrame]], spacing_mm: float) -> Iterator[ReadFrame]:
    for read in read_frames():
        yield lambda read=read: with_given_spacing(read(), spacing_mm)  # type: ignore[misc]


def _iter_pages(path: Path) -> Iterator[ReadFrame]:
    from PIL import Image

    with Image.open(path, formats=PAGED_FORMATS) as picture:
        for index in range(getattr(picture, "n_frames", 1)):
            yield partial(_read_page, path, picture, index)


def _read_page(path: Path, picture: Any, index: int) -> UltrasoundImage:
    with raster_errors(path):
        picture.seek(index)
        values = raster_values(picture)
    pixels, colour, notes = to_frame(path.name, values)
    return UltrasoundImage(pixels, colour, warnings=notes)


def _iter_stack(path: Path) -> Iterator[ReadFrame]:
    stack, spacing, notes = read_stack(path)
    source = "file header" if spacing is not None else "none"

    def read(index: int) -> UltrasoundImage:
        pixels, colour, more = to_frame(path.name, stack[index])
        return UltrasoundImage(pixels, colour, spacing, source, warnings=notes + more)

    for index in range(len(stack)):
        yield partial(read, index)
