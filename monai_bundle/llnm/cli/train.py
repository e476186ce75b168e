"""`llnm train`: train the nodule, gland or LLNM network on your own data.

Comes in: annotated folders or a cohort. Goes out: weights, a record of the run, figures on held-back patients.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from llnm.cli.common import console, prepare_folder, to_json
from llnm.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from llnm.case import Structure


def train(
    network: Annotated[str, typer.Argument(help="nodule, gland or llnm.")],
    out: Annotated[Path, typer.Option(help="Folder for weights, log and record.")],
    data: Annotated[list[Path] | None, typer.Option(help="Annotated folder(s), or cohort.csv for llnm.")] = None,
    measure: Annotated[list[Path] | None, typer.Option(help="Annotated folder(s) to measure on only.")] = None,
    simulated: Annotated[int, typer.Option(help="Simulated views to add (nodule, gland).")] = 0,
    start_from: Annotated[Path | None, typer.Option(help="Weights to go on from (nodule, gland).")] = None,
    epochs: Annotated[int, typer.Option(help="Passes over the data.")] = 20,
    fold: Annotated[int, typer.Option(help="Which fold of the patients is held back.")] = 0,
    folds: Annotated[int, typer.Option(help="Into how many folds patients are split.")] = 5,
    seed: Annotated[int, typer.Option(help="Seed of the run.")] = 0,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 2,
    resume: Annotated[bool, typer.Option(help="Go on from the last checkpoint in --out.")] = False,
) -> None:
    """Train a network; patients are split, never images, and the held-back ones are measured at the end."""
    try:
        import ignite  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("pytorch-ignite", "training") from error
    prepare_folder(out)
    folders = tuple(str(path) for path in data or ())
    measured = tuple(str(path) for path in measure or ())
    if network in ("nodule", "gland"):
        from llnm.training.segmentation import Plan
        from llnm.training.segmentation import train as run

        if not folders and not simulated:
            raise InputError("data: no folder and no simulated views; give --data or --simulated")
        record = run(
            Plan(
                cast("Structure", network),
                folders,
                simulated,
                measured,
                None if start_from is None else str(start_from),
                fold,
                folds,
                epochs,
                seed=seed,
                threads=threads,
            ),
            out,
            resume,
        )
    elif network == "llnm":
        from llnm.training.llnm import Plan as CohortPlan
        from llnm.training.llnm import train as run_cohort

        if len(folders) != 1:
            raise InputError("data: one cohort.csv is expected; make one with: llnm simulate")
        record = run_cohort(CohortPlan(folders[0], fold, folds, epochs, seed=seed, threads=threads), out, resume)
    else:
        raise InputError(f"network: {network!r} is not known; choose nodule, gland or llnm")
    console.print(to_json(record), markup=False)
