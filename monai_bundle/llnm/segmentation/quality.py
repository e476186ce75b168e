"""How good a mask probably is, when nobody has drawn the true one.

Comes in: the probability maps of the test-time augmentations. Goes out: figures that go along with the true Dice, and
the Dice to expect, by a line that was fitted to held-back patients (`training.quality`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from llnm.errors import InputError

QUALITY_FILE = "quality.json"
FIGURES = ("soft_dice", "agreement", "mean_probability", "log_area", "largest_share")


def quality_figures(maps: npt.NDArray[np.float32], sizes: tuple[int, ...]) -> dict[str, float]:
    """Figures of one segmentation from the probability `maps` (augmentation, row, column) and its candidates' areas.

    `soft_dice`: the Dice to expect if each probability were right, 2 sum(p m) / (sum(p) + sum(m)) with m the mask at
    0.5. `agreement`: mean Dice of each augmentation's mask with m. `mean_probability` inside m. `log_area`: natural
    logarithm of the share of the image that m covers. `largest_share`: of the largest candidate among all, by area.
    All are 0 where nothing was found.
    """
    mean = maps.mean(axis=0)
    mask = mean > 0.5
    if not mask.any() or not sizes:
        return dict.fromkeys(FIGURES, 0.0)
    single = maps > 0.5
    agreement = 2 * (single & mask).sum(axis=(1, 2)) / (single.sum(axis=(1, 2)) + mask.sum())
    return {
        "soft_dice": float(2 * mean[mask].sum() / (mean.sum() + mask.sum())),
        "agreement": float(agreement.mean()),
        "mean_probability": float(mean[mask].mean()),
        "log_area": float(np.log(mask.mean())),
        "largest_share": max(sizes) / sum(sizes),
    }


def expected_dice(figures: Mapping[str, float], weights: Path) -> float | None:
    """The Dice to expect, 0-1, by the line that lies beside `weights`; None where no line was fitted for them.

    Raises InputError for a file that is no such line.
    """
    line = _line(weights.parent / QUALITY_FILE)
    if line is None:
        return None
    if not any(figures.values()):
        return 0.0
    value = line["intercept"] + sum(line[name] * figures[name] for name in FIGURES)
    return float(np.clip(value, 0, 1))


@lru_cache(maxsize=4)
def _line(path: Path) -> Mapping[str, float] | None:
    if not path.is_file():
        return None
    try:
        line = json.loads(path.read_text(encoding="utf-8"))["coefficients"]
        return {name: float(line[name]) for name in ("intercept", *FIGURES)}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: is no quality file ({error}); make it with: llnm train quality") from error
