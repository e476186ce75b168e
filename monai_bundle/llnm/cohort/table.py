"""The cohort table: one row a patient, `cohort.csv`, whose files lie beside it.

Comes in: a table with the columns of REQUIRED, cells of which may be empty, and any of OPTIONAL. Goes out: checked
rows, cases with their masks, or all that is wrong with the table at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from llnm.case import (
    FINDINGS,
    PLANES,
    STRUCTURES,
    Case,
    Mask,
    Plane,
    Sex,
    Structure,
    View,
    check_age,
    check_sex,
    check_spacing,
)
from llnm.errors import InputError
from llnm.imaging import load_image, load_mask
from llnm.imaging.reading import check_path
from llnm.staging import LEVELS, UNCLASSIFIABLE, level_of

REQUIRED = ("patient_id", "transverse", "longitudinal", "report", "age", "sex")
FILES = (*PLANES, *(f"{plane}_{structure}_mask" for plane in PLANES for structure in STRUCTURES))
OPTIONAL = (
    *(f"{plane}_spacing_mm" for plane in PLANES),
    *FILES[len(PLANES) :],
    *("side", "centre", "subtype", "llnm", "node_count", "largest_node_mm", "stage", *FINDINGS, "true_probability"),
)


@dataclass(frozen=True)
class CohortPatient:
    """One row: the case with its masks, and the label (None if unknown)."""

    case: Case
    llnm: int | None


@dataclass(frozen=True)
class Clinical:
    """What one row says beside its images; None where the cell is empty.

    `level`: of `llnm.staging`. `findings`: what a reader said of the nodule, for each of `llnm.case.FINDINGS`.
    """

    report: str | None
    age: float | None
    sex: Sex | None
    llnm: int | None
    level: str | None = None
    findings: Mapping[str, bool | None] = field(default_factory=lambda: dict.fromkeys(FINDINGS))


def read_table(path: Path) -> pd.DataFrame:
    """The table with its columns checked; raises InputError if it is no cohort table."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as CSV ({error}); give a cohort table") from error
    missing = [column for column in REQUIRED if column not in table.columns]
    if missing:
        raise InputError(f"{path}: columns missing: {', '.join(missing)}; see the cohort table in the README")
    if table["patient_id"].duplicated().any() or (table["patient_id"] == "").any():
        raise InputError(f"{path}: patient_id must be given and different in every row; correct the table")
    return table


def read_patient(row: Mapping[str, str], folder: Path) -> CohortPatient:
    """The case of one row; raises InputError that names the patient and the column."""
    clinical = read_clinical(row, folder)
    try:
        views = {plane: _view(row, plane, folder) for plane in PLANES if row.get(plane)}
        case = Case(views, clinical.report, clinical.age, clinical.sex, patient=row["patient_id"])
    except InputError as error:
        raise InputError(f"patient {row['patient_id']}: {error}") from error
    return CohortPatient(case, clinical.llnm)


def read_clinical(row: Mapping[str, str], folder: Path) -> Clinical:
    """Report, age, sex and label of one row; raises InputError that names the patient and the column."""
    try:
        label, *findings = (_yes_or_no(row, column) for column in ("llnm", *FINDINGS))
        return Clinical(
            report=_report(row["report"], folder),
            age=check_age(row["age"]) if row["age"] else None,
            sex=check_sex(row["sex"]) if row["sex"] else None,
            llnm=None if label is None else int(label),
            level=_level(row),
            findings=dict(zip(FINDINGS, findings, strict=True)),
        )
    except InputError as error:
        raise InputError(f"patient {row['patient_id']}: {error}") from error


def _yes_or_no(row: Mapping[str, str], column: str) -> bool | None:
    cell = row.get(column, "")
    if cell not in ("", "0", "1"):
        raise InputError(f"{column}: {cell!r} is not 0 or 1; correct it or leave it empty")
    return cell == "1" if cell else None


def _level(row: Mapping[str, str]) -> str | None:
    """The level that node count and size give, or else the one stated; raises InputError where they contradict."""
    stated = row.get("stage", "") or None
    if stated is not None and stated not in (*LEVELS, UNCLASSIFIABLE):
        raise InputError(
            f"stage: {stated!r} is not {', '.join(LEVELS)} or {UNCLASSIFIABLE}; correct it or leave it empty"
        )
    count, size = row.get("node_count", ""), row.get("largest_node_mm", "")
    if not (count and size) or _number(count, "node_count") == 0:
        return stated
    level = level_of(int(_number(count, "node_count")), _number(size, "largest_node_mm"))
    if stated not in (None, level):
        raise InputError(
            f"stage: {stated!r} contradicts node_count {count} and largest_node_mm {size} ({level}); correct one"
        )
    return level


def _view(row: Mapping[str, str], plane: Plane, folder: Path) -> View:
    spacing = row.get(f"{plane}_spacing_mm") or None
    frame = load_image(
        folder / row[plane], spacing_mm=None if spacing is None else check_spacing(spacing, f"{plane}_spacing_mm")
    )
    masks: dict[Structure, Mask] = {}
    for structure in STRUCTURES:
        name = row.get(f"{plane}_{structure}_mask")
        if name:
            masks[structure] = load_mask(folder / name, frame.shape)
    return View(plane, frame, masks)


def _report(cell: str, folder: Path) -> str | None:
    if cell.endswith(".txt"):
        try:
            return (folder / cell).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"report: {cell} cannot be read as UTF-8 text; correct the path or the file") from error
    return cell or None


@dataclass(frozen=True)
class Problem:
    """Something wrong with a row of the table (`row` as a spreadsheet counts, header 1)."""

    row: int
    patient: str
    column: str
    reason: str

    def __str__(self) -> str:
        return f"row {self.row}, patient {self.patient or '(none)'}: {self.reason}"


def problems(table: pd.DataFrame, folder: Path) -> list[Problem]:
    """Everything that is wrong with the cells of a `table` of `folder`; no image is decoded for it.

    An image or mask that is there but cannot be read shows only when it is used.
    """
    found = []
    for index, cells in enumerate(rows(table)):
        for column, check in _checks(cells, folder):
            try:
                check()
            except InputError as error:
                found.append(Problem(index + 2, cells["patient_id"], column, str(error)))
    return found


def rows(table: pd.DataFrame) -> list[dict[str, str]]:
    """The rows as texts by column."""
    return [{str(column): str(cell) for column, cell in row.items()} for row in table.to_dict("records")]


def fingerprint(cells: Mapping[str, str], folder: Path, *more: str) -> str:
    """What a row is known by: a hash of its cells, of its files' content and of `more` that a result depends on."""
    digest = hashlib.sha256()
    for column in sorted(cells):
        digest.update(f"{column}={cells[column]}\0".encode())
        named_file = column in FILES or (column == "report" and cells[column].endswith(".txt"))
        if cells[column] and named_file and (folder / cells[column]).is_file():
            digest.update((folder / cells[column]).read_bytes())
    for text in more:
        digest.update(f"{text}\0".encode())
    return digest.hexdigest()[:32]


def _checks(cells: Mapping[str, str], folder: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    """(column, what raises InputError if its cell cannot be used) for every cell of a row that says something."""
    if not any(cells.get(plane) for plane in PLANES):
        yield "transverse", lambda: _refuse("transverse and longitudinal are both empty; give one view at least")
    for column in FILES:
        if cells.get(column):
            yield column, lambda name=column: check_path(folder / cells[name])  # type: ignore[misc]
    for plane in PLANES:
        column = f"{plane}_spacing_mm"
        if cells.get(column):
            yield column, lambda name=column: check_spacing(cells[name], name)  # type: ignore[misc]
    yield "report", lambda: _report(cells["report"], folder)
    if cells["age"]:
        yield "age", lambda: check_age(cells["age"])
    if cells["sex"]:
        yield "sex", lambda: check_sex(cells["sex"])
    for column in ("llnm", *FINDINGS):
        yield column, lambda name=column: _yes_or_no(cells, name)  # type: ignore[misc]
    if cells.get("side", "") not in ("", "left", "right"):
        yield "side", lambda: _refuse(f"side: {cells['side']!r} is not left or right; correct it or leave it empty")
    for column in ("node_count", "largest_node_mm"):
        if cells.get(column):
            yield column, lambda name=column: _number(cells[name], name)  # type: ignore[misc]
    yield "stage", lambda: _level(cells)


def _refuse(reason: str) -> None:
    raise InputError(reason)


def _number(cell: str, column: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = float("nan")
    if not 0 <= value < float("inf") or (column == "node_count" and value != int(value)):
        raise InputError(f"{column}: {cell!r} cannot be; give a number of 0 or more, or leave it empty")
    return value
