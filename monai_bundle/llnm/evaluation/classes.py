"""More than two classes, such as the three stages of lateral metastasis: each class against the rest, and the mean.

Comes in: one probability a class and the true class. Goes out: figures of each class and their averages, as the paper
averages its staging (Table 2).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from llnm.errors import InputError
from llnm.evaluation.cells import Cells, count
from llnm.evaluation.discrimination import auc, confusion, rates
from llnm.evaluation.intervals import LEVEL, RESAMPLES, draws, figure_of
from llnm.evaluation.scores import Bools, Floats, Scores

MEAN = "mean of the classes"
# How far the probabilities of a row may be from adding up to 1.
_SLACK = 0.01


def class_table(
    probabilities: pd.DataFrame,
    label: pd.Series,
    patient: pd.Series | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """One row a class, and one for their unweighted mean, each figure with its interval.

    `probabilities` (n, k): a column a class, named as `label` (n,) names it. AUC is that of the class's probability
    against all others; the rates are those of calling each row its likeliest class. Every class sees the same draws
    of patients. Raises InputError for empty cells, a label without a column, a class without patients, or rows that do
    not add up to 1.
    """
    chance, truth = _checked(probabilities, label)
    patients = np.arange(len(truth)) if patient is None else pd.factorize(patient)[0]
    likeliest = chance.argmax(axis=1)
    values: dict[str, Mapping[str, Floats]] = {}
    drawn: dict[str, Mapping[str, Floats]] = {}
    for index, name in enumerate(probabilities.columns):
        graded = Scores(chance[:, index], truth == index, patients)
        called = Scores((likeliest == index).astype(float), truth == index, patients)
        values[name] = {**_area(count(graded)), **_rates(count(called))}
        drawn[name] = {
            **draws(graded, _area, resamples, np.random.default_rng(seed), paired=True),
            **draws(called, _rates, resamples, np.random.default_rng(seed), paired=True),
        }
    for table in (values, drawn):
        table[MEAN] = {
            figure: np.mean([table[name][figure] for name in probabilities.columns], axis=0)
            for figure in table[probabilities.columns[0]]
        }
    told = f"percentile bootstrap over patients, {resamples} draws, {LEVEL:.0%}"
    rows = []
    for name, figures in values.items():
        members: Bools = np.ones(len(truth), bool) if name == MEAN else truth == probabilities.columns.get_loc(name)
        row: dict[str, object] = {"class": name, "rows": int(members.sum())}
        for figure, value in figures.items():
            found = figure_of(float(value), drawn[name][figure], told)
            row |= {figure: found.value, f"{figure}_low": found.low, f"{figure}_high": found.high}
        rows.append(row)
    return pd.DataFrame(rows)


def _area(cells: Cells) -> dict[str, Floats]:
    return {"auc": auc(cells)}


def _rates(cells: Cells) -> dict[str, Floats]:
    return rates(confusion(cells, 0.5))


def _checked(probabilities: pd.DataFrame, label: pd.Series) -> tuple[Floats, np.ndarray]:
    """(probabilities (n, k), the true class's column (n,))."""
    chance = probabilities.apply(pd.to_numeric, errors="coerce").to_numpy(float)
    usable = np.isfinite(chance).all(axis=1) & label.notna().to_numpy()
    if not usable.all():
        row = int(np.flatnonzero(~usable)[0])
        raise InputError(f"classes: row {row + 2} has no number or no label; leave such rows out and say so")
    off = np.abs(chance.sum(axis=1) - 1) > _SLACK
    if off.any() or (chance < 0).any():
        row = int(np.flatnonzero(off | (chance < 0).any(axis=1))[0])
        raise InputError(f"classes: the probabilities of row {row + 2} do not add up to 1; give one column a class")
    names = [str(name) for name in probabilities.columns]
    text = label.astype("string").str.strip()
    unknown = sorted(set(text) - set(names))
    if unknown:
        raise InputError(f"classes: no column holds the probability of {unknown[0]!r}; there are {', '.join(names)}")
    empty = [name for name in names if not (text == name).any()]
    if empty:
        raise InputError(f"classes: no row is of class {empty[0]!r}; leave the class out")
    return chance, text.map({name: index for index, name in enumerate(names)}).to_numpy(int)
