"""Scores and labels as they come from anybody's table, checked before anything is measured.

Comes in: a CSV or Parquet table with a column of scores, one of labels and, if it has them, patients and subgroups.
Goes out: `Scores`. What cannot be measured is set aside by name, with the rows it stood in, or ends in an error;
nothing is dropped silently. A score that is no probability is an answer of the model that nobody can use: its patient
counts as wrongly classified (intention to diagnose, Schuetz et al., BMJ 2012) and is left out of what needs a score.
An empty cell is no answer, and its row is left out of everything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from llnm.errors import InputError, MissingExtraError

# A table of which more than this share cannot be used is not the table its user takes it for.
MOST_EXCLUDED = 0.05
# Fewer patients of a class than this make every interval a rough guess; fewer than the second, none at all.
FEW, TOO_FEW = 20, 2
PATIENT_COLUMN = "patient_id"
_SHOWN_ROWS = 5
_LABELS = {"1": 1.0, "0": 0.0, "1.0": 1.0, "0.0": 0.0, "true": 1.0, "false": 0.0}

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Exclusion:
    """Rows that were set aside: how many, why, and the first of them (numbered as a spreadsheet does, header 1).

    `counted`: whether their patients still count, as wrongly classified.
    """

    reason: str
    rows: int
    first: tuple[int, ...]
    counted: bool = False

    def __str__(self) -> str:
        rows = f"{self.rows} row{'s' if self.rows > 1 else ''}"
        shown = ", ".join(map(str, self.first)) + (", ..." if self.rows > len(self.first) else "")
        fate = "set aside, counted as wrongly classified" if self.counted else "set aside"
        return f"{self.reason}: {rows} {fate} (row {shown})"


# Compared by identity, so that what is computed of them can be kept for the next question.
@dataclass(frozen=True, eq=False)
class Scores:
    """What is measured: `score` (n,) in 0-1, `label` (n,) True for the condition, `patient` (n,) as codes from 0.

    A score is NaN where the model's answer is no probability. `table` holds the other columns that were asked for
    (subgroups, further scores), row by row.
    """

    score: Floats
    label: Bools
    patient: npt.NDArray[np.int64]
    table: pd.DataFrame = field(default_factory=pd.DataFrame)
    excluded: tuple[Exclusion, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def clustered(self) -> bool:
        """Whether a patient has more than one row, so that rows are not independent."""
        return self.patients < len(self.patient)

    @property
    def patients(self) -> int:
        """How many patients there are."""
        return int(self.patient.max()) + 1 if len(self.patient) else 0

    def patients_with(self, truth: bool) -> int:
        """How many patients have a row with (True) or without (False) the condition."""
        return int(np.count_nonzero(np.bincount(self.patient[self.label == truth])))

    @property
    def answered(self) -> Scores:
        """The rows that have a score."""
        known = ~np.isnan(self.score)
        return self if known.all() else self.where(known)

    def where(self, chosen: Bools) -> Scores:
        """The rows `chosen` (n,) alone."""
        patient = pd.factorize(self.patient[chosen])[0].astype(np.int64)
        table = self.table.loc[chosen].reset_index(drop=True) if len(self.table) else self.table
        return Scores(self.score[chosen], self.label[chosen], patient, table)


def read_scores(
    path: Path,
    label: str,
    score: str,
    *,
    patient: str | None = None,
    positive: str | None = None,
    columns: Sequence[str] = (),
) -> Scores:
    """Scores from the table at `path`, whose further `columns` are kept.

    `patient`: the column that says which rows belong together (`patient_id` by default, if there is one).
    `positive`: the label of patients with the condition, where labels are not 0 and 1. Raises InputError for a table
    that cannot be read or used, and says what to change.
    """
    wanted = [label, score, *([patient] if patient else []), *columns]
    table = read_table(path, wanted, [] if patient else [PATIENT_COLUMN], numbers=[score])
    patient = patient or (PATIENT_COLUMN if PATIENT_COLUMN in table else None)
    known = None if patient is None else table[patient]
    kept = table[list(columns)] if columns else pd.DataFrame(index=table.index)
    return check_scores(
        table[score], table[label], known, kept, positive=positive, names=(path.name, score, label, patient or "")
    )


def check_scores(
    score: npt.ArrayLike,
    label: npt.ArrayLike,
    patient: npt.ArrayLike | None = None,
    table: pd.DataFrame | None = None,
    *,
    positive: str | None = None,
    names: tuple[str, str, str, str] = ("scores", "score", "label", "patient"),
) -> Scores:
    """The same from arrays (n,); `names` of source, score, label and patient stand in messages."""
    source, score_name, label_name, patient_name = names
    raw_score = pd.Series(score).reset_index(drop=True)
    values = pd.to_numeric(raw_score, errors="coerce").to_numpy(float, na_value=np.nan)
    raw_label = pd.Series(label).reset_index(drop=True)
    if len(values) == 0:
        raise InputError(f"{source}: has no rows; give one row a patient")
    if len(raw_label) != len(values):
        raise InputError(f"{source}: {len(values)} scores and {len(raw_label)} labels; give one label a score")
    truth = read_labels(raw_label, positive, f"{source}: {label_name}")
    given = raw_score.notna().to_numpy()
    people = None if patient is None else pd.Series(patient).reset_index(drop=True)
    table = pd.DataFrame(index=range(len(values))) if table is None else table.reset_index(drop=True)

    causes = {f"{score_name}: empty": ~given, f"{label_name}: empty": np.isnan(truth)}
    if people is not None:
        causes[f"{patient_name}: empty"] = people.isna().to_numpy()
    usable = ~np.any(list(causes.values()), axis=0)
    if people is not None:
        repeated = causes[f"{patient_name}: the same row again"] = _repeated(people, values, truth, table, usable)
        usable &= ~repeated
    failed = {
        f"{score_name}: no number": usable & np.isnan(values),
        f"{score_name}: outside 0 to 1": usable & ((values < 0) | (values > 1)),
    }
    excluded = (*name_exclusions(causes), *name_exclusions(failed, counted=True))
    lost = ~usable | np.any(list(failed.values()), axis=0)
    _check_share(source, score_name, float(lost.mean()), excluded, values)
    values = np.where(lost, np.nan, values)
    codes = np.arange(usable.sum()) if people is None else pd.factorize(people[usable])[0]
    scores = Scores(
        values[usable],
        truth[usable] > 0,
        codes.astype(np.int64),
        table.loc[usable].reset_index(drop=True),
        excluded,
    )
    return _with_warnings(scores, f"{source}: {label_name}", patient_name)


def read_table(
    path: Path, columns: Sequence[str], optional: Sequence[str] = (), numbers: Sequence[str] = ()
) -> pd.DataFrame:
    """The `columns` of the CSV or Parquet table at `path`, and those of the `optional` ones that it has.

    Cells are text, since "01" and "1" are two patients, except in `numbers` that hold nothing but numbers. Raises
    InputError for a table that cannot be read or lacks a column.
    """
    try:
        import pyarrow as pa
        from pyarrow import csv, parquet
    except ImportError as error:
        raise MissingExtraError("pyarrow", "evaluation") from error
    try:
        if path.suffix.lower() == ".parquet":
            header = list(parquet.read_schema(path).names)
            wanted = _wanted(path, header, columns, optional)
            return parquet.read_table(path, columns=wanted).to_pandas()
        header = list(pd.read_csv(path, nrows=0, encoding="utf-8-sig").columns)
        wanted = _wanted(path, header, columns, optional)
        options = csv.ConvertOptions(
            include_columns=wanted, column_types=dict.fromkeys(wanted, pa.string()), strings_can_be_null=True
        )
        table = csv.read_csv(path, convert_options=options)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise InputError(f"{path}: cannot be read as a table ({reason}); give a CSV file with a header") from error
    for name in set(numbers) & set(wanted):
        with suppress(pa.ArrowInvalid):
            table = table.set_column(table.schema.get_field_index(name), name, table[name].cast(pa.float64()))
    return table.to_pandas(types_mapper={pa.string(): pd.StringDtype("pyarrow")}.get)


def _wanted(path: Path, header: Sequence[str], columns: Sequence[str], optional: Sequence[str]) -> list[str]:
    missing = [name for name in columns if name not in header]
    if missing:
        raise InputError(f"{path.name}: has no column {missing[0]!r}; its columns are {', '.join(map(str, header))}")
    return list(dict.fromkeys([*columns, *(name for name in optional if name in header)]))


def read_labels(label: pd.Series, positive: str | None, where: str) -> Floats:
    """1 with the condition, 0 without, NaN where the cell is empty; raises InputError for any other label."""
    code, different = pd.factorize(label)
    known = [str(value).strip() for value in different]
    if positive is not None:
        if positive not in known:
            raise InputError(f"{where}: no row says {positive!r}; its labels are {_shown(sorted(known))}")
        truth = [float(value == positive) for value in known]
    else:
        truth = [_LABELS.get(value.lower(), np.nan) for value in known]
        if np.isnan(truth).any():
            named = _shown(sorted(known))
            raise InputError(f"{where}: holds {named}, not 0 and 1; say which is the condition with --positive")
    # The code of an empty cell is -1, the last place.
    return np.array([*truth, np.nan])[code]


def _shown(values: Sequence[str]) -> str:
    return ", ".join(map(str, values[:_SHOWN_ROWS])) + (", ..." if len(values) > _SHOWN_ROWS else "")


def _repeated(people: pd.Series, values: Floats, truth: Floats, table: pd.DataFrame, usable: Bools) -> Bools:
    """Rows that say of the same patient the same again."""
    if not people[usable].duplicated().any():
        return np.zeros(len(values), dtype=bool)
    rows = pd.DataFrame({"patient": people, "score": values, "label": truth}).join(table.astype("string"), rsuffix="_")
    return rows.duplicated().to_numpy() & usable


def name_exclusions(causes: Mapping[str, Bools], counted: bool = False) -> tuple[Exclusion, ...]:
    """An exclusion for each of the `causes` that holds for any row."""
    found = []
    for reason, rows in causes.items():
        if rows.any():
            first = tuple(int(index) + 2 for index in np.flatnonzero(rows)[:_SHOWN_ROWS])
            found.append(Exclusion(reason, int(rows.sum()), first, counted))
    return tuple(found)


def _check_share(source: str, score: str, lost: float, excluded: Sequence[Exclusion], values: Floats) -> None:
    if lost <= MOST_EXCLUDED:
        return
    outside = float(((values < 0) | (values > 1)).mean())
    hint = "mend the table"
    if outside > MOST_EXCLUDED:
        hint = f"{score} must be a probability of 0 to 1, no percentage and no logit"
    named = "; ".join(map(str, excluded))
    raise InputError(f"{source}: {lost:.0%} of the rows cannot be used ({named}); {hint}")


def _with_warnings(scores: Scores, where: str, patient: str) -> Scores:
    sick, healthy = scores.patients_with(True), scores.patients_with(False)
    if min(sick, healthy) < TOO_FEW:
        raise InputError(
            f"{where}: {sick} patients with the condition and {healthy} without; at least {TOO_FEW} of each are needed"
        )
    warnings = []
    if min(sick, healthy) < FEW:
        warnings.append(f"only {sick} patients with the condition and {healthy} without: intervals are rough")
    if scores.clustered:
        more = int((np.bincount(scores.patient) > 1).sum())
        both = np.bincount(scores.patient, scores.label)
        mixed = int(((both > 0) & (both < np.bincount(scores.patient))).sum())
        text = f"{patient}: {more} patients have several rows; they are drawn together in every bootstrap"
        warnings.append(text + (f"; {mixed} of them have rows with and without the condition" if mixed else ""))
    return Scores(scores.score, scores.label, scores.patient, scores.table, scores.excluded, tuple(warnings))
