"""`llnm cohort check` and `llnm cohort run`: a table of patients, checked and predicted.

Comes in: `cohort.csv`. Goes out: all that is wrong with it; or `results.parquet` and `errors.csv`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llnm import NOTICE
from llnm.cli.common import console, errors, prepare_folder
from llnm.errors import InputError

cohort = typer.Typer(name="cohort", help="A table of patients: check it, predict it.", no_args_is_help=True)
Table = Annotated[Path, typer.Argument(help="cohort.csv: one row a patient, paths relative to the file.")]


@cohort.command()
def check(table: Table) -> None:
    """Name everything that is wrong with a cohort table, all at once, without predicting anybody."""
    from llnm.cohort import problems, read_table

    patients = read_table(table)
    found = problems(patients, table.resolve().parent)
    for problem in found:
        console.print(str(problem), markup=False, soft_wrap=True)
    if found:
        rows = len({problem.row for problem in found})
        raise InputError(f"{table.name}: {len(found)} problems in {rows} of {len(patients)} rows; correct them")
    console.print(f"{table.name}: {len(patients)} patients, nothing wrong with any cell")


@cohort.command()
def run(
    table: Table,
    out: Annotated[Path, typer.Option(help="Folder for results.parquet, errors.csv and patients/.")],
    dask: Annotated[str | None, typer.Option(help="Address of a Dask scheduler that sees the same files.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes on this machine (extra scale above 1).")] = 1,
    resume: Annotated[bool, typer.Option(help="Take over the patients that an earlier run finished.")] = False,
    calibration: Annotated[Path | None, typer.Option(help="Your site's calibration (llnm calibrate).")] = None,
    explain: Annotated[str, typer.Option(help="none, fast or full: how the eight inputs contribute.")] = "none",
    preset: Annotated[str | None, typer.Option(help="Refuse weights that are of another preset.")] = None,
    weights: Annotated[Path | None, typer.Option(help="Folder with the three bundles, not the shipped ones.")] = None,
    report_encoder: Annotated[Path | None, typer.Option(help="Folder with another BERT, 768 wide.")] = None,
    threshold: Annotated[float, typer.Option(help="Probability from which the decision is positive.")] = 0.5,
    abstain: Annotated[
        bool, typer.Option(help="Decide only where one answer is left at the coverage of the calibration.")
    ] = False,
    atlas: Annotated[Path | None, typer.Option(help="Atlas folder: the risk by location, of rows with a side.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the margin samples.")] = 0,
) -> None:
    """Predict every patient of a cohort; who cannot be predicted is listed with the reason.

    An interrupted run goes on with --resume. The results can be evaluated as they are: llnm evaluate
    DIR/results.parquet --label llnm --score risk_probability.
    """
    from rich.progress import Progress

    from llnm.cohort.resumable import ERRORS
    from llnm.cohort.run import RESULTS, HowToPredict, run_cohort
    from llnm.explain import check_method
    from llnm.pipeline import Calibration

    prepare_folder(out)
    check_method(explain)
    if not 0 < threshold < 1:
        raise InputError(f"threshold: {threshold} is no probability between 0 and 1; give for example 0.5")
    if calibration is not None:
        Calibration.from_file(calibration)
    locate = None
    if atlas is not None:
        from llnm.atlas.locate import LocateRow

        locate = LocateRow.of(atlas)
    how = HowToPredict(weights, report_encoder, calibration, preset, threshold, explain, seed, abstain, locate)
    with Progress(console=errors, transient=True) as bar:
        task = bar.add_task("Patients", total=None)
        found = run_cohort(
            table,
            out,
            how,
            workers=workers,
            dask=dask,
            resume=resume,
            progress=lambda done, whole: bar.update(task, completed=done, total=whole),
        )
    taken = f" ({found.taken_over} of them in an earlier run)" if found.taken_over else ""
    console.print(f"{found.predicted} patients predicted{taken}: {out / RESULTS}", markup=False, soft_wrap=True)
    if found.failed:
        console.print(f"{found.failed} patients could not be: {out / ERRORS} says why", markup=False, soft_wrap=True)
    console.print(NOTICE, markup=False)
