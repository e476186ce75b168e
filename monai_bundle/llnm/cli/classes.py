"""`llnm classes`: figures of a model with more than two classes, such as the three stages of lateral metastasis.

Comes in: a table with a column of probabilities for each class and one of the true class. Goes out: `classes.csv` (one
row a class and one for their mean) and `classes.json`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llnm import NOTICE
from llnm.cli.common import console, prepare_folder, to_json
from llnm.errors import InputError
from llnm.files import write_text


def classes(
    scores: Annotated[Path, typer.Argument(help="CSV or Parquet table, one row a patient.")],
    label: Annotated[str, typer.Option(help="Column of the true class.")],
    probability: Annotated[
        list[str], typer.Option(help="Column of a class's probability, named as the label names it; again for each.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for classes.csv and classes.json.")],
    patient: Annotated[str | None, typer.Option(help="Column that says which rows are one patient's.")] = None,
    resamples: Annotated[int, typer.Option(min=100, help="Bootstrap draws.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
) -> None:
    """Evaluate a model of several classes: each one against the rest, and their mean, with intervals."""
    from llnm.evaluation.classes import class_table
    from llnm.evaluation.scores import PATIENT_COLUMN, read_table

    prepare_folder(out)
    if len(probability) < 2:
        raise InputError("probability: one class alone has nothing to be told from; give --probability for each class")
    wanted = [label, *probability, *([patient] if patient else [])]
    table = read_table(scores, wanted, [] if patient else [PATIENT_COLUMN], numbers=probability)
    people = patient or (PATIENT_COLUMN if PATIENT_COLUMN in table else None)
    known = table[people] if people else None
    found = class_table(table[probability], table[label], known, resamples=resamples, seed=seed)
    write_text(out / "classes.csv", found.to_csv(index=False))
    rows = found.astype(object).where(found.notna(), None).to_dict("records")
    settings = {"table": scores.name, "label": label, "resamples": resamples, "seed": seed}
    write_text(out / "classes.json", to_json({"classes": rows, "settings": settings, "notice": NOTICE}))
    for row in rows:
        console.print(
            f"{row['class']} ({row['rows']}): AUC {row['auc']:.3f}, accuracy {row['accuracy']:.3f}", markup=False
        )
    console.print(f"{out / 'classes.csv'}: {NOTICE}", markup=False)
