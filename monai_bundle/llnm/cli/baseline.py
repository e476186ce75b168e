"""`llnm baseline`: a clinical model on a table, tested on another table or cross-fitted on its own.

Comes in: a table with a label and a few columns. Goes out: `scores.csv` for `llnm evaluate`, and `model.json`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llnm import NOTICE
from llnm.cli.common import console, prepare_folder
from llnm.errors import InputError
from llnm.files import write_text


def baseline(
    table: Annotated[Path, typer.Argument(help="CSV or Parquet to fit on, one row a patient.")],
    label: Annotated[str, typer.Option(help="Column of the truth: 1 with the condition, 0 without.")],
    column: Annotated[list[str], typer.Option(help="Column to predict from; again for each.")],
    out: Annotated[Path, typer.Option(help="Folder for scores.csv and model.json.")],
    test: Annotated[Path | None, typer.Option(help="Table to score; the fitted one, cross-fitted, else.")] = None,
    keep: Annotated[list[str] | None, typer.Option(help="Further column(s) of the scored table to write.")] = None,
    positive: Annotated[str | None, typer.Option(help="Label of the condition, where labels are not 0 and 1.")] = None,
    folds: Annotated[int, typer.Option(min=2, help="Parts of the cross-fitting.")] = 5,
    seed: Annotated[int, typer.Option(help="Seed of the split.")] = 0,
) -> None:
    """Fit a clinical model (penalised logistic regression) and score patients that it has not seen."""
    import numpy as np
    import pandas as pd

    from llnm.baselines import cross_fitted_scores, fit_clinical
    from llnm.evaluation.scores import read_labels, read_table

    prepare_folder(out)
    further = list(keep or ())
    fitted_on = read_table(table, [label, *column, *(further if test is None else ())])
    truth = read_labels(fitted_on[label], positive, f"{table.name}: {label}")
    if np.isnan(truth).any():
        raise InputError(f"{table.name}: {label}: {int(np.isnan(truth).sum())} rows are empty; leave them out")
    model = fit_clinical(fitted_on, truth > 0, column)
    if test is None:
        scored, score = fitted_on, cross_fitted_scores(fitted_on, truth > 0, column, folds, seed)
    else:
        scored = read_table(test, [label, *column, *further])
        score = model(scored)
    labels = read_labels(scored[label], positive, f"{(test or table).name}: {label}")
    written = pd.DataFrame({"score": score, label: labels}).join(scored[further])
    write_text(out / "scores.csv", written.to_csv(index=False))
    model.save(out / "model.json")
    how = f"cross-fitted in {folds} parts" if test is None else f"fitted on {table.name}"
    console.print(f"{len(written)} patients scored, {how}: {out / 'scores.csv'}. {NOTICE}", markup=False)
