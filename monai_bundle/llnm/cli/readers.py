"""`llnm readers`: a reader study from a table, alone and beside a model.

Comes in: a table, one row a reader's reading of a case. Goes out: `readers.csv` (one row a reader), `readers.svg`
(raincloud of their accuracy) and `readers.json` (averages, groups, the model and its difference to the readers,
agreement, the multi-reader multi-case analysis, and what was set aside and why).
"""

from __future__ import annotations

import math
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llnm import NOTICE
from llnm.cli.common import console, errors, prepare_folder, to_json
from llnm.files import write_text

if TYPE_CHECKING:
    from llnm.evaluation.mrmc import Covariance
    from llnm.evaluation.readers import Reader, ReaderStudy, Readings


def readers(
    table: Annotated[Path, typer.Argument(help="CSV or Parquet: one row is one reader's reading of one case.")],
    case: Annotated[str, typer.Option(help="Column that names the case.")],
    reader: Annotated[str, typer.Option(help="Column that names the reader.")],
    rating: Annotated[str, typer.Option(help="Column of ratings: 0-1, grades, or decisions 0 and 1.")],
    label: Annotated[str, typer.Option(help="Column of the truth: 1 with the condition, 0 without.")],
    out: Annotated[Path, typer.Option(help="Folder for readers.csv and readers.json.")],
    group: Annotated[str | None, typer.Option(help="Column of the reader's group, such as senior and junior.")] = None,
    model: Annotated[str | None, typer.Option(help="Column of a model's score of the case, 0-1.")] = None,
    threshold: Annotated[
        float | None, typer.Option(help="A rating at or above it calls the case positive; 0.5 for ratings of 0-1.")
    ] = None,
    model_threshold: Annotated[float, typer.Option(help="The same for the model's score.")] = 0.5,
    positive: Annotated[
        str | None, typer.Option(help="The label of the condition, where labels are not 0 and 1.")
    ] = None,
    delong: Annotated[
        bool, typer.Option("--delong", help="Covariances of areas by DeLong, not by the jackknife.")
    ] = False,
    resamples: Annotated[int, typer.Option(help="Bootstrap draws.", min=100)] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
) -> None:
    """Measure readers: each one, averages for other readers and cases, agreement, and a model beside them."""
    from llnm.evaluation.readers import Columns, measure_readers, read_readings

    covariance: Covariance = "delong" if delong else "jackknife"
    prepare_folder(out)
    readings = read_readings(table, Columns(case, reader, rating, label, group, model), positive=positive)
    for remark in (*readings.excluded, *readings.warnings):
        errors.print(f"llnm: {remark}", markup=False)
    study = measure_readers(readings, threshold, model_threshold, resamples=resamples, seed=seed, covariance=covariance)
    record = _record(study, readings)
    record["settings"] |= {"covariance": covariance, "resamples": resamples, "seed": seed, "table": table.name}
    if model is not None:
        record["settings"]["model_threshold"] = model_threshold
    _write_readers(study, out / "readers.csv")
    write_text(out / "readers.svg", _raincloud(study, readings))
    write_text(out / "readers.json", to_json(record))
    for line in _summary(study, readings):
        console.print(line, markup=False)
    console.print(NOTICE, markup=False)


def _record(study: ReaderStudy, readings: Readings) -> dict[str, Any]:
    groups = {name: len(chosen) for name, chosen in readings.groups.items()}
    values = {
        "notice": NOTICE,
        "settings": {"threshold": study.threshold},
        "cases": len(readings.label),
        "cases_with_condition": int(readings.label.sum()),
        "readers": groups,
        "averages": study.averages,
        "model": study.model,
        "model_minus_readers": study.differences,
        "agreement": study.agreement,
        "obuchowski_rockette": {"areas": study.areas, "model_minus_readers": study.comparisons},
        "excluded": readings.excluded,
        "warnings": readings.warnings,
    }
    return {name: _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    """What JSON can hold; a number that it cannot hold is left out as null."""
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write_readers(study: ReaderStudy, path: Path) -> None:
    import pandas as pd

    write_text(path, pd.DataFrame([_row(reader) for reader in study.readers]).to_csv(index=False))


def _raincloud(study: ReaderStudy, readings: Readings) -> str:
    from llnm.evaluation.drawing import raincloud

    accuracy = [reader.figures["accuracy"].value or 0.0 for reader in study.readers]
    groups = {name: [accuracy[index] for index in chosen] for name, chosen in readings.groups.items()}
    model = study.model.figures["accuracy"].value if study.model else None
    return raincloud(groups, "Accuracy of each reader", None if model is None else ("model", model))


def _row(reader: Reader) -> dict[str, Any]:
    row: dict[str, Any] = {"reader": reader.name, "group": reader.group, **reader.counts}
    for name, figure in reader.figures.items():
        row |= {name: figure.value, f"{name}_low": figure.low, f"{name}_high": figure.high}
    return row


def _summary(study: ReaderStudy, readings: Readings) -> list[str]:
    lines = []
    for name, chosen in readings.groups.items():
        told = ", ".join(f"{key} {figure}" for key, figure in study.averages[name].items())
        lines.append(f"{name} ({len(chosen)} readers): {told}")
        if name in study.agreement:
            lines.append("  agreement: " + ", ".join(f"{key} {value}" for key, value in study.agreement[name].items()))
        if name in study.differences:
            less = ", ".join(f"{key} {figure}" for key, figure in study.differences[name].items())
            lines.append(f"  model less readers: {less}")
        compared = study.comparisons.get(name)
        if compared is not None and compared.random is not None:
            lines.append(f"  area, model less readers (Obuchowski-Rockette): p = {compared.random.p:.4f}")
    if study.model:
        lines.append("model: " + ", ".join(f"{key} {figure}" for key, figure in study.model.figures.items()))
    return lines
