"""One image of the study, whatever its format: its grid, its frames, and the copy that annotators get.

Comes in: the path of a DICOM, PNG, JPEG, BMP, TIFF, NIfTI or NRRD file. Goes out: its `Geometry`, its frames, and an
NRRD copy for 3D Slicer. Annotators get that copy and not the file, because the same file reads differently elsewhere: a
JPEG's print density passes for a spacing, a DICOM file's region calibration is passed over, EXIF turns are ignored, and
DICOM headers name the patient. Image and label then share one grid by construction.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from llnm.case import UltrasoundImage
from llnm.errors import InputError
from llnm.files import whole_file
from llnm.imaging import load_image
from llnm.imaging.cine import Cine, open_cine
from llnm.imaging.declared import FIELD
from llnm.imaging.reading import is_volume, read_header

if TYPE_CHECKING:
    import SimpleITK as sitk  # noqa: N813

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
EIGHT_BIT = 255
MOST_PIXELS = 1 << 30
"""Of a whole loop; more than any scanner exports."""


@dataclass(frozen=True)
class Geometry:
    """The pixel grid of an image: `shape` (frames, rows, columns); the rest as ITK has it, in LPS and (x, y, frame).

    `spacing` in millimetres, 1 where nobody knows and between frames. `origin` and `direction` as the file says, or
    zero and identity.
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: tuple[float, ...] = IDENTITY

    def to_itk(self, values: npt.NDArray[np.generic], is_vector: bool = False) -> sitk.Image:
        """`values` (frame, row, column[, channel]) as an image on this grid."""
        import SimpleITK as sitk  # noqa: N813

        image = sitk.GetImageFromArray(values, isVector=is_vector)
        image.SetSpacing(self.spacing)
        image.SetOrigin(self.origin)
        image.SetDirection(self.direction)
        return image


@dataclass(frozen=True)
class SourceImage:
    """An image file and its grid. `spacing_known`: whether the spacing is somebody's knowledge or the placeholder 1."""

    path: Path
    geometry: Geometry
    spacing_known: bool

    @property
    def is_cine(self) -> bool:
        """Whether it holds more than one frame."""
        return self.geometry.shape[0] > 1

    def frame(self) -> UltrasoundImage:
        """The only frame. Raises InputError for a loop."""
        if self.is_cine:
            raise InputError(f"{self.path.name}: it is a cine loop of {self.geometry.shape[0]} frames; ask for cine")
        return load_image(self.path)

    def cine(self) -> Cine:
        """The loop (of one frame, where the file has one)."""
        return open_cine(self.path)

    def write_copy(self, out: Path) -> None:
        """Write the copy for annotators: NRRD, 8 bit where the pixels allow it, in colour where one frame has some.

        Raises InputError for a file that cannot be used.
        """
        import SimpleITK as sitk  # noqa: N813

        frame = None if self.is_cine else self.frame()
        values = self._stacked() if frame is None else _display(frame)[None]
        image = self.geometry.to_itk(values, is_vector=values.ndim == 4)
        if frame is not None:
            image.SetMetaData(FIELD, json.dumps(_known_of(frame)))
        with whole_file(out) as temporary:
            # The name tells ITK the format; the temporary one would not.
            target = temporary.with_name(f"{temporary.name}.nrrd")
            try:
                sitk.WriteImage(image, str(target), useCompression=True)
                target.replace(temporary)
            finally:
                target.unlink(missing_ok=True)

    def _stacked(self) -> npt.NDArray[np.generic]:
        values = np.zeros(self.geometry.shape, dtype=np.uint8)
        for frame in self.cine():
            if frame.image is not None:
                values[frame.index] = np.round(frame.image.pixels * EIGHT_BIT)
        return values


def open_source(path: Path) -> SourceImage:
    """The image in `path` with its grid; raises InputError for a file that cannot be used."""
    header = read_header(path)
    if header.frames * header.rows * header.columns > MOST_PIXELS:
        raise InputError(f"{path.name}: {header.frames} frames of {header.columns} x {header.rows} are too many")
    # The spacing as llnm measures with it; the middle frame stands for a loop.
    frame = load_image(path)
    known = frame.spacing_mm
    rows, columns = frame.shape
    spacing = (1.0, 1.0, 1.0) if known is None else (float(known[1]), float(known[0]), 1.0)
    geometry = Geometry((header.frames, rows, columns), spacing)
    if is_volume(path):
        geometry = _volume_geometry(path, geometry)
    return SourceImage(path, geometry, known is not None)


def _volume_geometry(path: Path, plain: Geometry) -> Geometry:
    """Spacing, origin and direction of a NIfTI, NRRD or MetaImage file, where its first two axes are the image's."""
    import SimpleITK as sitk  # noqa: N813

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    size, dimension = reader.GetSize(), reader.GetDimension()
    frames, rows, columns = plain.shape
    if dimension == 2 and size == (columns, rows):
        turn = reader.GetDirection()
        direction = (turn[0], turn[1], 0.0, turn[2], turn[3], 0.0, 0.0, 0.0, 1.0)
        return Geometry(plain.shape, (*reader.GetSpacing(), 1.0), (*reader.GetOrigin(), 0.0), direction)
    if dimension == 3 and size == (columns, rows, frames):
        return Geometry(plain.shape, reader.GetSpacing(), reader.GetOrigin(), reader.GetDirection())
    return plain


def _known_of(frame: UltrasoundImage) -> dict[str, Any]:
    """What `llnm` must know to measure on the copy as on the file (`llnm.imaging.declared`)."""
    box = frame.region
    return {
        "spacing_mm": frame.spacing_mm,
        "spacing_source": frame.spacing_source,
        "region": None if box is None else [box.top, box.left, box.bottom, box.right],
        "warnings": list(frame.warnings),
    }


def _display(frame: UltrasoundImage) -> npt.NDArray[np.generic]:
    """(row, column) uint8, or uint16 where 8 bit would lose grey levels, or (row, column, 3) uint8 colour."""
    if frame.colour is not None:
        return frame.colour
    eight = frame.pixels * EIGHT_BIT
    rounded = np.round(eight)
    if np.abs(eight - rounded).max() < 1e-3:
        return rounded.astype(np.uint8)
    return np.round(frame.pixels * 65535).astype(np.uint16)
