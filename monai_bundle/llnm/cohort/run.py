"""Predicts a whole cohort: goes on after an interruption, and one bad patient stops nobody else.

Comes in: a cohort table and how to predict. Goes out, in one folder: `results.parquet` (one row a patient, the fields
of `result.json` side by side, then the table's own columns), `errors.csv` (who could not be predicted, and why) and
`patients/`, one file a finished patient, from which an interrupted run goes on. Patients are shared among processes by
Dask, on this machine or on a cluster that sees the same files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pandas as pd

from llnm import __version__
from llnm.cohort.resumable import PATIENTS, Failure, attempt, run_each, write_failures
from llnm.cohort.table import fingerprint, read_patient, read_table, rows
from llnm.errors import MissingExtraError
from llnm.files import whole_file, write_text
from llnm.weights import BUNDLES, file_sha256, weights_file

if TYPE_CHECKING:
    from llnm.pipeline import Prediction

RESULTS = "results.parquet"
# Columns of the table that name files or free text, and those that a result has itself.
_NOT_KEPT = ("transverse", "longitudinal", "report", "patient_id")
# Of lists of numbers, which columns they become.
_ENDS = {"interval": ("low", "high"), "ras_mm": ("x", "y", "z")}
Cells = Mapping[str, str]


class Locate(Protocol):
    """Gives the atlas fields of `location` in a result, and warnings, of a prediction and its row; a dataclass.

    `llnm.atlas.locate.LocateRow` is one. The atlas is built from cohorts, so this room does not know it.
    """

    def __call__(self, prediction: Prediction, cells: Cells) -> tuple[dict[str, Any], list[str]]:
        """Fields and warnings."""


@dataclass(frozen=True)
class HowToPredict:
    """What every patient's prediction depends on beside the patient; the options of `llnm predict`."""

    weights: Path | None = None
    report_encoder: Path | None = None
    calibration: Path | None = None
    preset: str | None = None
    threshold: float = 0.5
    explain: str = "none"
    seed: int = 0
    abstain: bool = False
    locate: Locate | None = None

    def key(self) -> str:
        """A text that differs where a result could differ."""
        hashes = [file_sha256(weights_file(network, self.weights)) for network in BUNDLES]
        site = self.calibration and file_sha256(self.calibration)
        return json.dumps([__version__, hashes, site, asdict(self)], default=str, sort_keys=True)


@dataclass(frozen=True)
class CohortRun:
    """How many patients were predicted, how many of them in an earlier run, and how many could not be."""

    predicted: int
    taken_over: int
    failed: int


def run_cohort(
    path: Path,
    out: Path,
    how: HowToPredict,
    *,
    workers: int = 1,
    dask: str | None = None,
    resume: bool = False,
    progress: Callable[[int, int], None] = lambda done, whole: None,
) -> CohortRun:
    """Predict every patient of the cohort table at `path`; `progress` hears of each (done, of how many).

    `workers`: processes on this machine; `dask`: the address of a scheduler instead. `resume`: finished patients whose
    files, options and weights are the same are taken over; without it they are predicted anew. Raises InputError for a
    table that is none or an `out` that cannot be written, MissingExtraError where Dask or pyarrow is not installed.
    """
    _check_pyarrow()
    table = read_table(path)
    patients, folder = rows(table), path.resolve().parent
    key = how.key()
    files = [out / PATIENTS / f"{fingerprint(cells, folder, key)}.json" for cells in patients]
    jobs = [(cells, folder, how) for cells in patients]
    done = run_each(predict_row, jobs, files, _write, workers=workers, dask=dask, resume=resume, progress=progress)
    _write_results(out, [file for index, file in enumerate(files) if index not in done.failures], table, done.failures)
    write_failures(out, table, done.failures)
    return CohortRun(len(patients) - len(done.failures), done.taken_over, len(done.failures))


def predict_row(cells: Cells, folder: Path, how: HowToPredict) -> dict[str, Any] | Failure:
    """The flat result of one row, or why there is none."""
    return attempt(lambda: _predict_row(cells, folder, how))


def _predict_row(cells: Cells, folder: Path, how: HowToPredict) -> dict[str, Any]:
    from llnm.explain import METHODS, contributions
    from llnm.pipeline import Calibration, predict
    from llnm.pipeline.result import as_result

    prediction = predict(
        read_patient(cells, folder).case,
        weights=how.weights,
        report_encoder=how.report_encoder,
        calibration=None if how.calibration is None else Calibration.from_file(how.calibration),
        preset=how.preset,
        threshold=how.threshold,
        seed=how.seed,
        abstain=how.abstain,
    )
    located: dict[str, Any] = {}
    if how.locate is not None:
        located, doubts = how.locate(prediction, cells)
        prediction = replace(prediction, warnings=(*prediction.warnings, *doubts))
    return flat(as_result(prediction, contributions(prediction, how.explain), METHODS[how.explain], located))


def _write(path: Path, answer: Mapping[str, Any]) -> None:
    write_text(path, json.dumps(answer))


def flat(result: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested values side by side: names joined by _, intervals as _low and _high, places as _x, _y, _z, texts by ;."""
    found: dict[str, Any] = {}
    for name, value in result.items():
        column = f"{before}{name}"
        if isinstance(value, Mapping):
            found |= flat(value, f"{column}_")
        elif ends := next((ends for kind, ends in _ENDS.items() if name.endswith(kind)), None):
            found |= {f"{column}_{end}": None if value is None else value[place] for place, end in enumerate(ends)}
        elif isinstance(value, Sequence) and not isinstance(value, str):
            found[column] = "; ".join(part if isinstance(part, str) else json.dumps(part) for part in value)
        else:
            found[column] = value
    return found


def _write_results(out: Path, files: Sequence[Path], table: pd.DataFrame, failures: Mapping[int, Any]) -> None:
    results = pd.DataFrame([json.loads(file.read_text(encoding="utf-8")) for file in files])
    own = [column for column in table if column not in _NOT_KEPT and not str(column).endswith("_mask")]
    kept = table.drop(index=list(failures))[own].reset_index(drop=True)
    kept = kept.rename(columns={column: f"cohort_{column}" for column in own if column in results})
    both = pd.concat([results, kept.apply(_numbers_if_all_are)], axis=1)
    with whole_file(out / RESULTS) as temporary:
        both.to_parquet(temporary, index=False)


def _numbers_if_all_are(cells: pd.Series) -> pd.Series:
    """Texts of a column as numbers, empty ones as missing, if every other one is a number."""
    known = cells.mask(cells == "")
    numbers = pd.to_numeric(known, errors="coerce")
    return numbers if numbers.notna().equals(known.notna()) else known


def _check_pyarrow() -> None:
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("pyarrow", "scale") from error
