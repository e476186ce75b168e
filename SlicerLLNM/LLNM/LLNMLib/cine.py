"""Images of one or several frames in the scene, and masks on every frame of a cine loop.

Comes in: files; sequences of volumes. Goes out: a volume, or a sequence with a browser that shows a frame at a time; a
sequence of segmentations with the same frames in the same browser.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from LLNMLib import masks, ultrasound
from LLNMLib.dicom_regions import is_dicom, read_header
from LLNMLib.interfaces import STRUCTURES, LoadedImage, LogicError, logic_error
from LLNMLib.rasters import read_mask
from LLNMLib.transaction import Changes, transaction

_DIGITS = 4


def add_image(scene: Any, path: Path, spacing_mm: float | None) -> LoadedImage:
    """Load a file: one frame as a volume node, several as a sequence; raises LogicError."""
    frames = ultrasound.read_frames(path)
    name = path.name.split(".")[0] or path.name
    with transaction(scene) as changes:
        if len(frames.values) == 1:
            node = volume = changes.add(ultrasound.placed_volume(frames, 0, name))
            volume.CreateDefaultDisplayNodes()
            changes.added_along(volume.GetDisplayNode())
            if spacing_mm is not None:
                ultrasound.set_spacing(volume, spacing_mm)
        else:
            node = _add_sequence(changes, frames, name, spacing_mm)
    if spacing_mm is None:
        return ultrasound.loaded(node, frames.calibration, name)
    by_hand = replace(frames.calibration, spacing_mm=(spacing_mm, spacing_mm), source="given by hand")
    return ultrasound.loaded(node, by_hand, name)


def add_study(scene: Any, folder: Path) -> list[LoadedImage]:
    """Load every ultrasound image of a folder of DICOM files; raises LogicError if there is none."""
    ordered, notes = [], []
    files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
    for path in files:
        try:
            if path.name.upper() == "DICOMDIR" or not is_dicom(path):
                continue
            header = read_header(path)
        except (OSError, ValueError):
            continue
        if header.get("Modality") == "US" and header.get("Rows"):
            numbers = [int(header.get(word) or 0) for word in ("SeriesNumber", "InstanceNumber")]
            ordered.append((numbers, str(path), path))
    found = []
    for _, _, path in sorted(ordered):
        try:
            found.append(add_image(scene, path, None))
        except LogicError as error:
            notes.append(str(error))
    if not found:
        why = notes[0] if notes else f"{folder}: holds no DICOM ultrasound image"
        raise logic_error("InputError", why.split("; ")[0], "choose the folder of an ultrasound study")
    found[0] = replace(found[0], notes=(*found[0].notes, *notes))
    return found


def check(sequence: Any, structure: str) -> None:
    """Raises LogicError unless `sequence` is one of single-frame volumes of one size and `structure` is known."""
    if structure not in STRUCTURES:
        raise logic_error("InputError", f"structure: {structure!r} is not known", f"choose {' or '.join(STRUCTURES)}")
    if sequence is None or not sequence.IsA("vtkMRMLSequenceNode") or sequence.GetNumberOfDataNodes() == 0:
        text = f"{ultrasound.name_of(sequence)}: it is no sequence of images"
        raise logic_error("InputError", text, "load a multi-frame file with this module")
    shapes = {ultrasound.pixels_of(volume).shape for volume in _volumes(sequence)}
    if len(shapes) > 1:
        text = f"{ultrasound.name_of(sequence)}: its frames differ in size"
        raise logic_error("InputError", text, "give a loop of equal frames")


def segment_command(python: Path, sequence: Any, structure: str, scratch: Path) -> list[str]:
    """`llnm segment` for the frames of a sequence, its masks in `scratch/masks/loop`."""
    volumes = _volumes(sequence)
    stack, spacing = np.stack([ultrasound.pixels_of(volume) for volume in volumes]), ultrasound.spacing_of(volumes[0])
    ultrasound.write_nrrd(scratch / "loop.nrrd", stack, spacing)
    files = ["--out", str(scratch / "masks"), "--structure", structure]
    return [str(python), "-m", "llnm", "segment", str(scratch / "loop.nrrd"), *files, "--progress", "json"]


def put_masks(scene: Any, sequence: Any, structure: str, folder: Path) -> list[str]:
    """Add a sequence of segmentations to the browser of `sequence`, and show the proposed frame; gives sentences.

    A frame that could not be used has an empty segmentation. Raises LogicError where the masks are not whole.
    """
    try:
        entry = json.loads((folder / "segment.json").read_text(encoding="utf-8"))["cines"][0]
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise logic_error("Failed", f"{folder}: holds no whole result", "run again") from error
    found = [read_mask(file) if file.is_file() else None for file in _mask_files(folder / entry["folder"], sequence)]
    drawn = masks.new_sequence(sequence, structure, found, f"{sequence.GetName()} {structure} masks")
    with transaction(scene) as changes:
        for old in _earlier(scene, sequence, structure):
            changes.remove_later(old)
        changes.add(drawn)
        browser = browser_of(scene, sequence)
        if browser is None:
            browser = changes.add(slicer.vtkMRMLSequenceBrowserNode())
            browser.SetName(f"{sequence.GetName()} browser")
            browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
        browser.AddSynchronizedSequenceNode(drawn)
        if entry["proposed_frame"] is not None:
            browser.SetSelectedItemNumber(int(entry["proposed_frame"]["index"]))
        slicer.vtkSlicerSequencesLogic().UpdateProxyNodesFromSequences(browser)
        browser.GetProxyNode(drawn).CreateDefaultDisplayNodes()
    return _sentences(entry)


def browser_of(scene: Any, sequence: Any) -> Any | None:
    """The browser that shows a sequence, or None."""
    for number in range(scene.GetNumberOfNodesByClass("vtkMRMLSequenceBrowserNode")):
        browser = scene.GetNthNodeByClass(number, "vtkMRMLSequenceBrowserNode")
        if browser.IsSynchronizedSequenceNode(sequence, True):
            return browser
    return None


def _add_sequence(changes: Changes, frames: ultrasound.Frames, name: str, spacing_mm: float | None) -> Any:
    sequence = slicer.vtkMRMLSequenceNode()
    sequence.SetName(name)
    sequence.SetIndexName("time" if frames.times else "frame")
    sequence.SetIndexUnit("s" if frames.times else "")
    sequence.SetIndexTypeToNumeric() if hasattr(sequence, "SetIndexTypeToNumeric") else sequence.SetIndexType(0)
    changes.add(sequence)
    for index in range(len(frames.values)):
        volume = ultrasound.placed_volume(frames, index, name)
        if spacing_mm is not None:
            ultrasound.set_spacing(volume, spacing_mm)
        value = f"{frames.times[index]:.4f}" if frames.times else f"{index + 1:0{_DIGITS}d}"
        sequence.SetDataNodeAtValue(volume, value)
    browser = slicer.vtkMRMLSequenceBrowserNode()
    browser.SetName(f"{name} browser")
    changes.add(browser)
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    slicer.vtkSlicerSequencesLogic().UpdateProxyNodesFromSequences(browser)
    proxy = browser.GetProxyNode(sequence)
    changes.added_along(proxy)
    changes.added_along(proxy.GetDisplayNode())
    return sequence


def _volumes(sequence: Any) -> list[Any]:
    return [sequence.GetNthDataNode(number) for number in range(sequence.GetNumberOfDataNodes())]


def _mask_files(folder: Path, sequence: Any) -> list[Path]:
    count = sequence.GetNumberOfDataNodes()
    digits = max(_DIGITS, len(str(count)))
    return [folder / f"{number:0{digits}d}.png" for number in range(1, count + 1)]


def _earlier(scene: Any, sequence: Any, structure: str) -> list[Any]:
    """Masks of this structure that an earlier run has put beside the sequence."""
    found = []
    for number in range(scene.GetNumberOfNodesByClass("vtkMRMLSequenceNode")):
        node = scene.GetNthNodeByClass(number, "vtkMRMLSequenceNode")
        if node.GetAttribute(masks.OF_SEQUENCE) == f"{sequence.GetID()} {structure}":
            browser = browser_of(scene, node)
            proxy = browser.GetProxyNode(node) if browser is not None else None
            found += [part for part in (proxy, node) if part is not None]
    return found


def _sentences(entry: Mapping[str, Any]) -> list[str]:
    proposed, structure = entry["proposed_frame"], entry["structure"]
    lines = [f"No {structure} was found in {entry['frames']} frames."]
    if proposed is not None:
        lines = [
            f"{structure}: largest confident section in frame {proposed['index'] + 1} of {entry['frames']} "
            f"(mean probability {proposed['mean_probability']:.2f})."
        ]
    lines += [f"Frame {row['frame']}: {row['problem']}." for row in entry["problems"]]
    return [*lines, *(f"Warning: {text}." for text in entry["warnings"])]
