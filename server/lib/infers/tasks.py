"""MONAILabel's infer tasks around `llnm.segmentation.segment`: the same masks as `llnm segment`, pixel by pixel.

Comes in: a request with a `SourceImage` under `source`. Goes out: (a temporary `.nrrd` file, parameters). Where one
label map holds nodule and gland, the nodule goes before the gland it lies in. A loop of several frames is always
segmented as `llnm segment` does with a loop: its main object, frame by frame.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from lib.configs import ABOUT, LABELS, STRUCTURES
from lib.images import LabelMap, SourceImage, label_names
from lib.images.labels import LabelArray, write_label
from lib.infers.loops import segment_loop
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

from llnm.case import Mask, Structure
from llnm.errors import InputError
from llnm.segmentation import Segmentation, segment
from llnm.weights import file_sha256, weights_file

Point = tuple[float, float]
Box = tuple[float, float, float, float]
FindWeights = Callable[[Structure], Path | None]
"""Gives the weights that the team's labels have improved, or None where the shipped ones are in use."""
MOST_POINTS = 64


class _Task(InferTask):
    """What all tasks share: weights that can change while the server runs, and the form of an answer."""

    def __init__(
        self, kind: InferType, structures: Sequence[Structure], description: str, find_weights: FindWeights
    ) -> None:
        self.structures = tuple(structures)
        labels = {name: LABELS[name].value for name in self.structures}
        super().__init__(kind, labels, 2, description, config={})
        self.find_weights = find_weights

    def is_valid(self) -> bool:
        """All weights ship with the project."""
        return True

    def get_path(self, validate: bool = True) -> str:
        """File of the weights in use (of the first structure)."""
        return str(self._weights(self.structures[0]))

    def info(self) -> dict[str, Any]:
        """As MONAILabel's clients expect it, with the weights in use."""
        weights = {name: {"sha256": file_sha256(self._weights(name))} for name in self.structures}
        return {**super().info(), "weights": weights, "notice": ABOUT}

    def _weights(self, structure: Structure) -> Path:
        return self.find_weights(structure) or weights_file(structure)

    def __call__(self, request: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Segment; the caller removes the file. Raises InputError for a request that cannot be fulfilled."""
        source: SourceImage = request["source"]
        values, found = self.find(source, request)
        structures = tuple(name for name in self.structures if name in found)
        label = LabelMap(values, structures, {"model": request.get("model", ""), "notice": ABOUT})
        with tempfile.NamedTemporaryFile(suffix=".nrrd", delete=False) as file:
            path = Path(file.name)
        write_label(path, label, source.geometry)
        return str(path), {"label_names": label_names(values), "found": found, "notice": ABOUT}

    def find(self, source: SourceImage, request: Mapping[str, Any]) -> tuple[LabelArray, dict[str, Any]]:
        """(frame, row, column) label values, and what is said of each structure that was looked for."""
        raise NotImplementedError


class StructureTask(_Task):
    """All nodules, or the gland, or both in one label map."""

    def find(self, source: SourceImage, request: Mapping[str, Any]) -> tuple[LabelArray, dict[str, Any]]:
        """See `_Task.find`."""
        if source.is_cine:
            return find_in_loop(source, self.structures, self._weights)
        frame = source.frame()
        found = {name: segment(frame, name, weights=self._weights(name)) for name in self.structures}
        values = overlaid({name: result.mask[None] for name, result in found.items()}, source.geometry.shape)
        return values, {name: summary(result) for name, result in found.items()}


class CineTask(_Task):
    """The main nodule (or the gland: `label`) through a loop, frame by frame, and the section to use as the view."""

    def find(self, source: SourceImage, request: Mapping[str, Any]) -> tuple[LabelArray, dict[str, Any]]:
        """See `_Task.find`."""
        return find_in_loop(source, (_asked(request),), self._weights)


class InteractiveTask(_Task):
    """The nodule (or gland) at a click or in a box.

    Takes `point` [x, y] or `box` [x0, y0, x1, y1], or what 3D Slicer's plugin sends: `foreground` [[x, y, z], ...] and
    `roi` [x0, x1, y0, y1, z0, z1]. Several clicks give the union of what lies at each.
    """

    def find(self, source: SourceImage, request: Mapping[str, Any]) -> tuple[LabelArray, dict[str, Any]]:
        """See `_Task.find`."""
        frame, structure = source.frame(), _asked(request)
        weights = self._weights(structure)
        points, box = read_points(request), read_box(request)
        if box is None and not points:
            raise InputError("point, box: none given; click into the nodule or draw a box around it")
        guides: list[dict[str, Any]] = [{"point": point} for point in points] or [{}]
        found = [segment(frame, structure, weights=weights, box=box, **guide) for guide in guides]
        mask = np.logical_or.reduce([result.mask for result in found])
        about = summary(found[-1])
        if request.get("background"):
            about["warnings"].append("background clicks are not used; correct the outline by hand")
        return overlaid({structure: mask[None]}, source.geometry.shape), {structure: about}


def find_in_loop(
    source: SourceImage, structures: Sequence[Structure], weights: Callable[[Structure], Path]
) -> tuple[LabelArray, dict[str, Any]]:
    """Label values and what is said of the main object of each structure in a loop."""
    masks: dict[Structure, Mask] = {}
    found: dict[str, Any] = {}
    for name in structures:
        masks[name], found[name] = segment_loop(source, name, weights(name))
    return overlaid(masks, source.geometry.shape), found


def overlaid(masks: Mapping[Structure, Mask], shape: tuple[int, int, int]) -> LabelArray:
    """One label map of several masks; the nodule lies on top."""
    values = np.zeros(shape, dtype=np.uint8)
    for name in reversed(STRUCTURES):
        if name in masks:
            values[masks[name]] = LABELS[name].value
    return values


def summary(result: Segmentation) -> dict[str, Any]:
    """What `segment.json` says of a mask."""
    check = result.distribution
    return {
        "found": result.found,
        "area_px": int(result.mask.sum()),
        "mean_probability": round(result.mean_probability, 4),
        "mean_uncertainty": round(result.mean_uncertainty, 4),
        "expected_dice": None if result.expected_dice is None else round(result.expected_dice, 3),
        "candidates": len(result.candidates),
        "out_of_distribution": None if check is None else round(check.score, 4),
        "warnings": [] if check is None else list(check.warnings),
    }


def _asked(request: Mapping[str, Any]) -> Structure:
    """The structure that a client means by `label`; the nodule where it does not say."""
    name = request.get("label") or "nodule"
    if name not in STRUCTURES:
        raise InputError(f"label: {name!r} is not known; choose from {', '.join(STRUCTURES)}")
    return cast("Structure", name)


def read_points(request: Mapping[str, Any]) -> list[Point]:
    """Clicks as (x, y); raises InputError for anything that is none."""
    clicks = request.get("foreground") or []
    if request.get("point") is not None:
        clicks = [request["point"]]
    if not isinstance(clicks, list | tuple) or len(clicks) > MOST_POINTS:
        raise InputError(f"foreground: give a list of at most {MOST_POINTS} points")
    return [(values[0], values[1]) for values in (_numbers(click, "point", (2, 3)) for click in clicks)]


def read_box(request: Mapping[str, Any]) -> Box | None:
    """The box as (x0, y0, x1, y1); raises InputError for anything that is none."""
    if request.get("box") is not None:
        x0, y0, x1, y1 = _numbers(request["box"], "box", (4,))
    elif request.get("roi"):
        x0, x1, y0, y1 = _numbers(request["roi"], "roi", (4, 6))[:4]
    else:
        return None
    return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)


def _numbers(values: Any, name: str, lengths: tuple[int, ...]) -> list[float]:
    plain = isinstance(values, list | tuple) and len(values) in lengths
    if not plain or not all(isinstance(value, int | float) and math.isfinite(value) for value in values):
        raise InputError(f"{name}: {' or '.join(map(str, lengths))} numbers are expected, in pixels")
    return [float(value) for value in values]


def build_tasks(models: Sequence[str], find_weights: FindWeights) -> dict[str, InferTask]:
    """The tasks behind the names of `configs.MODELS`."""
    both: tuple[Structure, ...] = STRUCTURES
    tasks: dict[str, Callable[[], InferTask]] = {
        "nodule": lambda: StructureTask(InferType.SEGMENTATION, ("nodule",), "All nodules", find_weights),
        "gland": lambda: StructureTask(InferType.SEGMENTATION, ("gland",), "The thyroid gland", find_weights),
        "joint": lambda: StructureTask(
            InferType.SEGMENTATION, both, "Nodules and gland in one label map", find_weights
        ),
        "interactive": lambda: InteractiveTask(
            InferType.DEEPGROW, both, "The nodule at a click or in a box", find_weights
        ),
        "cine": lambda: CineTask(InferType.SEGMENTATION, both, "The main nodule through a cine loop", find_weights),
    }
    return {name: tasks[name]() for name in models}
