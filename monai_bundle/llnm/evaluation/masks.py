"""How close a predicted mask comes to the drawn one: overlap, and distance of the outlines, by MONAI's metrics.

Comes in: two boolean masks of one image and, if somebody knows it, the size of its pixels. Goes out: Dice, IoU,
Hausdorff distance, boundary error and surface Dice of the image, and means over cases with intervals. Distances are in
millimetres where the spacing is known and in pixels (`*_px`) where it is not.
"""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import stats

from llnm.case import Mask, Spacing, check_spacing
from llnm.errors import InputError
from llnm.evaluation.intervals import LEVEL, Figure, figure_of_values

if TYPE_CHECKING:
    import torch

OVERLAPS = ("dice", "iou", "surface_dice", "surface_dice_px")
DISTANCES = ("hausdorff95_mm", "boundary_error_mm", "hausdorff95_px", "boundary_error_px")
# A case whose Dice lies below this was missed: there is next to no overlap, whatever the outline.
MISSED = 0.1
RESAMPLES = 2000


def mask_metrics(
    predicted: Mask,
    truth: Mask,
    spacing_mm: Spacing | None = None,
    tolerance_mm: float = 1.0,
    tolerance_px: float = 1.0,
) -> dict[str, float | None]:
    """What sets two masks (row, column) apart; `spacing_mm` is (row, column).

    `dice`, `iou`: overlap. `hausdorff95_mm`: the larger of both directions' 95 % points of the distance from one
    outline to the other. `boundary_error_mm`: average symmetric surface distance, the mean over the pixels of both
    outlines. `surface_dice`: the share of both outlines that lies within `tolerance_mm` of the other (Nikolov et al.
    2021). An outline is the pixels of a mask that touch its outside, or the image's edge, along a row or column.
    Without a spacing the last three are in pixels, with `tolerance_px`, and called `hausdorff95_px`,
    `boundary_error_px` and `surface_dice_px`. All are the same if the masks change places.

    Two empty masks agree: dice, iou and surface dice are 1. Where one mask is empty they are 0. In both cases there
    is no outline to measure to, and the distances are None.

    Raises InputError for masks of different size or not of two dimensions, and for a spacing or tolerance that is none.
    """
    import torch

    if predicted.ndim != 2 or predicted.shape != truth.shape:
        raise InputError(f"masks: {predicted.shape} and {truth.shape} are not two images of the same size")
    if spacing_mm is not None:
        spacing_mm = (check_spacing(spacing_mm[0], "spacing"), check_spacing(spacing_mm[1], "spacing"))
    tolerance = tolerance_px if spacing_mm is None else tolerance_mm
    if not 0 <= tolerance < math.inf:
        raise InputError(f"tolerance: {tolerance:g} is no distance; give 0 or more")
    pair = [torch.from_numpy(np.array(mask, dtype=bool)).float()[None, None] for mask in (predicted, truth)]
    unit = "px" if spacing_mm is None else "mm"
    surface = "surface_dice_px" if spacing_mm is None else "surface_dice"
    overlap = _overlap(pair)
    if not (predicted.any() and truth.any()):
        return {**overlap, f"hausdorff95_{unit}": None, f"boundary_error_{unit}": None, surface: overlap["dice"]}
    hausdorff, error, share = _distances(pair, spacing_mm, tolerance)
    return {**overlap, f"hausdorff95_{unit}": hausdorff, f"boundary_error_{unit}": error, surface: share}


def _overlap(pair: list[torch.Tensor]) -> dict[str, float]:
    from monai.metrics import compute_dice, compute_iou

    return {
        "dice": float(compute_dice(*pair, ignore_empty=False)),
        "iou": float(compute_iou(*pair, ignore_empty=False)),
    }


def _distances(pair: list[torch.Tensor], spacing: Spacing | None, tolerance: float) -> tuple[float, float, float]:
    """Hausdorff 95, boundary error and surface Dice of two masks that are not empty, (1, 1, row, column) each."""
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice

    size: dict[str, Any] = {"include_background": True, "spacing": None if spacing is None else list(spacing)}
    # MONAI's distances are float32: one that equals the tolerance must not fall outside it by their last bit.
    reach = tolerance * (1 + 1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # MONAI 1.5 and later warn of their own call, once an image
        return (
            float(compute_hausdorff_distance(pair[0], pair[1], percentile=95, **size)),
            float(compute_average_surface_distance(pair[0], pair[1], symmetric=True, **size)),
            float(compute_surface_dice(pair[0], pair[1], [reach], **size)),
        )


def summarise_masks(
    table: pd.DataFrame, case: str = "case", resamples: int = RESAMPLES, seed: int = 0, level: float = LEVEL
) -> dict[str, Any]:
    """Means of the metrics that `table` has, one row an image, as Figures with bootstrap intervals over cases.

    A case (column `case`) counts once: its images are averaged first, those without a distance left out. For each
    metric `mean`, for distances also `median`, and `cases`, how many have it: a case that was missed altogether has
    no distance, so distances are to be read beside `share_missed`, the share of cases with a mean Dice below 0.1
    (Wilson interval). Also `images` and `cases` in all.
    """
    metrics = [name for name in (*OVERLAPS, *DISTANCES) if name in table]
    # A column of nothing but None would be one of objects, which have no mean.
    by_case = table[metrics].astype(float).groupby(table[case]).mean()
    summary: dict[str, Any] = {"images": len(table), "cases": len(by_case)}
    for name in metrics:
        values = by_case[name].dropna().to_numpy(float)
        if len(values) == 0:
            continue
        settings: dict[str, Any] = {"resamples": resamples, "seed": seed, "level": level}
        summary[name] = {"cases": len(values), "mean": figure_of_values(values, **settings)}
        if name in DISTANCES:
            summary[name]["median"] = figure_of_values(values, median=True, **settings)
    missed = int((by_case["dice"] < MISSED).sum())
    interval = stats.binomtest(missed, len(by_case)).proportion_ci(level, method="wilson")
    told = f"Wilson, {level:.0%}"
    summary["share_missed"] = Figure(missed / len(by_case), float(interval.low), float(interval.high), told)
    return summary
