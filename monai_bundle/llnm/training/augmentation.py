"""What differs from scanner to scanner and from operator to operator, as MONAI dictionary transforms.

Comes in: {image, label}, (1, rows, columns) float32, on the enlarged canvas of `training.data`. Goes out: image (2,
rows, columns) on the network's canvas, its second channel being guidance, and label (1, rows, columns). Each family
can be left out by name, so that its worth can be measured.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from monai.transforms import (
    Compose,
    EnsureTyped,
    MapTransform,
    RandAdjustContrastd,
    RandGaussianSmoothd,
    RandomizableTransform,
    RandSimulateLowResolutiond,
    Transform,
)
from scipy import ndimage

from llnm.case import Structure
from llnm.errors import InputError
from llnm.segmentation.guidance import guidance_map
from llnm.segmentation.networks import CANVAS
from llnm.training.data import cached_transforms
from llnm.training.drawing import draw_calipers, draw_text

SIZE, POSITION, DEPTH = "size", "position", "depth"
# The least and the most of the frame's side that the canvas shows: a nodule of the clinic fills less of its frame than
# one of a teaching collection, so looking deeper goes further than looking closer.
ZOOM = (0.8, 1.8)
# The least share of its diameter that a nodule is shrunk to, and how far around it, in its own radii, tissue gives way.
SHRINK = 0.45
REACH = 2.2
# How often a sample is trained with a click or a box instead of none.
GUIDED_SHARE = 0.15


def appearance_families() -> dict[str, list[Transform]]:
    """What changes pixels where they are: the transforms of every such family, in the order of their use."""
    return {
        "dual_view": [RandDualViewd(0.08)],
        "shadow": [RandShadowd(0.15)],
        "gain": [RandAdjustContrastd("image", prob=0.3, gamma=(0.5, 1.8)), RandBrightnessd(0.25)],
        "time_gain": [RandTimeGaind(0.25)],
        "speckle": [RandSpeckled(0.2), RandElectronicNoised(0.15)],
        "resolution": [
            RandGaussianSmoothd("image", prob=0.15, sigma_x=(0.4, 1.4), sigma_y=(0.4, 1.4)),
            RandSimulateLowResolutiond("image", prob=0.1, upsample_mode="bilinear", zoom_range=(0.5, 0.9)),
        ],
        "marks": [RandMarksd(0.15)],
    }


def family_names() -> tuple[str, ...]:
    """The names that `training_transforms` can leave out."""
    return (SIZE, POSITION, DEPTH, *appearance_families())


def training_transforms(structure: Structure, without: Collection[str] = ()) -> Compose:
    """Cached loading, then the families of augmentation except those named in `without`, then guidance.

    Raises InputError for a family that does not exist.
    """
    for name in without:
        if name not in family_names():
            raise InputError(f"without: no augmentation is called {name!r}; choose from {', '.join(family_names())}")
    size = [RandNoduleSized(0.4)] if structure == "nodule" and SIZE not in without else []
    viewpoint = RandViewpointd(position=POSITION not in without, depth=DEPTH not in without)
    changes = [change for name, group in appearance_families().items() if name not in without for change in group]
    # MONAI's own transforms hand on a MetaTensor whether or not the others do; a batch must hold one kind.
    plain = EnsureTyped(("image", "label"), track_meta=False)
    # A flat list: MONAI takes a nested Compose for random and would cache nothing.
    return Compose([*cached_transforms(structure), *size, viewpoint, *changes, RandGuidanced(GUIDED_SHARE), plain])


class RandNoduleSized(RandomizableTransform, MapTransform):
    """A smaller nodule in the same neck: one nodule shrinks, and the tissue around it stretches to fill the place.

    In a teaching collection nodules fill their lobe, so that a network takes the lobe for the nodule; in the clinic
    most are small. Elliptical radii, in units of the nodule's own: what lies within 1 goes to within the factor, what
    lies beyond REACH stays, and in between the radius is stretched linearly.
    """

    def __init__(self, prob: float) -> None:
        MapTransform.__init__(self, ("image", "label"))
        RandomizableTransform.__init__(self, prob)

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """`data` with one component of the label smaller."""
        self.randomize(None)
        labels, count = ndimage.label(data["label"][0].numpy() > 0)
        if not (self._do_transform and count):
            return dict(data)
        rows, columns = np.nonzero(labels == self.R.randint(1, count + 1))
        grid = _shrinking_grid(rows, columns, labels.shape, float(self.R.uniform(SHRINK, 1)))
        pair = torch.cat([data["image"], data["label"]])[None]
        moved = torch.nn.functional.grid_sample(pair, grid, padding_mode="border", align_corners=True)[0]
        return {**data, "image": moved[:1].clamp(0, 1), "label": (moved[1:] > 0.5).to(moved.dtype)}


def _shrinking_grid(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, ...], factor: float) -> torch.Tensor:
    """Where to look for each pixel, (1, height, width, 2) as grid_sample counts, if these pixels shrink to `factor`."""
    radii = [0.55 * (np.ptp(axis) + 1) for axis in (rows, columns)]
    centre = [(axis.min() + axis.max()) / 2 for axis in (rows, columns)]
    y, x = ((np.arange(length) - middle) / radius for length, middle, radius in zip(shape, centre, radii, strict=True))
    radius = np.hypot(y[:, None], x[None, :])
    source = np.interp(radius, [0, factor, REACH], [0, 1, REACH])
    scale = np.where((radius > 0) & (radius < REACH), source / np.maximum(radius, 1e-9), 1)
    at = [centre[0] + radii[0] * y[:, None] * scale, centre[1] + radii[1] * x[None, :] * scale]
    grid = np.stack([2 * at[1] / (shape[1] - 1) - 1, 2 * at[0] / (shape[0] - 1) - 1], axis=-1)
    return torch.as_tensor(grid, dtype=torch.float32)[None]


class RandViewpointd(RandomizableTransform, MapTransform):
    """Where the probe is held (mirror, angle, shift, stretch) and how deep it looks (zoom); onto the network's canvas.

    Everything is one resampling of image and label, so that nothing is blurred twice.
    """

    def __init__(self, position: bool = True, depth: bool = True) -> None:
        MapTransform.__init__(self, ("image", "label"))
        RandomizableTransform.__init__(self)
        self.position = position
        self.depth = depth

    def randomize(self, data: Any = None) -> None:
        """Draw the matrix that takes canvas pixels to pixels of the cached image, both from their centres."""
        super().randomize(None)
        matrix = np.eye(2)
        self.shift = np.zeros(2)
        if self.position:
            angle = self.R.uniform(-0.2, 0.2)
            stretch = np.exp(self.R.uniform(-0.12, 0.12))
            mirror = self.R.choice([-1.0, 1.0])
            turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            matrix = turn @ np.diag([mirror * stretch, 1 / stretch])
            self.shift = self.R.uniform(-0.06, 0.06, size=2)
        if self.depth:
            matrix = matrix * np.exp(self.R.uniform(*np.log(ZOOM)))
        self.matrix = matrix

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """`data` seen from another viewpoint; the label stays 0 or 1."""
        self.randomize()
        rows, columns = CANVAS
        # affine_grid counts from -1 to 1 in (x, y); the same matrix in pixels must keep angles.
        size = np.diag([columns, rows])
        theta = np.concatenate([np.linalg.inv(size) @ self.matrix @ size, 2 * self.shift[:, None]], axis=1)
        pair = torch.cat([data["image"], data["label"]])[None]
        grid = torch.nn.functional.affine_grid(
            torch.as_tensor(theta, dtype=pair.dtype)[None], [1, 2, rows, columns], align_corners=False
        )
        # Bilinear on the larger cached image averages its neighbours; where the view shrinks, speckle must not alias.
        moved = torch.nn.functional.grid_sample(pair, grid, align_corners=False)[0]
        return {**data, "image": moved[:1].clamp(0, 1), "label": (moved[1:] > 0.5).to(moved.dtype)}


class _RandImaged(RandomizableTransform, MapTransform):
    """A random change of `image` alone, (1, rows, columns)."""

    def __init__(self, prob: float) -> None:
        MapTransform.__init__(self, "image")
        RandomizableTransform.__init__(self, prob)

    def change(self, image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        self.randomize(None)
        if not self._do_transform:
            return dict(data)
        return {**data, "image": self.change(data["image"], data["label"])}


def _where_echo(image: torch.Tensor, changed: torch.Tensor) -> torch.Tensor:
    """`changed` where there is an echo; what is black, outside the scan area above all, stays black."""
    return torch.where(image > 0, changed, image).clamp(0, 1)


class RandBrightnessd(_RandImaged):
    """Another overall gain: everything a little brighter or darker, and a little more or less contrast."""

    def change(self, image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """Image times a factor plus a shift."""
        return _where_echo(image, image * float(self.R.uniform(0.75, 1.25)) + float(self.R.uniform(-0.1, 0.1)))


class RandTimeGaind(_RandImaged):
    """Another operator's time-gain setting: a smooth gain along the depth."""

    def change(self, image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """Image with a gain curve through four random points of the depth."""
        points = torch.as_tensor(self.R.uniform(0.6, 1.4, 4), dtype=image.dtype)
        curve = torch.nn.functional.interpolate(
            points[None, None], size=image.shape[1], mode="linear", align_corners=True
        )
        return _where_echo(image, image * curve[0, 0][None, :, None])


class RandSpeckled(_RandImaged):
    """Coarser or finer speckle: multiplicative noise, smoothed to a random grain."""

    def change(self, image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """Image multiplied by 1 + smooth noise."""
        step = int(self.R.randint(1, 4))
        size = [max(1, length // step) for length in image.shape[1:]]
        grain = torch.as_tensor(self.R.standard_normal(size), dtype=image.dtype)[None, None]
        grain = torch.nn.functional.interpolate(grain, size=image.shape[1:], mode="bilinear", align_corners=False)[0]
        return (image * (1 + float(self.R.uniform(0.05, 0.3)) * grain)).clamp(0, 1)


class RandElectronicNoised(_RandImaged):
    """Additive noise of the receiver, inside the scan alone."""

    def change(self, image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """Image plus Gaussian noise where it is not black."""
        noise = torch.as_tensor(self.R.standard_normal(tuple(image.shape)), dtype=image.dtype)
        return _where_echo(image, image + float(self.R.uniform(0.01, 0.06)) * noise)


class RandShadowd(_RandImaged):
    """Acoustic shadow below a calcification or an air gap: columns that darken from some depth down."""

    def change(self, image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """Image with one to three soft-edged shadows."""
        rows, columns = image.shape[1:]
        light = np.ones((rows, columns), dtype=np.float32)
        depth, across = np.ogrid[:rows, :columns]
        for _ in range(self.R.randint(1, 4)):
            width = self.R.uniform(0.02, 0.12) * columns
            sides = np.exp(-(((across - self.R.uniform(0, columns)) / width) ** 2))
            below = 1 / (1 + np.exp(-(depth - self.R.uniform(-0.2, 0.8) * rows) / (0.03 * rows)))
            light *= 1 - self.R.uniform(0.3, 0.85) * (sides * below).astype(np.float32)
        return image * torch.from_numpy(light)


class RandMarksd(_RandImaged):
    """What is drawn on the frame: caliper crosses around the lesion or anywhere, dotted lines, text."""

    def change(self, image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """Image with white marks."""
        pixels = image[0].numpy().copy()
        if self.R.rand() < 0.7:
            # Calipers beside what is annotated only would teach that marks mean a lesion.
            shown = label[0].numpy() > 0 if self.R.rand() < 0.4 else np.zeros(pixels.shape, dtype=bool)
            draw_calipers(pixels, shown, self.R)
        if self.R.rand() < 0.5:
            draw_text(pixels, self.R)
        return torch.from_numpy(pixels)[None]


class RandDualViewd(RandomizableTransform, MapTransform):
    """Two views side by side, as a scanner stores a pair: two windows of the frame, one of them mirrored."""

    def __init__(self, prob: float) -> None:
        MapTransform.__init__(self, ("image", "label"))
        RandomizableTransform.__init__(self, prob)

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """`data` with both halves replaced, label included."""
        self.randomize(None)
        if not self._do_transform:
            return dict(data)
        half = data["image"].shape[2] // 2
        left, right = (int(self.R.randint(0, half + 1)) for _ in range(2))
        gain = float(self.R.uniform(0.8, 1.2))
        out = dict(data)
        for key in self.keys:
            mirrored = data[key].flip(2)
            pair = [data[key][..., left : left + half], mirrored[..., right : right + half]]
            if key == "image":
                pair[1] = (pair[1] * gain).clamp(0, 1)
            out[key] = torch.cat(pair, dim=2)
        return out


class RandGuidanced(RandomizableTransform, MapTransform):
    """A click in, or a box around, one of the annotated components; that component alone is then the label."""

    def __init__(self, prob: float) -> None:
        MapTransform.__init__(self, ("image", "label"))
        RandomizableTransform.__init__(self, prob)

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """`data` with the guidance as the image's second channel."""
        self.randomize(None)
        out = dict(data)
        shape = out["image"].shape[1:]
        channel = np.zeros(shape, dtype=np.float32)
        labels, count = ndimage.label(out["label"][0].numpy() > 0)
        if self._do_transform and count:
            target = labels == self.R.randint(1, count + 1)
            out["label"] = torch.from_numpy(target.astype(np.float32))[None]
            channel = self._guide(target)
        out["image"] = torch.cat([out["image"], torch.from_numpy(channel)[None]])
        return out

    def _guide(self, target: np.ndarray) -> np.ndarray:
        rows, columns = np.nonzero(target)
        if self.R.rand() < 0.5:
            at = self.R.randint(len(rows))
            return guidance_map(target.shape, point=(float(columns[at]), float(rows[at])))
        # Nobody draws a box to the pixel: each side is off by up to 15 % of the extent.
        height, width = rows.max() - rows.min() + 1, columns.max() - columns.min() + 1
        slip = self.R.uniform(-0.1, 0.15, size=4) * [width, height, width, height]
        left, top, right, bottom = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        box = (left - slip[0], top - slip[1], right + slip[2], bottom + slip[3])
        return guidance_map(target.shape, box=box)
