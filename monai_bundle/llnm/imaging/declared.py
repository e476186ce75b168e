"""What a NRRD file hands on of the file that its frame was first read from.

Comes in: a NRRD file with the field `llnm` in its header, as 3D Slicer's module writes it for a frame of its scene.
Goes out: spacing, B-mode region and warnings of the original file, so that the frame gives the result of that file.
The field is a JSON object: `spacing_mm` ([row, column] or null), `spacing_source`, `region` ([top, left, bottom, right]
or null), `warnings` (list of sentences).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llnm.case import Box, ColourImage, GreyImage, Spacing, UltrasoundImage
from llnm.errors import InputError

FIELD = "llnm"


@dataclass(frozen=True)
class Declared:
    """What an earlier reader knew of a frame; the fields are those of `UltrasoundImage`."""

    spacing_mm: Spacing | None
    spacing_source: str
    region: Box | None
    warnings: tuple[str, ...]

    def of(self, pixels: GreyImage, colour: ColourImage | None, warnings: tuple[str, ...]) -> UltrasoundImage:
        """The frame with these values; `warnings`: more of them, from its pixels."""
        return UltrasoundImage(
            pixels, colour, self.spacing_mm, self.spacing_source, self.region, (*self.warnings, *warnings)
        )


def declared_in(path: Path, shape: tuple[int, int]) -> Declared | None:
    """What the header of a volume file hands on for its frame of `shape`; None where there is no such field.

    Raises InputError for a field that cannot be understood or does not fit the frame.
    """
    import SimpleITK as sitk  # noqa: N813 - kept out of `import llnm`

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    if not reader.HasMetaDataKey(FIELD):
        return None
    try:
        return _declared(json.loads(reader.GetMetaData(FIELD)), shape)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path.name}: its header field {FIELD!r} cannot be used; write the file again") from error


def _declared(values: dict[str, Any], shape: tuple[int, int]) -> Declared:
    spacing, region = values["spacing_mm"], values["region"]
    if spacing is not None:
        row, column = map(float, spacing)
        spacing = (row, column)
    if region is not None:
        top, left, bottom, right = map(int, region)
        if not (0 <= top < bottom <= shape[0] and 0 <= left < right <= shape[1]):
            raise ValueError(region)
        region = Box(top, left, bottom, right)
    return Declared(spacing, str(values["spacing_source"]), region, tuple(map(str, values["warnings"])))
