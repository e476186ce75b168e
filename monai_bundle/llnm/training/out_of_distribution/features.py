"""Features of thyroid images and of other frames, as the detector sees them.

Comes in: annotated images, seeds or frames. Goes out: `Sample`s: one row of features a frame, and its group.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from monai.data import CacheDataset
from skimage.transform import resize

from llnm.case import PLANES, UltrasoundImage
from llnm.errors import InputError
from llnm.imaging import find_scan_area, load_image, prepare
from llnm.segmentation.out_of_distribution import COLOUR_DOPPLER, Array, canvas, encoder_features, nodule_encoder
from llnm.simulate import simulate_view
from llnm.training.augmentation import training_transforms
from llnm.training.data import Item
from llnm.training.out_of_distribution.frames import Frame

_BATCH = 8
# Width of the black gap between two views, as a share of the frame's width.
_GAP = 0.01


@dataclass(frozen=True, eq=False)
class Sample:
    """`features` (N, D), all NaN where a frame is refused or is colour Doppler before the network sees it.

    `groups` (N,): what each frame belongs to.
    """

    features: Array
    groups: tuple[str, ...]

    def part(self, keep: Sequence[bool] | np.ndarray) -> Sample:
        """The rows where `keep` is true."""
        mask = np.asarray(keep, dtype=bool)
        return Sample(self.features[mask], tuple(np.asarray(self.groups)[mask]))


class FeatureReader:
    """Reads frames with the encoder of the given nodule weights."""

    def __init__(self, weights: Path) -> None:
        self.encoder = nodule_encoder(weights)

    def read(self, frames: Iterable[Frame]) -> Sample:
        """Features of frames as a user would give them."""
        images, groups, refused = [], [], []
        for frame in frames:
            image = _seen(frame.image)
            groups.append(frame.group)
            refused.append(image is None)
            if image is not None:
                images.append(image)
        features = self._encode(images)
        rows = np.full((len(groups), features.shape[1]), np.nan, np.float32)
        rows[~np.array(refused, dtype=bool)] = features
        return Sample(rows, tuple(groups))

    def augmented(self, items: Sequence[Item], times: int, seed: int) -> Sample:
        """`times` random changes of each image, as in the training of the network: what other scanners would show."""
        transforms = training_transforms("nodule")
        transforms.set_random_state(seed)
        cached = CacheDataset([{"item": item} for item in items], transforms, num_workers=None, progress=False)
        images = []
        for _ in range(times):
            for sample in cached:
                grey = torch.as_tensor(sample["image"])[:1]
                images.append(torch.cat([grey, torch.zeros_like(grey)]))  # no guide
        return Sample(self._encode(images), tuple(f"{item.source} {item.group}" for item in items) * times)

    def _encode(self, images: Sequence[torch.Tensor]) -> Array:
        if not images:
            return np.zeros((0, self.width), np.float32)
        batches = [torch.stack(list(images[start : start + _BATCH])) for start in range(0, len(images), _BATCH)]
        return np.concatenate([encoder_features(self.encoder, batch) for batch in batches])

    @property
    def width(self) -> int:
        """Number of features of a frame."""
        return encoder_features(self.encoder, torch.zeros(1, 2, 32, 32)).shape[1]


def _seen(image: UltrasoundImage | None) -> torch.Tensor | None:
    if image is None:
        return None
    try:
        prepared = prepare(image)
    except InputError:
        return None
    return None if any(COLOUR_DOPPLER in note for note in prepared.warnings) else canvas(prepared)


def annotated(items: Iterable[Item]) -> Iterator[Frame]:
    """The images of annotated folders; `kind` is the folder's name."""
    for item in items:
        yield Frame(item.source, f"{item.source} {item.group}", load_image(item.image))


def simulated_views(number: int, seed: int, randomise: bool) -> Iterator[Frame]:
    """Simulated views of the thyroid, both planes in turn."""
    for index in range(number):
        rng = np.random.default_rng([seed, 4, index])
        view = simulate_view(rng, PLANES[index % len(PLANES)], randomise)
        yield Frame("simulated", f"simulated {index}", view.image)


def dual_views(frames: Sequence[Frame]) -> Iterator[Frame]:
    """Each frame's scan beside the next one's, as scanners store two views on one screen."""
    for left, right in zip(frames[::2], frames[1::2], strict=False):
        if left.image is not None and right.image is not None:
            yield Frame("dual views", left.group, _side_by_side(left.image, right.image))


def _side_by_side(left: UltrasoundImage, right: UltrasoundImage) -> UltrasoundImage:
    scans = [image.pixels[find_scan_area(image).slices] for image in (left, right)]
    shape = scans[0].shape
    gap = np.zeros((shape[0], max(2, round(_GAP * shape[1]))), np.float32)
    second = resize(scans[1], shape, order=1, anti_aliasing=True, preserve_range=True).astype(np.float32)
    return UltrasoundImage(np.concatenate([scans[0], gap, second], axis=1))
