"""The segmentation loss: Dice, and a cross-entropy that turns into a focal loss as training goes on.

Comes in: logits and labels, (B, 1, H, W). Goes out: one number to minimise.
"""

from __future__ import annotations

import torch
from monai.losses import DiceLoss
from torch import nn


class AnnealedFocalDiceLoss(nn.Module):
    """Dice plus foreground-aware optimisation (FarSeg, Zheng et al., CVPR 2020, section 3.4).

    Each pixel's cross-entropy is weighted by `(1 - p)^gamma`, p being the probability of its true class, and rescaled
    so that the sum stays that of plain cross-entropy. A cosine takes the weights from plain to focal over `steps`
    calls: at the start p is a guess, and hard pixels chosen by a guess mislead.
    """

    calls: torch.Tensor

    def __init__(self, steps: int, gamma: float = 2.0) -> None:
        super().__init__()
        self.gamma = gamma
        self.steps = steps
        self.dice = DiceLoss(sigmoid=True)
        # A buffer, so that a checkpoint holds it and a resumed training goes on where it was.
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """Loss of `logits` (B, 1, H, W) against `label`, 0 or 1, of the same shape."""
        entropy = nn.functional.binary_cross_entropy_with_logits(logits, label, reduction="none")
        with torch.no_grad():
            focal = (1 - torch.exp(-entropy)) ** self.gamma
            focal *= entropy.sum() / (focal * entropy).sum().clamp_min(1e-12)
            done = min(1.0, float(self.calls) / self.steps)
            share = 0.5 * (1 - torch.cos(torch.tensor(torch.pi * done)))
            weight = (1 - share) + share * focal
            if self.training:
                self.calls += 1
        return (weight * entropy).mean() + self.dice(logits, label)
