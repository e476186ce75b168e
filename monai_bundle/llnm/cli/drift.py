"""`llnm drift`: whether a new site's patients and scores differ from those a model was checked on.

Comes in: a reference table and the new site's, each with a column of scores and, if known, labels and inputs. Goes
out: `drift.csv` (one row a column), `drift.json` (all figures, the verdict, what to do) and a short table.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llnm import NOTICE
from llnm.cli.common import console, prepare_folder, to_json
from llnm.files import whole_file, write_text

if TYPE_CHECKING:
    import pandas as pd

    from llnm.evaluation.drift import Drift


def drift(
    reference: Annotated[Path, typer.Argument(help="CSV or Parquet of the patients the model was checked on.")],
    new: Annotated[Path, typer.Argument(help="The same of the new site.")],
    score: Annotated[str, typer.Option(help="Column of scores, 0 to 1.")],
    out: Annotated[Path, typer.Option(help="Folder for drift.csv and drift.json.")],
    label: Annotated[
        str | None, typer.Option(help="Column of labels, in the new table and, if known, in the reference.")
    ] = None,
    positive: Annotated[str | None, typer.Option(help="The label of the condition, if not 1.")] = None,
    inputs: Annotated[
        list[str] | None, typer.Option("--input", help="Column of numbers or categories; again for each.")
    ] = None,
    patient: Annotated[str | None, typer.Option(help="Column of patients; `patient_id` if there is one.")] = None,
) -> None:
    """Compare a new site with a reference: scores, inputs and, with labels, calibration.

    A drift that is found is a result, not a failure: the exit code is 0.
    """
    from llnm.evaluation.drift import compare_sites
    from llnm.evaluation.scores import PATIENT_COLUMN, read_table

    prepare_folder(out)
    columns = inputs or []
    wanted = [score, *columns, *([patient] if patient else [])]
    known = [label] if label else []
    found = compare_sites(
        read_table(reference, wanted, [*known, PATIENT_COLUMN]),
        read_table(new, [*wanted, *known], [PATIENT_COLUMN]),
        score,
        columns,
        label=label,
        positive=positive,
        patient=patient,
        names=(reference.name, new.name),
    )
    with whole_file(out / "drift.csv") as temporary:
        _table(found).to_csv(temporary, index=False)
    record = {"reference": reference.name, "new": new.name, **asdict(found), "notice": NOTICE}
    write_text(out / "drift.json", to_json(record))
    _show(found, out)


def _table(found: Drift) -> pd.DataFrame:
    """One row a column; its bins are in the JSON alone."""
    import pandas as pd

    rows = []
    for column in found.columns:
        row: dict[str, Any] = {name: value for name, value in vars(column).items() if name != "bins"}
        figure = row.pop("difference")
        row |= {"difference": figure.value, "difference_low": figure.low, "difference_high": figure.high}
        rows.append({name: "; ".join(value) if isinstance(value, tuple) else value for name, value in row.items()})
    return pd.DataFrame(rows)


def _show(found: Drift, out: Path) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for heading in ("column", "PSI (by chance)", "p", "difference", "missing", "verdict"):
        table.add_column(heading, overflow="fold")
    for column in found.columns:
        where = "" if column.difference_of is None else f"{column.difference_of}: "
        cells = (
            column.column,
            f"{column.psi:.2f} ({column.psi_limit:.2f})",
            "-" if column.p is None else f"{column.p:.2g}",
            f"{where}{column.difference}",
            f"{column.missing_reference:.0%} -> {column.missing_new:.0%}",
            column.verdict,
        )
        table.add_row(*map(Text, cells))
    console.print(table)
    if found.calibration is not None:
        for name, figure in found.calibration.new.items():
            before = found.calibration.reference
            known = "" if before is None else f", reference {before[name]}"
            console.print(f"{name.replace('_', ' ')}: {figure}{known}", markup=False, soft_wrap=True)
        console.print(f"calibration: {found.calibration.verdict}")
    for line in (*found.notes, *found.suggestions):
        console.print(line, markup=False, soft_wrap=True)
    console.print(f"Drift: {found.verdict}. Files: {out}", markup=False, soft_wrap=True)
