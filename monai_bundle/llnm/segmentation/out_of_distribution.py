"""Whether a frame is a B-mode image of the thyroid at all, of the kind the network was trained on.

Comes in: a frame, and the weights of the nodule network with the file of numbers that `training.out_of_distribution`
fitted for them. Goes out: a `DistributionCheck`: a score and, where it is over the threshold, the reason in words.

Three kinds of evidence, each for what the others cannot see. Colour: the networks get grey pixels, so flow is looked
for before (`imaging.is_colour_doppler`). Distance: the Mahalanobis distance of the encoder's features from those of
thyroid images (Lee et al., NeurIPS 2018), which photographs, test patterns and noise exceed by far. Discriminant:
images of another scanner are nearly as far from the training images as those of another organ, so a linear
discriminant is fitted against organs that are no thyroid (outlier exposure, Hendrycks et al., ICLR 2019).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from llnm.case import UltrasoundImage
from llnm.errors import InputError
from llnm.files import whole_file
from llnm.imaging import PreparedImage, prepare
from llnm.segmentation.canvas import place_on_canvas
from llnm.segmentation.encoder import EfficientNetLiteEncoder
from llnm.segmentation.networks import load_network
from llnm.weights import file_sha256

DETECTOR_FILE = "out_of_distribution.safetensors"
COLOUR_DOPPLER = "colour Doppler"
NO_CONTRAST = "blank: the scan has no contrast"
UNLIKE = "unlike the thyroid B-mode images the network was trained on"
OTHER_ORGAN = "looks more like another organ than like the thyroid"
CLIP = 8.0
"""A standardised feature counts up to here in the discriminant: one that goes astray must not outvote all others."""
THRESHOLD = 0.5
"""Score from which a frame is out of distribution."""
CERTAIN = 0.6
"""Score from which a frame is so far out that nothing should be derived from it."""
_HASH = "weights_sha256"

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class DistributionCheck:
    """`score`: 0-1, out of distribution from 0.5. `reason`: what speaks against the frame, or None below 0.5."""

    score: float
    reason: str | None = None

    @property
    def out_of_distribution(self) -> bool:
        """Whether the frame is not what the network was trained on."""
        return self.reason is not None

    @property
    def certain(self) -> bool:
        """Whether it is so far from it that no outline in it means anything."""
        return self.score >= CERTAIN

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user must be told, if anything."""
        return () if self.reason is None else (f"image: it may be no thyroid B-mode image ({self.reason})",)


@dataclass(frozen=True, eq=False)
class OutOfDistributionDetector:
    """The fitted numbers; D features, K principal components of the thyroid images.

    `centre`, `scale` (D): mean and standard deviation over thyroid images. `components` (K, D), `variances` (K):
    principal components of the standardised features; `residual_variance` (1): of each remaining direction.
    `direction` (D), `offset` (1): the discriminant. `thresholds`, `spreads` (2): of distance and discriminant.
    """

    centre: Array
    scale: Array
    components: Array
    variances: Array
    residual_variance: Array
    direction: Array
    offset: Array
    thresholds: Array
    spreads: Array

    def distance(self, features: Array) -> Array:
        """Logarithm of the mean squared Mahalanobis distance per feature, (N,), of `features` (N, D).

        The covariance is that of probabilistic principal component analysis (Tipping and Bishop, J. R. Stat. Soc. B 61,
        611 (1999)): some hundred images do not tell the variance of a thousand features in every direction.
        """
        standard = (features - self.centre) / self.scale
        along = standard @ self.components.T
        rest = np.maximum((standard**2).sum(axis=1) - (along**2).sum(axis=1), 0)
        squared = (along**2 / self.variances).sum(axis=1) + rest / self.residual_variance
        return np.log(squared / features.shape[1] + 1e-12)

    def discriminant(self, features: Array) -> Array:
        """About 0 for a thyroid and 1 for another organ, (N,)."""
        standard = np.clip((features - self.centre) / self.scale, -CLIP, CLIP)
        return standard @ self.direction + self.offset

    def margins(self, features: Array) -> Array:
        """How far (N, 2) distance and discriminant are over their thresholds: -1 in the middle of thyroid images."""
        return (
            np.stack([self.distance(features), self.discriminant(features)], axis=1) - self.thresholds
        ) / self.spreads

    def save(self, path: Path, weights: Path) -> None:
        """Write the numbers, and the hash of the weights whose features they belong to."""
        numbers = {name: np.ascontiguousarray(value, dtype=np.float32) for name, value in asdict(self).items()}
        with whole_file(path) as temporary:
            save_file(numbers, temporary, metadata={_HASH: file_sha256(weights)})

    @classmethod
    def load(cls, path: Path, weights: Path) -> OutOfDistributionDetector:
        """Read what `save` wrote; raises InputError for another file and for numbers of other weights."""
        remedy = "make it with: llnm train out-of-distribution"
        try:
            with safe_open(path, framework="numpy") as file:
                numbers = {field.name: file.get_tensor(field.name) for field in fields(cls)}
                fitted_for = (file.metadata() or {}).get(_HASH)
        except (OSError, SafetensorError) as error:
            raise InputError(f"{path}: is no out-of-distribution file ({type(error).__name__}); {remedy}") from error
        if fitted_for != file_sha256(weights):
            raise InputError(f"{path}: was fitted for other weights than {weights.name} beside it; {remedy}")
        return cls(**numbers)


def check_distribution(image: UltrasoundImage | PreparedImage, weights: Path) -> DistributionCheck | None:
    """Whether `image` is a thyroid B-mode image like those that the nodule network `weights` were trained on.

    None where no detector lies beside the weights. Raises InputError for a detector that does not belong to them.
    """
    path = weights.parent / DETECTOR_FILE
    if not path.is_file():
        return None
    if isinstance(image, UltrasoundImage):
        try:
            image = prepare(image)
        except InputError:
            return DistributionCheck(1.0, NO_CONTRAST)
    if any(COLOUR_DOPPLER in note for note in image.warnings):
        return DistributionCheck(1.0, COLOUR_DOPPLER)
    features = encoder_features(nodule_encoder(weights), canvas(image)[None])
    return judge(_detector(path, weights).margins(features)[0])


def judge(margins: Array) -> DistributionCheck:
    """The larger margin decides: 0.5 at the threshold, logistic around it."""
    worst = float(margins.max())
    score = 1 / (1 + math.exp(-min(max(worst, -30.0), 30.0)))
    if worst < 0:
        return DistributionCheck(score)
    return DistributionCheck(score, UNLIKE if margins[0] >= margins[1] else OTHER_ORGAN)


def canvas(image: PreparedImage) -> torch.Tensor:
    """What the network sees of a frame without a guide: (2, rows, columns) of its canvas."""
    return place_on_canvas(image).as_tensor()


def encoder_features(encoder: EfficientNetLiteEncoder, images: torch.Tensor) -> Array:
    """Mean and standard deviation of every channel of the encoder's five levels, (N, D), of `images` (N, 2, H, W)."""
    with torch.inference_mode():
        levels = encoder(images.contiguous(memory_format=torch.channels_last))
        parts = [level.mean(dim=(2, 3)) for level in levels] + [level.std(dim=(2, 3)) for level in levels]
    return torch.cat(parts, dim=1).numpy()


def nodule_encoder(weights: Path) -> EfficientNetLiteEncoder:
    """The encoder of the nodule network with the given weights."""
    encoder = load_network("nodule", weights).encoder
    assert isinstance(encoder, EfficientNetLiteEncoder)
    return encoder


@lru_cache(maxsize=4)
def _detector(path: Path, weights: Path) -> OutOfDistributionDetector:
    return OutOfDistributionDetector.load(path, weights)
