"""Finds annotated images in a folder, and turns them into what a segmentation network is trained on.

Comes in: folders with `images/` and `<structure>/` (masks with equal stems) and, if there is one, a table that says
which images belong to one patient (`cases.csv`, `frames.csv` or `images.csv`). Goes out: items split by patient,
never by image, and the MONAI dictionary transforms that load them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from monai.config import KeysCollection
from monai.transforms import (
    Compose,
    EnsureTyped,
    Lambdad,
    MapTransform,
    Resize,
    SpatialPadd,
    Transform,
)
from monai.utils import ensure_tuple

from llnm.case import PLANES, Structure
from llnm.errors import InputError
from llnm.imaging import load_image, load_mask, prepare
from llnm.segmentation.networks import CANVAS, fitted_size
from llnm.simulate import simulate_view

# A table of this name, with this column, says which images belong together.
GROUP_COLUMNS = {"cases.csv": "case", "frames.csv": "sweep", "images.csv": "image"}
# A column of this name in such a table, if there is one, tells scanners of one folder apart.
SCANNER_COLUMN = "scanner"
# Cached images are larger than the network's side, so that zooming in during augmentation keeps detail.
CACHE_MARGIN = 4 / 3


@dataclass(frozen=True)
class Item:
    """One annotated image: its files, its source and the patient, case or sweep it belongs to.

    The source is the folder's name, with the scanner behind it where the folder's table knows it ("sweeps A").
    """

    image: Path
    label: Path
    source: str
    group: str


def find_items(folder: Path, structure: Structure) -> list[Item]:
    """All images of `folder` that have a mask of `structure`.

    Raises InputError if the folder is not laid out as this module's docstring says or holds no such pair.
    """
    masks = {path.stem: path for path in sorted((folder / structure).glob("*")) if path.is_file()}
    images = [path for path in sorted((folder / "images").glob("*")) if path.stem in masks]
    if not images:
        raise InputError(f"{folder}: no image in images/ has a mask in {structure}/; equal file stems are expected")
    table = _table(folder)
    known = [_about(table, path.stem) for path in images]
    return [
        Item(path, masks[path.stem], f"{folder.name} {scanner}".strip(), group)
        for path, (group, scanner) in zip(images, known, strict=True)
    ]


def _table(folder: Path) -> pd.DataFrame:
    """Columns `group` and `scanner` by image; without any row where the folder has no table."""
    for name, column in GROUP_COLUMNS.items():
        if (folder / name).is_file():
            table = pd.read_csv(folder / name, dtype=str)
            scanner = table[SCANNER_COLUMN].fillna("") if SCANNER_COLUMN in table else ""
            return pd.DataFrame({"group": table[column], "scanner": scanner}).set_axis(table["image"])
    return pd.DataFrame({"group": [], "scanner": []})


def _about(table: pd.DataFrame, image: str) -> tuple[str, str]:
    """Group and scanner of an image; an image that no table names is a group of its own."""
    if image not in table.index:
        return image, ""
    return str(table.at[image, "group"]), str(table.at[image, "scanner"])


def thin_out(items: Sequence[Item], most: int) -> list[Item]:
    """At most `most` images of each patient or sweep: neighbours in a sweep are much alike.

    Each stands for an equal part of the sweep and lies in its middle; the ends, where a nodule is just coming into
    view, count no more than they do among all frames.
    """
    by_group: dict[tuple[str, str], list[Item]] = {}
    for item in items:
        by_group.setdefault((item.source, item.group), []).append(item)
    return [
        group[int((part + 0.5) * len(group) / min(most, len(group)))]
        for group in by_group.values()
        for part in range(min(most, len(group)))
    ]


def split_by_group(items: Sequence[Item], fold: int, folds: int, seed: int = 0) -> tuple[list[Item], list[Item]]:
    """(training, held back): fold `fold` of `folds` of the patients, shuffled by `seed`; a patient is never in both."""
    groups = sorted({(item.source, item.group) for item in items})
    order = np.random.default_rng(seed).permutation(len(groups))
    held = {groups[index] for position, index in enumerate(order) if position % folds == fold}
    training = [item for item in items if (item.source, item.group) not in held]
    return training, [item for item in items if (item.source, item.group) in held]


@dataclass(frozen=True)
class HeldBack:
    """What training must not see: fold `fold` of `folds` of the patients, or all of a source (a scanner never seen).

    `folds` of 1 holds nothing back.
    """

    fold: int = 0
    folds: int = 5
    source: str = ""

    def split(self, items: list[Item]) -> tuple[list[Item], list[Item]]:
        """(training, held back). Raises InputError for a fold or a source that does not exist."""
        if self.source:
            sources = {item.source for item in items}
            if self.source not in sources:
                known = ", ".join(sorted(sources))
                raise InputError(f"hold-out: no source is called {self.source!r}; choose from {known}")
            held = [item for item in items if item.source == self.source]
            return [item for item in items if item.source != self.source], held
        if not 0 <= self.fold < self.folds:
            raise InputError(f"fold: {self.fold} is not one of the {self.folds} folds 0 to {self.folds - 1}")
        return (items, []) if self.folds == 1 else split_by_group(items, self.fold, self.folds)


def training_split(
    folders: str | Sequence[str],
    structure: Structure,
    *,
    simulated: int = 0,
    held_back: HeldBack | None = None,
    images_per_patient: int = 0,
    validation_share: float = 0.0,
    seed: int = 0,
) -> dict[str, list[dict[str, Any]]]:
    """Samples for `training`, for `validation` (to stop by) and `held_back` (touched by nothing but the last figure).

    `folders`: one annotated folder or several.
    `held_back` is fold 0 of 5 by default. `images_per_patient` of 0 takes all. Validation is a share of the patients
    that are not held back. A simulated view is its seed. Raises InputError for a fold or a source that does not exist
    and where nothing is left to train on.
    """
    training, tested = (held_back or HeldBack()).split(_gather(folders, structure, images_per_patient))
    validation: list[Item] = []
    if validation_share > 0 and training:
        training, validation = split_by_group(training, 0, round(1 / validation_share), seed + 1)
    samples: list[dict[str, Any]] = [{"item": item} for item in training]
    samples += [{"seed": seed * 1_000_003 + index} for index in range(simulated)]
    if not samples:
        raise InputError("data: nothing to train on; give an annotated folder or a number of simulated views")
    return {
        "training": samples,
        "validation": [{"item": item} for item in validation],
        "held_back": [{"item": item} for item in tested],
    }


def evaluation_samples(
    folders: str | Sequence[str], structure: Structure, held_back: HeldBack, *, images_per_patient: int = 0
) -> list[dict[str, str]]:
    """`image` and `label` (paths) of what a training with the same `held_back` did not see.

    Where that holds nothing back (`folds` of 1) all of the `folders` are meant. Raises InputError as `training_split`,
    and where no folder is given.
    """
    rest, items = held_back.split(_gather(folders, structure, images_per_patient))
    items = items or rest
    if not items:
        raise InputError("dataset_dir: nothing to measure on; give an annotated folder")
    return [{"image": str(item.image), "label": str(item.label)} for item in items]


def _gather(folders: str | Sequence[str], structure: Structure, images_per_patient: int) -> list[Item]:
    items = [item for folder in ensure_tuple(folders) for item in find_items(Path(folder), structure)]
    return thin_out(items, images_per_patient) if images_per_patient else items


class LoadAnnotatedView(MapTransform):
    """Item or simulated seed -> {image, label}: the scan area, standardised, and its mask, (1, h, w) float32."""

    def __init__(self, structure: Structure) -> None:
        super().__init__(keys=("image", "label"))
        self.structure = structure

    def __call__(self, data: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """`data` holds either `item` (Item) or `seed` (int, a simulated view)."""
        if "item" in data:
            frame = load_image(data["item"].image)
            mask = load_mask(data["item"].label, frame.shape)
        else:
            rng = np.random.default_rng(data["seed"])
            view = simulate_view(rng, PLANES[int(rng.integers(len(PLANES)))], randomise=True)
            frame, mask = view.image, view.masks[self.structure]
        prepared = prepare(frame)
        area = prepared.scan_area.slices
        pair = {"image": prepared.bmode[area], "label": mask[area]}
        return {
            key: torch.from_numpy(np.ascontiguousarray(value, dtype=np.float32))[None] for key, value in pair.items()
        }


class FitIntod(MapTransform):
    """Resize to the largest size of the same aspect ratio that fits into `canvas`."""

    def __init__(self, keys: KeysCollection, canvas: tuple[int, int], mode: Sequence[str]) -> None:
        super().__init__(keys)
        self.canvas = canvas
        self.mode = mode

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """`data` with every key resized."""
        out = dict(data)
        for key, mode in self.key_iterator(out, self.mode):
            size = fitted_size(out[key].shape[-2:], self.canvas)
            out[key] = Resize(size, mode=mode, anti_aliasing=mode == "bilinear")(out[key])
        return out


def cached_transforms(structure: Structure) -> list[Transform]:
    """Loading, and fitting into the enlarged canvas with the aspect ratio kept: the part that never changes."""
    canvas = (round(CACHE_MARGIN * CANVAS[0]), round(CACHE_MARGIN * CANVAS[1]))
    keys: KeysCollection = ("image", "label")
    return [
        LoadAnnotatedView(structure),
        FitIntod(keys, canvas, mode=("bilinear", "nearest")),
        SpatialPadd(keys, spatial_size=canvas),
        EnsureTyped(keys, track_meta=False),
    ]


def validation_transforms(structure: Structure) -> Compose:
    """What the network sees at inference, without a guide: the scan area on the canvas and an empty second channel."""
    keys: KeysCollection = ("image", "label")
    return Compose(
        [
            LoadAnnotatedView(structure),
            FitIntod(keys, CANVAS, mode=("bilinear", "nearest")),
            SpatialPadd(keys, spatial_size=CANVAS),
            Lambdad("image", lambda image: torch.cat([image, torch.zeros_like(image)])),
            EnsureTyped(keys, track_meta=False),
        ]
    )
