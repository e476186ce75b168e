"""What a DICOM ultrasound file says about the size of its pixels: the reading of `llnm`, for images in Slicer.

Comes in: the path of a DICOM file. Goes out: a `Calibration` with spacing, B-mode region and what to tell the user.
Slicer itself reads the regions where there is one and keeps the file's spacing without a word where there are several.
Only elements that describe pixels, patient's age and sex are looked at. pydicom is part of Slicer.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# PS3.3 C.8.5.5.1: a two-dimensional region of tissue, its pixel deltas in centimetres.
_TWO_DIMENSIONAL, _TISSUE, _CENTIMETRES = 1, 1, 3
_SAME_SPACING = 1e-3
_UNIT_TOLERANCE = 1e-6
_SPACING_RANGE_MM = (0.005, 2.0)
_UNKNOWN = "treated as unknown; give the spacing by hand (millimetres per pixel)"
Region = tuple[int, int, int, int]


@dataclass(frozen=True)
class Calibration:
    """Spacing (row, column) in mm or None, who says so, the B-mode region (top, left, bottom, right) or None.

    `warnings`: sentences as `llnm` has them in its results.
    """

    spacing_mm: tuple[float, float] | None = None
    source: str = "none"
    region: Region | None = None
    warnings: tuple[str, ...] = ()

    def as_json(self) -> str:
        """The value of the NRRD header field that `llnm.imaging.declared` reads, and of the volume's attribute."""
        return json.dumps(
            {
                "spacing_mm": self.spacing_mm,
                "spacing_source": self.source,
                "region": self.region,
                "warnings": self.warnings,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Calibration:
        """The reverse of `as_json`."""
        values = json.loads(text)
        spacing, region = values["spacing_mm"], values["region"]
        return cls(
            None if spacing is None else (float(spacing[0]), float(spacing[1])),
            values["spacing_source"],
            None if region is None else tuple(region),
            tuple(values["warnings"]),
        )


def is_dicom(path: Path) -> bool:
    """Whether a file has DICOM's magic word, or a DICOM name."""
    with path.open("rb") as stream:
        head = stream.read(132)
    return head[128:] == b"DICM" or path.suffix.lower() in {".dcm", ".dicom", ".ima"}


def read_header(path: Path) -> Any:
    """The data set of a DICOM file without its pixels; raises ValueError where it is none."""
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    try:
        return dcmread(path, force=True, stop_before_pixels=True)
    except (InvalidDicomError, OSError, AttributeError, EOFError, KeyError) as error:
        raise ValueError(str(error)) from error


def calibration_of(dataset: Any) -> Calibration:
    """Spacing and region of a data set, as `llnm` finds them; several regions of different spacing give neither."""
    shape = int(dataset.Rows), int(dataset.Columns)
    notes = (
        ()
        if dataset.get("Modality") == "US"
        else ("image file: its Modality is not US; results on anything but B-mode ultrasound mean nothing",)
    )
    found = _regions(dataset, shape)
    if not found:
        for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
            values = _numbers(dataset.get(keyword))
            if len(values) == 2:
                return _checked(keyword, (values[0], values[1]), f"DICOM {keyword}", None, notes)
        missing = "image file: the DICOM file has no pixel spacing; give it by hand for millimetres"
        return Calibration(warnings=(*notes, missing))
    first = found[0][1]
    pairs = [pair for _, spacing in found for pair in zip(spacing, first, strict=True)]
    if any(not math.isclose(one, other, rel_tol=_SAME_SPACING) for one, other in pairs):
        text = "image file: several B-mode regions of different spacing; none was chosen"
        return Calibration(warnings=(*notes, text))
    tops, lefts, bottoms, rights = zip(*(box for box, _ in found), strict=True)
    if len(found) > 1:
        notes = (*notes, f"image file: {len(found)} B-mode regions of equal spacing were joined")
    region = (min(tops), min(lefts), max(bottoms), max(rights))
    name = "SequenceOfUltrasoundRegions"
    return _checked(name, first, f"DICOM {name}", region, notes)


def frame_times(dataset: Any, count: int) -> list[float] | None:
    """Seconds from the first frame to each, from FrameTimeVector, FrameTime or CineRate; None where none is stated."""
    vector = _numbers(dataset.get("FrameTimeVector"))
    if len(vector) == count and min(vector) >= 0:
        sums = [sum(vector[1 : n + 1]) / 1000 for n in range(count)]
        return sums
    step = _number(dataset.get("FrameTime"))
    rate = _number(dataset.get("CineRate"))
    seconds = step / 1000 if step > 0 else 1 / rate if rate > 0 else 0.0
    return [n * seconds for n in range(count)] if seconds else None


def age_and_sex(dataset: Any) -> tuple[str, str]:
    """PatientAge in years and PatientSex (F, M) as text, "" where unknown."""
    text = str(dataset.get("PatientAge") or "")
    years = str(int(text[:-1])) if text[:-1].isdigit() and text.endswith("Y") else ""
    sex = str(dataset.get("PatientSex") or "")
    return years, sex if sex in {"F", "M"} else ""


def _checked(
    name: str, spacing: tuple[float, float], source: str, region: Region | None, notes: tuple[str, ...]
) -> Calibration:
    """The calibration, without a spacing that is a placeholder or cannot be true."""
    low, high = _SPACING_RANGE_MM
    if all(abs(value - 1) < _UNIT_TOLERANCE for value in spacing):
        text = f"image file: {name} says 1 mm per pixel, the placeholder for unknown; {_UNKNOWN}"
        return Calibration(None, "none", region, (*notes, text))
    if not all(low <= value <= high for value in spacing):
        text = f"image file: {name} is outside {low:g}-{high:g} mm per pixel; {_UNKNOWN}"
        return Calibration(None, "none", region, (*notes, text))
    return Calibration(spacing, source, region, notes)


def _regions(dataset: Any, shape: tuple[int, int]) -> list[tuple[Region, tuple[float, float]]]:
    """Each two-dimensional tissue region in centimetres: its rectangle and spacing (row, column) in mm."""
    found = []
    for item in dataset.get("SequenceOfUltrasoundRegions") or ():
        kind = (item.get("RegionSpatialFormat"), item.get("RegionDataType"))
        units = (item.get("PhysicalUnitsXDirection"), item.get("PhysicalUnitsYDirection"))
        deltas = _numbers([item.get("PhysicalDeltaY"), item.get("PhysicalDeltaX")])
        corners = _numbers([item.get("RegionLocation" + end) for end in ("MinY0", "MinX0", "MaxY1", "MaxX1")])
        if kind != (_TWO_DIMENSIONAL, _TISSUE) or units != (_CENTIMETRES, _CENTIMETRES):
            continue
        if len(deltas) != 2 or len(corners) != 4:
            continue
        top, left, bottom, right = (int(value) for value in corners)
        box = (max(top, 0), max(left, 0), min(bottom + 1, shape[0]), min(right + 1, shape[1]))
        if box[2] > box[0] and box[3] > box[1]:
            found.append((box, (abs(deltas[0]) * 10, abs(deltas[1]) * 10)))
    return found


def _number(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return 0.0
    return number if math.isfinite(number) else 0.0


def _numbers(values: Any) -> list[float]:
    """The finite numbers of a sequence; an empty list if one of its values is none."""
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError):
        return []
    return numbers if all(math.isfinite(number) for number in numbers) else []
