"""Label maps: what clients send is checked and brought to one form, and what is stored never loses a pixel.

Comes in: a label file of any lossless format on the image's grid. Goes out: (frame, row, column) uint8 with the values
of `configs.LABELS`, stored as `.seg.nrrd` with names, colours and SNOMED CT codes, which 3D Slicer opens as a
segmentation. The record of a label (who, when, what was drawn) travels in the same file's header: both are replaced in
one step or not at all.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from lib.configs import LABELS, STRUCTURES, TISSUE
from lib.images.frames import Geometry
from scipy import ndimage

from llnm.case import Mask, Structure
from llnm.errors import InputError

RASTER = (".png", ".bmp", ".tif", ".tiff")
VOLUMES = (".nrrd", ".nii", ".nii.gz", ".mha")
SUFFIX = ".seg.nrrd"
RECORD = "LLNM_record"
SAME_DIRECTION = 1e-3
LabelArray = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class LabelMap:
    """`values`: (frame, row, column) uint8. `structures`: those that were drawn, also where nothing was found.

    A structure that is not among them was not looked at: its absence says nothing.
    """

    values: LabelArray
    structures: tuple[Structure, ...]
    record: Mapping[str, Any] = field(default_factory=dict)


def label_names(values: LabelArray) -> dict[str, int]:
    """The labels that occur, by value: what a client needs to name segments rightly where one is absent."""
    found = set(np.unique(values).tolist())
    return {name: label.value for name, label in LABELS.items() if label.value in found}


def structure_mask(label: LabelMap, structure: Structure) -> Mask:
    """(frame, row, column) bool of one structure.

    A nodule is part of the gland that it lies in: where both were drawn, each nodule that touches the gland belongs to
    the gland's mask, since one label map holds one value a pixel.
    """
    own = label.values == LABELS[structure].value
    if structure != "gland" or "nodule" not in label.structures:
        return own
    parts, _ = ndimage.label(
        label.values > 0, structure=np.stack([np.zeros((3, 3)), np.ones((3, 3)), np.zeros((3, 3))])
    )
    return np.isin(parts, np.unique(parts[own])) & (parts > 0)


def read_label(
    path: Path,
    geometry: Geometry,
    label_info: Sequence[Mapping[str, Any]] | None = None,
    structures: Sequence[str] | None = None,
    asked: Sequence[str] = (),
) -> LabelMap:
    """A label from a client on the grid of its image.

    `label_info`: `[{"name": "nodule", "idx": 1}, ...]` as 3D Slicer's plugin sends it; without it, values are those of
    `configs.LABELS`. `structures`: what was drawn; else the labels that occur, and of those that `label_info` names
    what the annotator was `asked` for (the plugin always names all there are, drawn or not).

    Raises InputError for a format that is lossy or unknown, another size or orientation, and values that no label has.
    """
    name = path.name.lower()
    if name.endswith(VOLUMES):
        values, segments = _read_volume(path, geometry)
        label_info = label_info or segments
    elif name.endswith(RASTER):
        values = _read_raster(path)
    else:
        raise InputError("label: its format is lossy or not known; send .nrrd, .nii.gz, .nii, .mha or .png")
    if values.shape != geometry.shape:
        got, wanted = (" x ".join(map(str, shape[::-1])) for shape in (values.shape, geometry.shape))
        raise InputError(f"label: it is {got} pixels, the image {wanted}; draw it on the same image")
    return _in_our_values(values, label_info, structures, asked)


def _in_our_values(
    values: npt.NDArray[np.generic],
    label_info: Sequence[Mapping[str, Any]] | None,
    structures: Sequence[str] | None,
    asked: Sequence[str],
) -> LabelMap:
    mapping = _mapping(label_info) if label_info else {label.value: label.value for label in LABELS.values()}
    present = [value for value in np.unique(values).tolist() if value != 0]
    if set(present) == {255} and len(mapping) == 1:
        mapping = {255: next(iter(mapping.values()))}
    unknown = [value for value in present if value not in mapping]
    if unknown:
        raise InputError(f"label: value {unknown[0]:g} is no label; use {_known()}, or say in label_info what it is")
    out = np.zeros(values.shape, dtype=np.uint8)
    for value, ours in mapping.items():
        out[values == value] = ours
    occurring = label_names(out)
    if structures is None:
        meant = {name for name in asked if label_info and LABELS[cast("Structure", name)].value in mapping.values()}
        structures = [*occurring, *meant]
    wrong = [name for name in structures if name not in STRUCTURES]
    if wrong:
        raise InputError(f"structures: {wrong[0]!r} is not known; choose from {', '.join(STRUCTURES)}")
    missing = [name for name in occurring if name not in structures]
    if missing:
        raise InputError(f"structures: {missing[0]} is drawn but not named; name everything that was drawn")
    if not structures:
        raise InputError("label: it is empty and does not say what was looked for; send structures")
    return LabelMap(out, tuple(name for name in STRUCTURES if name in structures))


def _mapping(label_info: Sequence[Mapping[str, Any]]) -> dict[int, int]:
    mapping: dict[int, int] = {}
    for entry in label_info:
        name, value = (entry.get("name"), entry.get("idx")) if isinstance(entry, Mapping) else (None, None)
        if not isinstance(name, str) or isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 256:
            raise InputError('label_info: give a list such as [{"name": "nodule", "idx": 1}]')
        structure = name.strip().lower()
        if structure not in LABELS:
            raise InputError(f"label_info: {name!r} is not known; choose from {', '.join(STRUCTURES)}")
        mapping[value] = LABELS[structure].value
    return mapping


def _known() -> str:
    return ", ".join(f"{label.value} for {name}" for name, label in LABELS.items())


def _read_raster(path: Path) -> npt.NDArray[np.generic]:
    from PIL import Image

    from llnm.imaging.reading import RASTER_FORMATS, raster_errors

    with raster_errors(path), Image.open(path, formats=[name for name in RASTER_FORMATS if name != "JPEG"]) as picture:
        if getattr(picture, "n_frames", 1) > 1 or picture.mode not in {"1", "L", "P", "I", "I;16"}:
            raise InputError("label: a raster label must be one grey page; send .nrrd for anything else")
        values = np.asarray(picture)
    return values.astype(np.int32)[None]


def _read_volume(path: Path, geometry: Geometry) -> tuple[npt.NDArray[np.generic], list[dict[str, Any]]]:
    """Values and, from a segmentation of 3D Slicer, what they mean; sizes are checked before any pixel is unpacked."""
    import SimpleITK as sitk  # noqa: N813

    from llnm.imaging.reading import _volume_errors

    with _volume_errors("label"):
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
        size = [*reader.GetSize(), 1]
        frames, rows, columns = geometry.shape
        dimension, components = reader.GetDimension(), reader.GetNumberOfComponents()
        if dimension not in (2, 3) or tuple(size[:3]) != (columns, rows, frames) or components > len(LABELS):
            given = " x ".join(map(str, reader.GetSize()))
            raise InputError(
                f"label: it is {given} pixels of {components} layers, the image {columns} x {rows} x {frames}; "
                "draw it on the same image"
            )
        _check_direction(reader, geometry)
        segments = _slicer_segments({key: reader.GetMetaData(key) for key in reader.GetMetaDataKeys()})
        values = sitk.GetArrayFromImage(reader.Execute())
    values = values.reshape(*geometry.shape, components)
    if values.dtype.kind == "f":
        if not np.array_equal(values, np.round(values)):
            raise InputError("label: its values are no whole numbers; send a label map")
        values = values.astype(np.int32)
    if components == 1:
        return values[..., 0], segments
    return _flattened(values, segments)


def _check_direction(reader: Any, geometry: Geometry) -> None:
    """Raises InputError where the label's axes point elsewhere than the image's."""
    dimension = reader.GetDimension()
    theirs = np.reshape(reader.GetDirection(), (dimension, dimension))[:2, :2]
    ours = np.reshape(geometry.direction, (3, 3))[:2, :2]
    if not np.allclose(theirs, ours, atol=SAME_DIRECTION):
        raise InputError(
            "label: its axes point elsewhere than the image's; draw it on the image as the server gives it"
        )


def _slicer_segments(header: Mapping[str, str]) -> list[dict[str, Any]]:
    """`label_info` from the header of a `.seg.nrrd` file, with the layer of each segment."""
    segments = []
    for key, name in header.items():
        if match := re.fullmatch(r"Segment(\d+)_Name", key):
            number = match.group(1)
            value, layer = header.get(f"Segment{number}_LabelValue", ""), header.get(f"Segment{number}_Layer", "0")
            if value.isdigit() and layer.isdigit():
                segments.append({"name": name, "idx": int(value), "layer": int(layer)})
    return segments


def _flattened(
    values: npt.NDArray[np.generic], segments: list[dict[str, Any]]
) -> tuple[npt.NDArray[np.generic], list[dict[str, Any]]]:
    """One layer out of several: the nodule goes before the gland that it lies in."""
    out = np.zeros(values.shape[:-1], dtype=np.uint8)
    by_name = {segment["name"].strip().lower(): segment for segment in segments}
    for name in reversed(STRUCTURES):
        if name in by_name and by_name[name]["layer"] < values.shape[-1]:
            layer, value = by_name[name]["layer"], by_name[name]["idx"]
            out[values[..., layer] == value] = LABELS[name].value
    return out, [{"name": name, "idx": LABELS[name].value} for name in STRUCTURES if name in by_name]


def write_label(path: Path, label: LabelMap, geometry: Geometry) -> None:
    """Write a label map on its image's grid to `path` (NRRD), and force it to the disk."""
    import SimpleITK as sitk  # noqa: N813

    image = geometry.to_itk(label.values)
    for key, value in segment_header(label.structures).items():
        image.SetMetaData(key, value)
    image.SetMetaData(RECORD, json.dumps({**label.record, "structures": list(label.structures)}))
    sitk.WriteImage(image, str(path), useCompression=True)
    with path.open("rb") as file:
        os.fsync(file.fileno())


def segment_header(structures: Sequence[Structure]) -> dict[str, str]:
    """What 3D Slicer reads about each segment: name, value, colour and terminology."""
    header: dict[str, str] = {}
    for number, name in enumerate(structures):
        label = LABELS[name]
        header |= {
            f"Segment{number}_ID": name,
            f"Segment{number}_Name": name,
            f"Segment{number}_LabelValue": str(label.value),
            f"Segment{number}_Layer": "0",
            f"Segment{number}_Color": " ".join(f"{part:g}" for part in label.colour),
            f"Segment{number}_Tags": (
                "TerminologyEntry:Segmentation category and type - DICOM master list"
                f"~SCT^{TISSUE[0]}^{TISSUE[1]}~SCT^{label.code}^{label.meaning}~^^~Anatomic codes - DICOM master list"
                "~^^~^^|"
            ),
        }
    return header


def read_stored(path: Path) -> LabelMap:
    """A label that `write_label` wrote, with its record."""
    import SimpleITK as sitk  # noqa: N813

    image = sitk.ReadImage(str(path))
    record = json.loads(image.GetMetaData(RECORD))
    structures = tuple(name for name in STRUCTURES if name in record.get("structures", ()))
    return LabelMap(sitk.GetArrayFromImage(image).astype(np.uint8), structures, record)


def read_record(path: Path) -> dict[str, Any]:
    """The record of a stored label; its pixels are left in the file. Empty for a file that somebody else put there."""
    import SimpleITK as sitk  # noqa: N813

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        return dict(json.loads(reader.GetMetaData(RECORD))) if reader.HasMetaDataKey(RECORD) else {}
    except (RuntimeError, ValueError):
        return {}
