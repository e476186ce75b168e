"""Fits the Dice to expect to what held-back patients really got, and says how well it ranks them.

Comes in: folders of training runs, one a fold, whose `held_back.csv` has the quality figures and the true Dice of
images their network never saw. Goes out: `quality.json`, which lies beside the weights that ship.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import spearmanr

from llnm.errors import InputError
from llnm.segmentation.quality import FIGURES, QUALITY_FILE
from llnm.training.workflow import write_json

RIDGE = 1e-2
RESAMPLES = 2000

Array = npt.NDArray[np.float64]


def fit_quality(runs: Sequence[Path], out: Path) -> dict[str, Any]:
    """Fit on all folds, measure each fold by the line of the others, and write `quality.json` into `out`.

    Gives the record: `coefficients`, `rank_correlation` (Spearman, out of fold, bootstrap over patients) and
    `mean_error`. Raises InputError for fewer than two runs or a table without the figures.
    """
    if len(runs) < 2:
        raise InputError("data: the folders of at least two folds are needed, so that one can judge the other's line")
    table = pd.concat([_read(run).assign(fold=index) for index, run in enumerate(runs)], ignore_index=True)
    # A run may measure other sources too: who was held back by exactly one run was seen by no line but its own fold's.
    runs_of = table.groupby(["source", "group"])["fold"].transform("nunique")
    table = table[runs_of == 1].reset_index(drop=True)
    if table["fold"].nunique() < 2:
        raise InputError("data: every patient was held back by several runs; give the runs of different folds")
    figures, dice = table[list(FIGURES)].to_numpy(dtype=float), table["dice"].to_numpy(dtype=float)
    expected = np.empty(len(table))
    for fold in table["fold"].unique():
        here = (table["fold"] == fold).to_numpy()
        expected[here] = _apply(_fit(figures[~here], dice[~here]), figures[here])
    line = _fit(figures, dice)
    record = {
        "coefficients": dict(zip(("intercept", *FIGURES), line.round(6).tolist(), strict=True)),
        "sources": sorted(table["source"].unique()),
        "images": len(table),
        "patients": table.groupby(["source", "group"]).ngroups,
        "rank_correlation": _rank_correlation(table.assign(expected=expected)),
        "mean_absolute_error": round(float(np.abs(expected - dice).mean()), 3),
    }
    write_json(record, out / QUALITY_FILE)
    return record


def _read(run: Path) -> pd.DataFrame:
    path = run / "held_back.csv"
    try:
        table = pd.read_csv(path, dtype={"group": str, "image": str})
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); give folders that llnm train wrote") from error
    missing = [name for name in ("source", "group", "dice", *FIGURES) if name not in table.columns]
    if missing:
        raise InputError(f"{path}: has no column {missing[0]!r}; train this fold again with this version")
    return table


def _fit(figures: Array, dice: Array) -> Array:
    """Ridge regression, intercept first; the penalty is on standardised figures, so their units do not matter."""
    middle, spread = figures.mean(axis=0), figures.std(axis=0) + 1e-9
    scaled = (figures - middle) / spread
    slopes = np.linalg.solve(
        scaled.T @ scaled + RIDGE * len(dice) * np.eye(scaled.shape[1]), scaled.T @ (dice - dice.mean())
    )
    slopes = slopes / spread
    return np.concatenate([[dice.mean() - slopes @ middle], slopes])


def _apply(line: Array, figures: Array) -> Array:
    # Where nothing was found all figures are 0, and so is the Dice (see segmentation.quality.expected_dice).
    return np.where(figures.any(axis=1), np.clip(line[0] + figures @ line[1:], 0, 1), 0)


def _rank_correlation(table: pd.DataFrame) -> dict[str, float]:
    patients = [rows for _, rows in table.groupby(["source", "group"])]
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(RESAMPLES):
        rows = pd.concat([patients[index] for index in rng.integers(len(patients), size=len(patients))])
        drawn.append(spearmanr(rows["expected"], rows["dice"]).statistic)
    low, high = np.percentile(drawn, [2.5, 97.5])
    value = spearmanr(table["expected"], table["dice"]).statistic
    return {"value": round(float(value), 3), "low": round(float(low), 3), "high": round(float(high), 3)}
