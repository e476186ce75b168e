"""The two segmentation networks, built from MONAI parts on one pretrained encoder.

Comes in: a batch (B, 2, H, W), H and W multiples of 32: the standardised B-mode image, 0-1, and the guidance a user
gave by pointing (`segmentation.guidance`; zeros where nobody did). Goes out: logits (B, 1, H, W).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import torch
from monai.networks.blocks import Convolution, UpSample
from monai.networks.nets.basic_unet import UpCat
from torch import nn

from llnm.case import Structure
from llnm.segmentation.encoder import ENCODER_CHANNELS, EfficientNetLiteEncoder
from llnm.weights import load_state_dict

# (rows, columns) of the canvas a scan area is fitted into, aspect ratio kept. Scan areas are 1.0 to 1.6 times as wide
# as high, and a canvas of their shape wastes least on black borders.
CANVAS = (160, 224)
_BATCH_NORM = ("batch", {"affine": True})
_ACTIVATION = ("relu", {"inplace": True})


def fitted_size(shape: Sequence[int], canvas: tuple[int, int] = CANVAS) -> tuple[int, int]:
    """The largest (rows, columns) of the aspect ratio of `shape` that fits into `canvas`."""
    rows, columns = shape
    scale = min(canvas[0] / rows, canvas[1] / columns)
    return min(canvas[0], max(1, round(rows * scale))), min(canvas[1], max(1, round(columns * scale)))


class SceneRelation(nn.Module):
    """Foreground-aware re-weighting of one pyramid level by the scene (FarSeg, Zheng et al., CVPR 2020, section 3.2).

    `features` (B, C, h, w) and the scene vector (B, S) are projected to a common space; the sigmoid of their inner
    product at each pixel says how much that pixel belongs to this scene's foreground, and scales the features.
    """

    def __init__(self, channels: int, scene_channels: int, relation_channels: int = 32) -> None:
        super().__init__()
        self.scene = nn.Linear(scene_channels, relation_channels)
        self.content = nn.Conv2d(channels, relation_channels, kernel_size=1)
        self.encode = Convolution(2, channels, channels, kernel_size=1, norm=_BATCH_NORM, act=_ACTIVATION)

    def forward(self, features: torch.Tensor, scene: torch.Tensor) -> torch.Tensor:
        """Re-weighted features, (B, C, h, w)."""
        relation = torch.einsum("bchw,bc->bhw", self.content(features), self.scene(scene))
        # Scaled as in dot-product attention, so that the sigmoid does not start saturated.
        weight = torch.sigmoid(relation / self.content.out_channels**0.5)
        return weight.unsqueeze(1) * self.encode(features)


class SceneRelationUNet(nn.Module):
    """U-Net whose skip connections pass through scene relations: the default nodule network.

    A nodule fills a few per cent of the frame and the background varies more than the nodule does; the scene vector
    (global average of the deepest features) tells each level what this frame's foreground looks like.
    """

    def __init__(self, widths: tuple[int, int, int, int] = (16, 32, 64, 128)) -> None:
        super().__init__()
        self.encoder = EfficientNetLiteEncoder(in_channels=2)
        *skips, incoming = ENCODER_CHANNELS
        self.relations = nn.ModuleList(SceneRelation(channels, incoming) for channels in skips)
        self.decoder = nn.ModuleList()
        for skip, width in zip(reversed(skips), reversed(widths), strict=True):
            self.decoder.append(_merge(incoming, skip, width))
            incoming = width
        self.head = _head(incoming)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits (B, 1, H, W) of `image` (B, 2, H, W)."""
        levels = self.encoder(image)
        features = levels[-1]
        scene = features.mean(dim=(2, 3))
        # TorchScript takes no module by its index, so each list of modules is gone through in its own order.
        skips = []
        for level, relation in enumerate(self.relations):
            skips.append(relation(levels[level], scene))
        for depth, merge in enumerate(self.decoder):
            features = merge(features, skips[-1 - depth])
        return self.head(features)


class GlandUNetPlusPlus(nn.Module):
    """UNet++ (Zhou et al., IEEE TMI 2020): each skip connection is itself a decoder, nested, on the same encoder.

    Node (i, j) merges all earlier nodes of level i with the upsampled node (i + 1, j - 1).
    """

    def __init__(self, widths: tuple[int, int, int, int] = (16, 24, 40, 112)) -> None:
        super().__init__()
        self.encoder = EfficientNetLiteEncoder(in_channels=2)
        levels = len(ENCODER_CHANNELS)
        channels = (*widths, ENCODER_CHANNELS[-1])
        self.nodes = nn.ModuleDict()
        self.node_levels: list[int] = []
        for column in range(1, levels):
            for level in range(levels - column):
                below = channels[level + 1] if column > 1 else ENCODER_CHANNELS[level + 1]
                skip = ENCODER_CHANNELS[level] + (column - 1) * channels[level]
                self.nodes[f"{level}_{column}"] = _merge(below, skip, channels[level])
                self.node_levels.append(level)
        self.head = _head(channels[0])

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits (B, 1, H, W) of `image` (B, 2, H, W)."""
        rows = [[features] for features in self.encoder(image)]
        # Column by column, finest level first: the newest node of the level below is then of the column before.
        for index, node in enumerate(self.nodes.values()):
            level = self.node_levels[index]
            rows[level].append(node(rows[level + 1][-1], torch.cat(rows[level], dim=1)))
        return self.head(rows[0][-1])


def _merge(below: int, skip: int, out: int) -> UpCat:
    """Double the size of the features from below, join them to the skip connection, convolve twice."""
    return UpCat(
        2, below, skip, out, act=_ACTIVATION, norm=_BATCH_NORM, bias=False, dropout=0.0, upsample="nontrainable"
    )


def _head(channels: int) -> nn.Sequential:
    """Logits at the finest level, half the image's size, and their interpolation to the whole."""
    return nn.Sequential(nn.Conv2d(channels, 1, kernel_size=1), UpSample(2, 1, scale_factor=2, mode="nontrainable"))


def build_network(structure: Structure) -> nn.Module:
    """A fresh network for `structure`, as its weights expect it."""
    return SceneRelationUNet() if structure == "nodule" else GlandUNetPlusPlus()


@lru_cache(maxsize=4)
def load_network(structure: Structure, path: Path) -> torch.nn.Module:
    """The network of `structure` with the weights of `path`, for inference; kept in memory for the next frame."""
    network = build_network(structure)
    network.load_state_dict(load_state_dict(path))
    return network.eval().to(memory_format=torch.channels_last)
