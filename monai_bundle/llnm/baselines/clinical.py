"""A clinical model: penalised logistic regression of a label on a few columns of a table, such as age, sex and size.

Comes in: a table, one row a patient, with numbers or texts. Goes out: a `ClinicalModel`, a few numbers in JSON, and the
probabilities it gives to patients it has not seen. It is the clinical row beside which an image model must
prove its worth (Cli-DLR's clinical model).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import special

from llnm.errors import InputError, MissingExtraError
from llnm.evaluation.calibration import patient_folds
from llnm.evaluation.scores import Bools, Floats, Scores

# A text column of more different values than this is a name or a date.
_MOST_CATEGORIES = 20
# Inverse strength of the ridge penalty on standardised columns: weak, so that a few predictors are hardly shrunk.
PENALTY_C = 1.0


@dataclass(frozen=True)
class Predictor:
    """One column as the model takes it: a number, standardised, or a text's categories, the first being the reference.

    `weights`: one for a number, one a category after the first for texts; the last one is that of a missing cell, which
    is 0 where none was missing.
    """

    column: str
    mean: float | None
    deviation: float | None
    categories: tuple[str, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True)
class ClinicalModel:
    """Logit = intercept + sum of what each predictor adds; `patients` and `positives` it was fitted on."""

    intercept: float
    predictors: tuple[Predictor, ...]
    patients: int
    positives: int

    def __call__(self, table: pd.DataFrame) -> Floats:
        """Probability of each row, (n,). Raises InputError for a column that is missing."""
        logit = np.full(len(table), self.intercept)
        for predictor in self.predictors:
            logit += _design(table, predictor) @ np.array(predictor.weights)
        return np.asarray(special.expit(logit))

    def save(self, path: Path) -> None:
        """Write the model as JSON; raises InputError if the file cannot be written."""
        from llnm.files import write_text

        write_text(path, json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls, path: Path) -> ClinicalModel:
        """A model from its file; raises InputError if it is none."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            predictors = [
                Predictor(**{**one, "categories": tuple(one["categories"]), "weights": tuple(one["weights"])})
                for one in values.pop("predictors")
            ]
            return cls(predictors=tuple(predictors), **values)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: is no clinical model ({error}); fit one with: llnm baseline") from error


def fit_clinical(table: pd.DataFrame, label: Bools, columns: Sequence[str]) -> ClinicalModel:
    """Fit the `columns` of `table` to `label` (n,), True for the condition.

    Numbers are standardised, texts become categories, a missing cell has a weight of its own. Raises InputError for a
    column that is missing or holds nothing to learn from, or a label of one class.
    """
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise MissingExtraError("scikit-learn", "evaluation") from error
    if not columns:
        raise InputError("column: none is given; name the columns to predict from, such as age and sex")
    if label.all() or not label.any():
        raise InputError("label: all rows are of one class; nothing can be fitted")
    blank = [_describe(table, column) for column in columns]
    designs = [_design(table, predictor) for predictor in blank]
    fitted = LogisticRegression(C=PENALTY_C, max_iter=1000).fit(np.concatenate(designs, axis=1), label)
    ends = np.cumsum([design.shape[1] for design in designs])
    parts = np.split(fitted.coef_[0], ends[:-1])
    predictors = [
        Predictor(one.column, one.mean, one.deviation, one.categories, tuple(map(float, weights)))
        for one, weights in zip(blank, parts, strict=True)
    ]
    return ClinicalModel(float(fitted.intercept_[0]), tuple(predictors), len(label), int(label.sum()))


def cross_fitted_scores(
    table: pd.DataFrame, label: Bools, columns: Sequence[str], folds: int = 5, seed: int = 0
) -> Floats:
    """Probability of each row by a model fitted to the other folds, (n,); raises InputError as `fit_clinical`."""
    rows = Scores(np.zeros(len(label)), label, np.arange(len(label)))
    fold = patient_folds(rows, folds, seed)
    scores = np.empty(len(label))
    for part in range(folds):
        rest = fold != part
        scores[~rest] = fit_clinical(table[rest], label[rest], columns)(table[~rest])
    return scores


def _describe(table: pd.DataFrame, column: str) -> Predictor:
    """What is needed to turn the column's cells into numbers, without weights."""
    cells = _cells(table, column)
    numbers = pd.to_numeric(cells, errors="coerce")
    if cells.isna().all():
        raise InputError(f"{column}: is empty; leave the column out")
    if numbers.notna().equals(cells.notna()):
        deviation = float(numbers.std(ddof=0))
        if deviation == 0:
            raise InputError(f"{column}: is {numbers.dropna().iloc[0]:g} in every row; leave the column out")
        return Predictor(column, float(numbers.mean()), deviation, (), (0.0, 0.0))
    # The commonest value is the reference, so that weights say what sets the others apart.
    categories = tuple(map(str, cells.value_counts().index))
    if not 1 < len(categories) <= _MOST_CATEGORIES:
        raise InputError(f"{column}: has {len(categories)} different texts; 2 to {_MOST_CATEGORIES} can be used")
    return Predictor(column, None, None, categories, (0.0,) * len(categories))


def _design(table: pd.DataFrame, predictor: Predictor) -> Floats:
    """The column as numbers, (n, as many as there are weights); an unknown category counts as missing."""
    cells = _cells(table, predictor.column)
    if predictor.mean is not None and predictor.deviation is not None:
        numbers = pd.to_numeric(cells, errors="coerce").to_numpy(float, na_value=np.nan)
        missing = np.isnan(numbers)
        standard = (numbers - predictor.mean) / predictor.deviation
        return np.stack([np.where(missing, 0.0, standard), missing.astype(float)], axis=1)
    known = [(cells == name).fillna(False).to_numpy(float) for name in predictor.categories]
    missing = 1 - np.sum(known, axis=0)
    return np.stack([*known[1:], missing], axis=1)


def _cells(table: pd.DataFrame, column: str) -> pd.Series:
    if column not in table:
        raise InputError(f"{column}: there is no such column; choose from {', '.join(map(str, table.columns))}")
    cells = table[column].astype("string").str.strip()
    return cells.mask(cells == "")
