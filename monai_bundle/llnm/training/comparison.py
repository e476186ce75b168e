"""Lays training runs side by side: what a network, a source of images or an augmentation adds.

Comes in: folders of runs that were measured on the same images. Goes out: `comparison.csv` and `comparison.md`, for
each run and source its figures and their difference to the first run.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from llnm.errors import InputError
from llnm.evaluation.intervals import figure_of_values
from llnm.evaluation.masks import MISSED
from llnm.files import write_text
from llnm.training.workflow import write_table

RESAMPLES = 2000
COLUMNS = (
    *("run", "source", "patients", "dice", "low", "high", "missed"),
    *("difference", "difference_low", "difference_high", "parameters", "minutes"),
)


def compare_runs(runs: Sequence[Path], out: Path, seed: int = 0) -> list[dict[str, Any]]:
    """Table of `runs` (its rows are returned), the first one being what the others are compared with.

    Means are over patients; their 95 % intervals and those of the paired differences are percentile bootstraps over
    patients, the same patients drawn for both runs. Raises InputError for fewer than two runs, a folder that is none,
    or runs that were not measured on the same images.
    """
    if len(runs) < 2:
        raise InputError("data: give the folders of at least two training runs, the one to compare with first")
    tables = [_held_back(run) for run in runs]
    for run, table in zip(runs, tables, strict=True):
        if not table.index.equals(tables[0].index):
            raise InputError(f"{run}: was not measured on the same images as {runs[0]}; measure both on the same")
    rows = []
    for run, table in zip(runs, tables, strict=True):
        record = _record(run)
        for source in table.index.unique("source"):
            figures = _figures(table.loc[source, "dice"], tables[0].loc[source, "dice"], seed)
            rows.append({"run": run.name, "source": source, **figures, **record})
    write_table(pd.DataFrame(rows, columns=list(COLUMNS)), out / "comparison.csv")
    write_text(out / "comparison.md", "\n".join(_lines(rows)))
    return rows


def _held_back(run: Path) -> pd.DataFrame:
    """The run's images, indexed and sorted by source, group and image."""
    path = run / "held_back.csv"
    try:
        table = pd.read_csv(path, dtype={"group": str, "image": str})
        return table.set_index(["source", "group", "image"]).sort_index()
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: cannot be read ({error}); give folders that llnm train wrote") from error


def _record(run: Path) -> dict[str, Any]:
    path = run / "training.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return {name: record[name] for name in ("parameters", "minutes")}
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: cannot be read ({error}); give folders that llnm train wrote") from error


def _figures(dice: pd.Series, reference: pd.Series, seed: int) -> dict[str, Any]:
    ours, theirs = (values.groupby("group").mean().to_numpy() for values in (dice, reference))
    own, less = (figure_of_values(values, resamples=RESAMPLES, seed=seed).rounded() for values in (ours, ours - theirs))
    return {
        "patients": len(ours),
        **{"dice": own["value"], "low": own["low"], "high": own["high"]},
        "missed": round(float((ours < MISSED).mean()), 3),
        **{"difference": less["value"], "difference_low": less["low"], "difference_high": less["high"]},
    }


def _lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    lines = ["| run | source | patients | Dice (95 %) | missed | difference (95 %) |", "|---|---|---|---|---|---|"]
    for row in rows:
        lines.append(
            f"| {row['run']} | {row['source']} | {row['patients']} | {row['dice']:.3f} ({row['low']:.3f}-"
            f"{row['high']:.3f}) | {row['missed']:.1%} | {row['difference']:+.3f} ({row['difference_low']:+.3f} to "
            f"{row['difference_high']:+.3f}) |"
        )
    return [*lines, ""]
