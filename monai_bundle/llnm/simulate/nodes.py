"""The metastatic lateral nodes of a simulated patient: how many, and how large the largest.

Comes in: the logit of the patient's risk and a random generator. Goes out: `Nodes`. The higher the risk, the more and
the larger the nodes, so that the level can be told from what predicts metastasis. The numbers follow the published
cohort (Shen et al. 2025, Table 1: of the patients with LLNM 85 % had 1-5 nodes, 10 % 6-10, 5 % more); the sizes (median
about 2 mm) are set so that all three levels and the patients without one occur.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from llnm.staging import level_of

# Of the latent burden (standard deviation about 1.5): where the sixth and the eleventh node begin.
_SIX_NODES, _ELEVEN_NODES = 2.91, 3.96
_LOGIT_SHARE = 0.45
_SIZE_AT_NONE_MM, _SIZE_GROWTH, _SIZE_SPREAD = 0.6, 0.9, 0.55
_SIZE_LIMITS_MM = (0.3, 60.0)


@dataclass(frozen=True)
class Nodes:
    """Metastatic lateral nodes of a patient with LLNM; `largest_mm` is the largest dimension of the largest."""

    count: int
    largest_mm: float

    @property
    def level(self) -> str:
        """The level of the patient (`llnm.staging`)."""
        return level_of(self.count, self.largest_mm)


def sample_nodes(logit: float, rng: np.random.Generator) -> Nodes:
    """Nodes of a patient with LLNM whose risk has this logit."""
    burden = _LOGIT_SHARE * logit + rng.normal()
    if burden < _SIX_NODES:
        count = int(rng.integers(1, 6))
    elif burden < _ELEVEN_NODES:
        count = int(rng.integers(6, 11))
    else:
        count = int(rng.integers(11, 25))
    largest = _SIZE_AT_NONE_MM * math.exp(_SIZE_GROWTH * burden + rng.normal(0.0, _SIZE_SPREAD))
    return Nodes(count, round(float(np.clip(largest, *_SIZE_LIMITS_MM)), 1))
