"""From what the network answers to a probability that means what it says, and to a set of answers to rely on.

Comes in: a JSON file that `llnm train llnm` (for the weights) or `llnm calibrate` (for a site) wrote. Goes out: a
`Calibration`: Platt's line on the logit, and the thresholds of conformal prediction sets.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from llnm.errors import InputError
from llnm.weights import CALIBRATION, weights_file

Floats = npt.NDArray[np.float64]
Answer = Literal["negative", "positive"]
ANSWERS: tuple[Answer, ...] = ("negative", "positive")


@dataclass(frozen=True)
class Conformal:
    """Thresholds of conformal sets with a stated `coverage` (0-1), for patients with every input and for the others.

    An answer belongs to the set where one minus its probability is at most the threshold.
    """

    coverage: float
    complete: float
    incomplete: float

    def answers(self, probability: float, complete: bool) -> tuple[Answer, ...]:
        """The answers that cannot be ruled out at this coverage: one, both, or none (where nothing fits)."""
        most = self.complete if complete else self.incomplete
        return tuple(a for a, p in zip(ANSWERS, (1 - probability, probability), strict=True) if 1 - p <= most)


@dataclass(frozen=True)
class Calibration:
    """Platt scaling fitted on patients: probability = sigmoid(slope * logit + intercept)."""

    name: str = "none"
    slope: float = 1.0
    intercept: float = 0.0
    conformal: Conformal | None = None

    @classmethod
    def from_file(cls, path: Path) -> Calibration:
        """Calibration from a JSON file with `name`, `slope`, `intercept`; raises InputError if it is none."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            calibration = cls(str(values["name"]), float(values["slope"]), float(values["intercept"]))
            calibration = replace(calibration, conformal=_conformal(values.get("conformal")))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: is no calibration ({error}); make one with: llnm calibrate") from error
        if not (math.isfinite(calibration.slope) and math.isfinite(calibration.intercept) and calibration.slope > 0):
            raise InputError(f"{path}: slope must be positive and both numbers finite; make it again: llnm calibrate")
        return calibration

    def __call__(self, logits: Floats) -> Floats:
        """Probabilities of the network's logits."""
        return np.asarray(1 / (1 + np.exp(-(self.slope * logits + self.intercept))))

    def after(self, first: Calibration) -> Calibration:
        """This calibration of probabilities that `first` has made: both lines as one, the sets of this one."""
        return replace(self, slope=self.slope * first.slope, intercept=self.slope * first.intercept + self.intercept)


def _conformal(values: Mapping[str, Any] | None) -> Conformal | None:
    if values is None:
        return None
    found = Conformal(float(values["coverage"]), float(values["complete"]), float(values["incomplete"]))
    if not (0 < found.coverage < 1 and 0 <= found.complete <= 1 and 0 <= found.incomplete <= 1):
        raise ValueError("its conformal thresholds are not between 0 and 1")
    return found


@lru_cache(maxsize=2)
def shipped_calibration(weights: Path | None = None) -> Calibration:
    """The calibration that lies beside the weights of a folder of bundles; none where there is no such file."""
    path = weights_file("llnm", weights).parent / CALIBRATION
    return Calibration.from_file(path) if path.is_file() else Calibration()
