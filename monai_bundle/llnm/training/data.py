"""Finds annotated images in a folder, and turns them into what a segmentation network is trained on.

Comes in: folders with `images/` and `<structure>/` (masks with equal stems) and, if there is one, a table that says
which images belong to one patient (`cases.csv`, `frames.csv` or `images.csv`). Goes out: items split by patient,
never by image, and the MONAI dictionary transforms that load and augment them.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
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
    MapTransform,
    RandAdjustContrastd,
    RandAffined,
    RandFlipd,
    RandGaussianSmoothd,
    RandomizableTransform,
    RandZoomd,
    Resized,
    SpatialPadd,
)

from llnm.case import PLANES, Structure
from llnm.errors import InputError
from llnm.imaging import load_image, load_mask, prepare
from llnm.segmentation.networks import NETWORK_SIDE
from llnm.simulate import simulate_view

# A table of this name, with this column, says which images belong together.
GROUP_COLUMNS = {"cases.csv": "case", "frames.csv": "sweep", "images.csv": "image"}
# Cached images are larger than the network's side, so that zooming in during augmentation keeps detail.
CACHE_MARGIN = 4 / 3


@dataclass(frozen=True)
class Item:
    """One annotated image: its files, its source (the folder's name) and the patient, case or sweep it belongs to."""

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
    groups = _groups(folder)
    return [Item(path, masks[path.stem], folder.name, str(groups.get(path.stem, path.stem))) for path in images]


def _groups(folder: Path) -> Mapping[Hashable, Any]:
    for name, column in GROUP_COLUMNS.items():
        if (folder / name).is_file():
            table = pd.read_csv(folder / name, dtype={"image": str})
            return dict(zip(table["image"], table[column], strict=True))
    return {}


def split_by_group(items: Sequence[Item], fold: int, folds: int, seed: int = 0) -> tuple[list[Item], list[Item]]:
    """(training, held back): fold `fold` of `folds` of the patients, shuffled by `seed`; a patient is never in both."""
    groups = sorted({(item.source, item.group) for item in items})
    order = np.random.default_rng(seed).permutation(len(groups))
    held = {groups[index] for position, index in enumerate(order) if position % folds == fold}
    training = [item for item in items if (item.source, item.group) not in held]
    return training, [item for item in items if (item.source, item.group) in held]


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


def cached_transforms(structure: Structure, side: int) -> Compose:
    """Loading, and fitting into a square of `side` pixels with the aspect ratio kept."""
    keys: KeysCollection = ("image", "label")
    return Compose(
        [
            LoadAnnotatedView(structure),
            Resized(
                keys, spatial_size=side, size_mode="longest", mode=("bilinear", "nearest"), anti_aliasing=(True, False)
            ),
            SpatialPadd(keys, spatial_size=(side, side)),
            EnsureTyped(keys, track_meta=False),
        ]
    )


def training_transforms(structure: Structure) -> Compose:
    """Cached loading, then what differs from scanner to scanner: position, scale, angle, gain, blur, noise, speckle."""
    side = NETWORK_SIDE[structure]
    keys: KeysCollection = ("image", "label")
    # RandAffine scales coordinates by 1 + U(low, high), CACHE_MARGIN being the whole cached square; the little that the
    # axes may differ stands for a wrong depth setting. Zooming proper keeps the aspect ratio.
    scale = (0.92 * CACHE_MARGIN - 1, 1.08 * CACHE_MARGIN - 1)
    return Compose(
        [
            cached_transforms(structure, round(CACHE_MARGIN * side)),
            RandFlipd(keys, prob=0.5, spatial_axis=1),
            RandZoomd(
                keys, prob=0.7, min_zoom=0.7, max_zoom=1.3, mode=("bilinear", "nearest"), padding_mode="constant"
            ),
            RandAffined(
                keys,
                prob=1.0,
                spatial_size=(side, side),
                rotate_range=0.15,
                translate_range=(0.1 * side, 0.1 * side),
                scale_range=(scale, scale),
                mode=("bilinear", "nearest"),
                padding_mode="zeros",
            ),
            RandTimeGaind(prob=0.5),
            RandAdjustContrastd("image", prob=0.5, gamma=(0.6, 1.6)),
            RandSpeckled(prob=0.4),
            RandGaussianSmoothd("image", prob=0.3, sigma_x=(0.4, 1.4), sigma_y=(0.4, 1.4)),
            RandElectronicNoised(prob=0.3),
        ]
    )


class _RandImaged(RandomizableTransform, MapTransform):
    """A random change of `image` alone, (1, h, w)."""

    def __init__(self, prob: float) -> None:
        MapTransform.__init__(self, "image")
        RandomizableTransform.__init__(self, prob)

    def change(self, image: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        out = dict(data)
        self.randomize(None)
        if self._do_transform:
            out["image"] = self.change(out["image"])
        return out


class RandTimeGaind(_RandImaged):
    """Another operator's time-gain setting: a smooth gain along the depth, and a shift of the whole brightness."""

    def change(self, image: torch.Tensor) -> torch.Tensor:
        """Image with a gain curve through four random points of the depth."""
        points = torch.as_tensor(self.R.uniform(0.6, 1.4, 4), dtype=image.dtype)
        curve = torch.nn.functional.interpolate(
            points[None, None], size=image.shape[1], mode="linear", align_corners=True
        )
        shift = float(self.R.uniform(-0.12, 0.12))
        # What is black stays black: outside the scan area there is no gain.
        return torch.where(image > 0, image * curve[0, 0][None, :, None] + shift, image).clamp(0, 1)


class RandSpeckled(_RandImaged):
    """Coarser or finer speckle: multiplicative noise, smoothed to a random grain."""

    def change(self, image: torch.Tensor) -> torch.Tensor:
        """Image multiplied by 1 + smooth noise."""
        step = int(self.R.randint(1, 4))
        size = [max(1, length // step) for length in image.shape[1:]]
        grain = torch.as_tensor(self.R.standard_normal(size), dtype=image.dtype)[None, None]
        grain = torch.nn.functional.interpolate(grain, size=image.shape[1:], mode="bilinear", align_corners=False)[0]
        return (image * (1 + float(self.R.uniform(0.05, 0.3)) * grain)).clamp(0, 1)


class RandElectronicNoised(_RandImaged):
    """Additive noise of the receiver, inside the scan alone."""

    def change(self, image: torch.Tensor) -> torch.Tensor:
        """Image plus Gaussian noise where it is not black."""
        noise = torch.as_tensor(self.R.standard_normal(tuple(image.shape)), dtype=image.dtype)
        return torch.where(image > 0, image + float(self.R.uniform(0.01, 0.06)) * noise, image).clamp(0, 1)
