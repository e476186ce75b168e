"""`llnm evaluate` and `llnm calibrate`: from scores and labels to figures, a report, and a calibration of one's own.

Comes in: a table of scores, of our networks or anybody's. Goes out: `metrics.json`, `report.html` and a CSV file for
every figure; or `site.json` for `llnm predict --calibration`.
"""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from llnm import NOTICE
from llnm.cli.common import console, errors, prepare_folder, to_json
from llnm.errors import InputError, MissingExtraError
from llnm.files import write_text

if TYPE_CHECKING:
    from llnm.evaluation.intervals import Method
    from llnm.evaluation.scores import Scores

Table = Annotated[Path, typer.Argument(help="CSV or Parquet table, one row a patient.")]
Label = Annotated[str, typer.Option(help="Column of the truth: 1 with the condition, 0 without.")]
Score = Annotated[str, typer.Option(help="Column of the scores, 0 to 1.")]
Patient = Annotated[
    str | None, typer.Option(help="Column that says which rows are one patient's; patient_id if there is one.")
]
Positive = Annotated[str | None, typer.Option(help="Label of the condition, where labels are not 0 and 1.")]


def evaluate(
    scores: Table,
    label: Label,
    score: Score,
    out: Annotated[Path, typer.Option(help="Folder for metrics.json, report.html and the CSV files.")],
    threshold: Annotated[str, typer.Option(help="Cut-off: 0 to 1, youden, or sensitivity=0.95.")] = "0.5",
    patient: Patient = None,
    positive: Positive = None,
    subgroup: Annotated[
        list[str] | None, typer.Option(help="Column(s) of subgroups, such as centre, sex, age.")
    ] = None,
    compare: Annotated[list[str] | None, typer.Option(help="Column(s) of other models' scores.")] = None,
    margin: Annotated[float, typer.Option(help="Margin of non-inferiority, in AUC.")] = 0.05,
    published: Annotated[
        Path | None, typer.Option(help="CSV of published figures to check: figure, value, low, high.")
    ] = None,
    resamples: Annotated[int, typer.Option(min=100, help="Bootstrap draws.")] = 1000,
    interval: Annotated[str, typer.Option(help="percentile or bca.")] = "percentile",
    paper: Annotated[bool, typer.Option(help="Also write the clinical impact under the paper's column names.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
) -> None:
    """Evaluate scores against labels: discrimination, calibration, benefit, subgroups, comparisons, with intervals."""
    prepare_folder(out)
    subgroups, others = tuple(subgroup or ()), tuple(compare or ())
    read = _read(scores, label, score, patient, positive, [*subgroups, *others])
    from llnm.evaluation.page import write_evaluation
    from llnm.evaluation.published import read_published
    from llnm.evaluation.study import Plan
    from llnm.evaluation.study import evaluate as evaluate_scores
    from llnm.evaluation.words import Source
    from llnm.weights import file_sha256

    plan = Plan(threshold, subgroups, others, margin, resamples, _method(interval), seed)
    known = None if published is None else read_published(published)
    command = shlex.join(["llnm", *(Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:])])
    source = Source(scores.name, file_sha256(scores), score, label, command, positive or "1")
    result = evaluate_scores(read, plan, known)
    write_evaluation(result, source, out, paper_columns=paper)
    for note in result.notes:
        errors.print(f"llnm: {note}", markup=False)
    for name in ("auc", "sensitivity", "specificity", "accuracy", "npv", "ppv", "ece", "calibration_slope"):
        console.print(f"{name:18} {result.figures[name]}", markup=False)
    for row in result.published:
        if not (row.value_reproduces and row.interval_reproduces is not False):
            console.print(f"published {row.figure} {row.published}: {row.finding}", markup=False)
    console.print(f"{out / 'report.html'}: {NOTICE}", markup=False)


def calibrate(
    scores: Table,
    label: Label,
    score: Score,
    out: Annotated[Path, typer.Option(help="JSON file for llnm predict --calibration.")],
    patient: Patient = None,
    positive: Positive = None,
    name: Annotated[str | None, typer.Option(help="Name of the calibration, shown in every result.")] = None,
    threshold: Annotated[float, typer.Option(help="Cut-off at which accuracy is compared.")] = 0.5,
    coverage: Annotated[float, typer.Option(help="How often a set of answers is to hold the true one.")] = 0.9,
    missing: Annotated[
        str | None, typer.Option(help="Column that says what a patient lacked, such as missing; empty for nothing.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the split into folds.")] = 0,
) -> None:
    """Fit Platt's line to your own site's patients; what it gains is measured on patients it was not fitted to."""
    if out.is_dir():
        raise InputError(f"{out}: is a folder; give a file such as site.json")
    read = _read(scores, label, score, patient, positive, [missing] if missing else [])
    from llnm.evaluation.calibration import LogitLine, compare_recalibrations, fit_recalibration
    from llnm.evaluation.conformal import fit_conformal
    from llnm.evaluation.scores import Scores
    from llnm.weights import file_sha256

    line = fit_recalibration(read, "platt")
    if not isinstance(line, LogitLine):
        raise TypeError("Platt's scaling is a line")
    answered = read.answered
    lacking = answered.table[missing].astype(str).str.strip() if missing else None
    complete = None if lacking is None else lacking.isin(("", "nan", "[]", "0", "False")).to_numpy()
    sets = fit_conformal(Scores(line(answered.score), answered.label, answered.patient), complete, coverage)
    table = compare_recalibrations(read, threshold, ("platt",), seed=seed).set_index("recalibration")
    before, after = (table.loc[row].to_dict() for row in ("none", "platt"))
    record: dict[str, Any] = {
        "name": name or f"{out.stem} ({read.patients} patients)",
        "slope": line.slope,
        "intercept": line.intercept,
        "conformal": asdict(sets),
        "patients": read.patients,
        "positives": int(read.label.sum()),
        "cross_fitted": {"before": before, "after": after},
        "excluded": [str(exclusion) for exclusion in read.excluded],
        "source": {"file": scores.name, "sha256": file_sha256(scores), "score": score, "label": label},
        "notice": NOTICE,
    }
    write_text(out, to_json(record))
    for note in (*map(str, read.excluded), *read.warnings):
        errors.print(f"llnm: {note}", markup=False)
    for figure in ("ece", "brier", "accuracy"):
        console.print(f"{figure:9} {before[figure]:.3f} -> {after[figure]:.3f} (cross-fitted)", markup=False)
    console.print(f"{out}: slope {line.slope:.3f}, intercept {line.intercept:.3f}. {NOTICE}", markup=False)


def _read(path: Path, label: str, score: str, patient: str | None, positive: str | None, columns: list[str]) -> Scores:
    try:
        from llnm.evaluation.scores import read_scores
    except ImportError as error:
        raise MissingExtraError(str(error.name), "evaluation") from error
    return read_scores(path, label, score, patient=patient, positive=positive, columns=columns)


def _method(interval: str) -> Method:
    if interval in ("percentile", "bca"):
        return cast("Method", interval)
    raise InputError(f"interval: {interval!r} is not known; choose percentile or bca")
