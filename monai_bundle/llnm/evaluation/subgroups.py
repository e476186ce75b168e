"""Whether a model serves everybody: the same figures for each centre, sex, age group, size class, subtype or TI-RADS.

Comes in: `Scores` whose table has the columns. Goes out: one row a subgroup, and the gaps between subgroups.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from llnm.errors import InputError
from llnm.evaluation.cells import Cells, count
from llnm.evaluation.discrimination import auc, confusion, rates
from llnm.evaluation.intervals import LEVEL, RESAMPLES, Figure, draws, figure_of
from llnm.evaluation.scores import FEW, TOO_FEW, Floats, Scores

FIGURES = ("auc", "sensitivity", "specificity", "accuracy", "npv", "ppv")
# Where a number is cut into groups: age at 55 years as AJCC staging does, size at the limits of T1a, T1b and T2.
CUTS: dict[str, tuple[float, ...]] = {"age": (55,), "size_mm": (10, 20, 40), "width_mm": (10, 20, 40)}
# Other columns of more different numbers than this are cut into quarters.
_MOST_VALUES = 8
UNKNOWN = "unknown"


def subgroup_table(
    scores: Scores, columns: Sequence[str], threshold: float, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(one row a subgroup, one row a gap) for the `columns` of the scores' table.

    A gap is the largest less the smallest value of a figure among the subgroups of a column that have at least 20
    patients with and without the condition; 0 is fair. Its interval comes from draws within each subgroup, and being a
    largest difference it is above 0 by chance alone; `p` is the share of draws from the whole, the subgroups' sizes
    kept, that show as large a gap. Raises InputError for a column that the table lacks.
    """
    rows, gaps = [], []
    for column in columns:
        if column not in scores.table:
            raise InputError(
                f"subgroup: no column is called {column!r}; choose from {', '.join(map(str, scores.table.columns))}"
            )
        groups = group_names(scores.table[column])
        members = {name: scores.where((groups == name).to_numpy()) for name in sorted(groups.unique())}
        found = {name: _subgroup(group, threshold, resamples, seed) for name, group in members.items()}
        rows += [{"column": column, "group": name, **_row(members[name], found[name][0])} for name in members]
        large = [name for name, group in members.items() if _smaller_class(group) >= FEW]
        if len(large) > 1:
            gaps += _gaps(column, scores, groups, large, found, threshold, resamples, seed)
    return pd.DataFrame(rows), pd.DataFrame(gaps)


def group_names(values: pd.Series) -> pd.Series:
    """The subgroup of each row as text: its value, or the range it falls into where numbers are many."""
    numbers = pd.to_numeric(values, errors="coerce")
    cuts = CUTS.get(str(values.name))
    if numbers.notna().sum() < values.notna().sum() or (cuts is None and numbers.nunique() <= _MOST_VALUES):
        text = values.astype("string").str.strip()
        return text.mask(text == "").fillna(UNKNOWN)
    if cuts is None:
        cuts = tuple(np.unique(numbers.quantile([0.25, 0.5, 0.75])))
    edges = [-np.inf, *cuts, np.inf]
    names = [f"below {cuts[0]:g}", *(f"{low:g} to below {high:g}" for low, high in pairwise(cuts))]
    names.append(f"{cuts[-1]:g} or more")
    return pd.cut(numbers, edges, labels=names, right=False).astype("string").fillna(UNKNOWN)


def _figures(cells: Cells, threshold: float) -> dict[str, Floats]:
    return {"auc": auc(cells), **rates(confusion(cells, threshold))}


def _subgroup(
    group: Scores, threshold: float, resamples: int, seed: int
) -> tuple[dict[str, Figure], dict[str, Floats]]:
    values = _figures(count(group), threshold)
    drawn = draws(group, lambda cells: _figures(cells, threshold), resamples, np.random.default_rng(seed))
    told = f"percentile bootstrap over patients, {resamples} draws, {LEVEL:.0%}"
    return {name: figure_of(float(values[name]), drawn[name], told) for name in FIGURES}, drawn


def _row(group: Scores, figures: dict[str, Figure]) -> dict[str, float | int | None]:
    row: dict[str, float | int | None] = {"patients": group.patients, "positives": int(group.label.sum())}
    for name, figure in figures.items():
        # One class of one patient gives a figure and no idea of it.
        shown = figure if _smaller_class(group) >= TOO_FEW else Figure(None)
        row |= {name: shown.value, f"{name}_low": shown.low, f"{name}_high": shown.high}
    return row


def _smaller_class(group: Scores) -> int:
    return min(group.patients_with(True), group.patients_with(False))


def _gaps(
    column: str,
    scores: Scores,
    groups: pd.Series,
    large: Sequence[str],
    found: dict[str, tuple[dict[str, Figure], dict[str, Floats]]],
    threshold: float,
    resamples: int,
    seed: int,
) -> list[dict[str, float | str | None]]:
    """One row a figure: the gap, its interval, and the p that subgroups drawn by lot differ as much."""
    by_lot = _shuffled_gaps(scores, groups, large, threshold, min(resamples, 200), seed)
    rows: list[dict[str, float | str | None]] = []
    for name in FIGURES:
        values = [found[group][0][name].value for group in large]
        if None in values:
            continue
        known = np.array(values, dtype=float)
        drawn = np.stack([found[group][1][name] for group in large])
        gap = figure_of(float(np.ptp(known)), np.ptp(drawn, axis=0), "")
        p = (1 + (by_lot[name] >= np.ptp(known) - 1e-12).sum()) / (1 + len(by_lot[name]))
        extremes = {"highest": large[int(known.argmax())], "lowest": large[int(known.argmin())]}
        gaps = {"gap": gap.value, "gap_low": gap.low, "gap_high": gap.high, "p": float(p)}
        rows.append({"column": column, "figure": name, **extremes, **gaps})
    return rows


def _shuffled_gaps(
    scores: Scores, groups: pd.Series, large: Sequence[str], threshold: float, shuffles: int, seed: int
) -> dict[str, Floats]:
    """The gaps of subgroups of the same sizes to which patients are dealt by lot, each label's shares kept."""
    rng = np.random.default_rng(seed)
    code = groups.map({name: index for index, name in enumerate(large)}).fillna(-1).to_numpy(int)
    gaps: dict[str, list[float]] = {name: [] for name in FIGURES}
    for _ in range(shuffles):
        dealt = code.copy()
        for truth in (True, False):
            rows = np.flatnonzero(scores.label == truth)
            dealt[rows] = code[rng.permutation(rows)]
        found = [_figures(count(scores.where(dealt == index)), threshold) for index in range(len(large))]
        for name in FIGURES:
            gaps[name].append(float(np.ptp([figures[name] for figures in found])))
    return {name: np.array(values) for name, values in gaps.items()}
