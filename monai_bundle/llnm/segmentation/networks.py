"""The two segmentation networks, built from MONAI parts.

Comes in: a batch (B, 1, H, W) of standardised B-mode images, 0-1, H and W multiples of 16. Goes out: logits (B, 1, H,
W).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.blocks import Convolution, ResidualUnit, UpSample
from monai.networks.nets import BasicUNetPlusPlus
from torch import nn

from llnm.case import Structure

# The side, in pixels, of the square each network is trained on and runs on; a gland is large, a nodule may be small.
NETWORK_SIDE: dict[Structure, int] = {"nodule": 160, "gland": 128}


class SceneRelation(nn.Module):
    """Foreground-aware re-weighting of one pyramid level by the scene (FarSeg, Zheng et al., CVPR 2020, section 3.2).

    `features` (B, C, h, w) and the scene vector (B, S) are projected to a common space; the sigmoid of their inner
    product at each pixel says how much that pixel belongs to this scene's foreground, and scales the features.
    """

    def __init__(self, channels: int, scene_channels: int, relation_channels: int = 32) -> None:
        super().__init__()
        self.scene = nn.Linear(scene_channels, relation_channels)
        self.content = nn.Conv2d(channels, relation_channels, kernel_size=1)
        self.encode = Convolution(2, channels, channels, kernel_size=1, norm="INSTANCE", act="RELU")

    def forward(self, features: torch.Tensor, scene: torch.Tensor) -> torch.Tensor:
        """Re-weighted features, (B, C, h, w)."""
        relation = torch.einsum("bchw,bc->bhw", self.content(features), self.scene(scene))
        # Scaled as in dot-product attention, so that the sigmoid does not start saturated.
        weight = torch.sigmoid(relation / self.content.out_channels**0.5)
        return weight.unsqueeze(1) * self.encode(features)


class SceneRelationUNet(nn.Module):
    """Residual U-Net whose skip connections pass through scene relations: the default nodule network.

    A nodule fills a few per cent of the frame and the background varies more than the nodule does; the scene vector
    (global average of the deepest features) tells each level what this frame's foreground looks like.
    """

    def __init__(self, channels: Sequence[int] = (12, 24, 48, 96, 160), dropout: float = 0.0) -> None:
        super().__init__()
        stages = []
        incoming = 1
        for level, width in enumerate(channels):
            stages.append(ResidualUnit(2, incoming, width, strides=1 if level == 0 else 2, subunits=2, dropout=dropout))
            incoming = width
        self.encoder = nn.ModuleList(stages)
        self.relations = nn.ModuleList(SceneRelation(width, channels[-1]) for width in channels[:-1])
        self.up = nn.ModuleList()
        self.decoder = nn.ModuleList()
        for width in reversed(channels[:-1]):
            self.up.append(UpSample(2, incoming, width, scale_factor=2, mode="nontrainable"))
            self.decoder.append(ResidualUnit(2, 2 * width, width, subunits=2, dropout=dropout))
            incoming = width
        self.head = nn.Conv2d(channels[0], 1, kernel_size=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits (B, 1, H, W) of `image` (B, 1, H, W)."""
        pyramid = []
        features = image
        for stage in self.encoder:
            features = stage(features)
            pyramid.append(features)
        scene = features.mean(dim=(2, 3))
        for level, up, merge in zip(reversed(range(len(self.relations))), self.up, self.decoder, strict=True):
            skip = self.relations[level](pyramid[level], scene)
            features = merge(torch.cat((up(features), skip), dim=1))
        return self.head(features)


class GlandUNetPlusPlus(BasicUNetPlusPlus):
    """UNet++ (Zhou et al., IEEE TMI 2020) with MONAI's blocks; gives its last output alone, as one tensor."""

    def __init__(self, features: Sequence[int] = (8, 16, 32, 64, 128, 8)) -> None:
        super().__init__(spatial_dims=2, in_channels=1, out_channels=1, features=features)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits (B, 1, H, W) of `image` (B, 1, H, W)."""
        return super().forward(image)[-1]


def build_network(structure: Structure) -> nn.Module:
    """A fresh network for `structure`, as its weights expect it."""
    return SceneRelationUNet() if structure == "nodule" else GlandUNetPlusPlus()
