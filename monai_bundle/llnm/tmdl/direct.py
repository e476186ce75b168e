"""What a patient's findings, distance to the capsule, report, age and sex say of the metastasis by themselves.

Comes in: the inputs of `TMDL.forward` and what its head of findings tells. Goes out: logits, which the network adds to
those of its blocks.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from llnm.case import FINDINGS
from llnm.tmdl.config import INPUTS, STANDARD, WORD_VECTOR_WIDTH, TMDLConfig

STANDARD_MOMENTUM = 0.02
# Where the capsule's distance is known, the risk may change at each of these; at 2.5 mm the published one passes 72 %.
NEARER_THAN_MM = (1.5, 2.0, 2.5, 3.0, 3.5)
# How exactly a distance is known, which rounds the steps off: some pixels of a drawn outline.
PRECISION_MM = 0.25
CLINICAL = ("report", "age", "sex")


class DirectWay(nn.Module):
    """A logistic regression beside the blocks: findings, nearness of the capsule, report's mean vector, age, sex.

    Most of what is known of a patient adds up, and few patients suffice to learn such weights; the way through the
    blocks is then left what does not add up. The views speak by their findings, each by its probability, and by the
    measured distance; the metastasis teaches neither what findings look like nor the report's vectors, for of patients
    it knows the network would soon see what it needs. Where the distance is not known, what the head tells from the
    images of a nearness of 2.5 mm stands for each. What is absent counts as the mean does, and shrinks the logit, since
    the truth spreads around that mean. The report's weights are many and need a strong decay in training
    (`llnm.training.workflow.decay_groups`).
    """

    # One step of the optimiser moves the few weights so much more: they are due to be of the order of 1, and must keep
    # up with what the findings come to tell.
    SCALE = 16.0
    # The variance that training starts from: an input without effect then costs no certainty, and others soon do.
    FIRST_SPREAD = 0.1

    def __init__(self, config: TMDLConfig) -> None:
        super().__init__()
        # To one scale, so that decay means the same for all of the report's directions.
        self.standard = nn.BatchNorm1d(WORD_VECTOR_WIDTH, affine=False, momentum=STANDARD_MOMENTUM)
        self.dropout = nn.Dropout(config.dropout)
        self.report = nn.Linear(WORD_VECTOR_WIDTH, config.logits, bias=False)
        self.few = nn.Linear(len(FINDINGS) + len(NEARER_THAN_MM) + 2 + len(CLINICAL), config.logits)
        # By how much the logit spreads for want of each input: logarithm of a variance in units of the first.
        self.spread = nn.Parameter(torch.zeros(len(INPUTS)))
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def forward(self, inputs: Mapping[str, torch.Tensor], seen: torch.Tensor) -> torch.Tensor:
        """Logits (B, K) of the inputs of `TMDL.forward` and the probabilities `seen` (B, findings and nearness)."""
        # What is learnt here must not teach the head of findings.
        seen = seen.detach()
        absent = torch.stack([_absent(inputs, name) for name in CLINICAL], dim=1)
        centre, scale = STANDARD["age"]
        values = torch.stack(((inputs["age"] - centre) / scale, inputs["sex"] - 0.5), dim=1)
        few = torch.cat((seen[:, : len(FINDINGS)], nearness(inputs, seen[:, -1:])), dim=1) - 0.5
        few = torch.cat((few, values.masked_fill(absent[:, 1:], 0), absent.to(values.dtype)), dim=1)
        logits: torch.Tensor = self.SCALE * self.few(few)
        logits = logits + self.report(self.dropout(self._mean_vector(inputs, absent[:, :1])))
        lacking = torch.stack([lacks(inputs, name, absent) for name in INPUTS], dim=1).to(logits.dtype)
        # The mean of a logistic function over a normal spread of its argument (MacKay, Neural Comput. 4, 720, 1992; his
        # pi / 8 is part of what is learnt).
        spread = lacking @ (self.FIRST_SPREAD * torch.exp(self.SCALE * self.spread))
        return logits / torch.sqrt(1 + spread)[:, None]

    def _mean_vector(self, inputs: Mapping[str, torch.Tensor], absent: torch.Tensor) -> torch.Tensor:
        """Mean of the report's word vectors on the scale of the reports trained on, (B, 768); 0 without a report."""
        words = inputs["report_mask"].to(inputs["report"].dtype).unsqueeze(-1)
        mean = (inputs["report"] * words).sum(dim=1) / words.sum(dim=1).clamp(min=1)
        if self.training:
            told = mean[~absent[:, 0]]
            if len(told) > 1:
                # Whoever has no report teaches no scale, and neither does one report alone.
                self.standard(told)
        return scaled(mean, self.standard).masked_fill(absent, 0)


def scaled(values: torch.Tensor, standard: nn.BatchNorm1d) -> torch.Tensor:
    """Values on the scale that `standard` has learnt; they teach it nothing."""
    return nn.functional.batch_norm(values, standard.running_mean, standard.running_var, eps=standard.eps)


def nearness(inputs: Mapping[str, torch.Tensor], told: torch.Tensor) -> torch.Tensor:
    """How surely the capsule is nearer than each of `NEARER_THAN_MM`, (B, 5), by the smallest distance of the views.

    `told` (B, 1), a probability, where no view that exists has a known one.
    """
    distance = inputs.get("capsule_distance")
    if distance is None:
        return told.expand(-1, len(NEARER_THAN_MM))
    distance = _by_view(distance)
    known = distance >= 0
    if (views := inputs.get("view_mask")) is not None:
        known = known & views.bool()
    if (absent := inputs.get("location_absent")) is not None:
        known = known & ~_by_view(absent.bool())
    nearest = distance.masked_fill(~known, torch.inf).amin(dim=1, keepdim=True)
    measured = torch.sigmoid((nearest.new_tensor(NEARER_THAN_MM) - nearest) / PRECISION_MM)
    return torch.where(known.any(dim=1, keepdim=True), measured, told)


def lacks(inputs: Mapping[str, torch.Tensor], name: str, clinical: torch.Tensor) -> torch.Tensor:
    """Of whom no view that exists has an input, or who lacks a clinical one, (B,) bool."""
    if name in CLINICAL:
        return clinical[:, CLINICAL.index(name)]
    absent = inputs.get(f"{name}_absent")
    if absent is None:
        return torch.zeros_like(clinical[:, 0])
    absent = _by_view(absent.bool())
    views = inputs.get("view_mask")
    return (absent if views is None else absent | ~views.bool()).all(dim=1)


def _by_view(value: torch.Tensor) -> torch.Tensor:
    """Values (B,) of a single view as (B, 1). No size is asked for, since a trace would keep that of its example."""
    return value if value.ndim > 1 else value[:, None]


def _absent(inputs: Mapping[str, torch.Tensor], name: str) -> torch.Tensor:
    """Of whom an input is absent, (B,) bool; a report without words is."""
    empty = ~inputs["report_mask"].bool().any(dim=1)
    absent = inputs.get(f"{name}_absent")
    absent = torch.zeros_like(empty) if absent is None else absent.bool()
    return absent | empty if name == "report" else absent
