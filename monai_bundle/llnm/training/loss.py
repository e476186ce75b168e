"""What the trainings minimise: Dice with a focal loss for segmentation, cross-entropies for metastasis and its level.

Comes in: logits and labels. Goes out: one number to minimise.
"""

from __future__ import annotations

from typing import cast

import torch
from monai.losses import DiceLoss
from torch import nn

from llnm.tmdl import TMDLOutput


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


class MetastasisLoss(nn.Module):
    """Cross-entropy of metastasis, plus `level_weight` times that of the levels of those whose level is known.

    And `finding_weight` times that of what a reader said of the nodule, where that is known: so the embedding learns
    what calcification or an ill-defined margin looks like, which the label alone tells in far more patients. A direct
    way has a cross-entropy of its own, as if it were alone; the blocks then learn what it leaves.
    `positive_weight` counts a patient with metastasis so often; 1 leaves probabilities what they are in the cohort.
    """

    def __init__(self, positive_weight: float = 1.0, level_weight: float = 0.3, finding_weight: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("positive_weight", torch.tensor(float(positive_weight)))
        self.level_weight, self.finding_weight = level_weight, finding_weight

    def forward(self, found: TMDLOutput, label: torch.Tensor) -> torch.Tensor:
        """Loss of the network's answer against `label` (B, 7): LLNM 0 or 1, level or -1, each finding 0, 1 or -1."""
        loss = self._of_metastasis(found.logits, label)
        if found.direct_logits is not None:
            loss = loss + self._of_metastasis(found.direct_logits, label)
        if found.level_logits is not None:
            level = label[:, 1:2]
            places = torch.arange(found.level_logits.shape[1], device=level.device)
            above = (level > places).to(loss.dtype)
            loss = loss + self.level_weight * _where_known(found.level_logits, above, level >= 0)
        if found.finding_logits is not None:
            stated = label[:, 2 : 2 + found.finding_logits.shape[1]]
            loss = loss + self.finding_weight * _where_known(found.finding_logits, stated.clamp(min=0), stated >= 0)
        return loss

    def _of_metastasis(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return nn.functional.binary_cross_entropy_with_logits(
            logits[:, -1], label[:, 0], pos_weight=cast("torch.Tensor", self.positive_weight)
        )


def _where_known(logits: torch.Tensor, target: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of the places that are known; 0 where none is.

    Zero with a gradient of zero: processes that train together wait for each other's gradients.
    """
    entropy = nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    weight = known.to(entropy.dtype).expand_as(entropy)
    return (entropy * weight).sum() / weight.sum().clamp(min=1)
