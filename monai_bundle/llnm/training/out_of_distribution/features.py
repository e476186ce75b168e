"""Features of thyroid images and of other frames, as the detector sees them.

Comes in: annotated images, seeds or frames. Goes out: `Sample`s: one row of features a frame, and its group.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from monai.data import CacheDataset
from skimage.transform import resize

from llnm.case import PLANES, UltrasoundImage
from llnm.errors import InputError
from llnm.imaging import find_scan_area, load_image, prepare
from llnm.segmentation.networks import CANVAS
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

    def part(self, keep: npt.ArrayLike) -> Sample:
        """The rows where `keep` is true."""
        mask = np.asarray(keep, dtype=bool)
        return Sample(self.features[mask], tuple(np.asarray(self.groups)[mask]))


class FeatureReader:
    """Reads frames with the encoder of the given nodule weights."""

    def __init__(self, weights: Path) -> None:
        self.encoder = nodule_encoder(weights)
        self.width = encoder_features(self.encoder, torch.zeros(1, 2, *CANVAS)).shape[1]

    def read(self, frames: Iterable[Frame]) -> Sample:
        """Features of frames as a user would give them."""
        groups: list[str] = []
        seen: list[bool] = []

        def images() -> Iterator[torch.Tensor]:
            for frame in frames:
                image = _seen(frame.image)
                groups.append(frame.group)
                seen.append(image is not None)
                if image is not None:
                    yield image

        features = self._encode(images())
        rows = np.full((len(groups), self.width), np.nan, np.float32)
        rows[np.array(seen, dtype=bool)] = features
        return Sample(rows, tuple(groups))

    def augmented(self, items: Sequence[Item], times: int, seed: int) -> Sample:
        """`times` random changes of each image, as in the training of the network: what other scanners would show."""
        transforms = training_transforms("nodule")
        transforms.set_random_state(seed)
        cached = CacheDataset([{"item": item} for item in items], transforms, num_workers=None, progress=False)
        grey = (torch.as_tensor(sample["image"])[:1] for _ in range(times) for sample in cached)
        unguided = (torch.cat([image, torch.zeros_like(image)]) for image in grey)
        return Sample(self._encode(unguided), tuple(f"{item.source} {item.group}" for item in items) * times)

    def _encode(self, images: Iterable[torch.Tensor]) -> Array:
        """Features of images (2, rows, columns), a batch in memory at a time."""
        rest = iter(images)
        rows = [np.zeros((0, self.width), np.float32)]
        while batch := list(islice(rest, _BATCH)):
            rows.append(encoder_features(self.encoder, torch.stack(batch)))
        return np.concatenate(rows)


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
