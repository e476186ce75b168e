"""`llnm simulate`: a cohort of simulated patients whose truth is known.

Comes in: how many, and a seed. Goes out: `DIR/cohort.csv` and its files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llnm.cli.common import console, prepare_folder
from llnm.errors import InputError


def simulate(
    patients: Annotated[int, typer.Option(help="How many.")],
    out: Annotated[Path, typer.Option(help="Folder for cohort.csv and the images.")],
    seed: Annotated[int, typer.Option(help="The same seed gives the same cohort.")] = 0,
    without: Annotated[str | None, typer.Option(help="Causes of risk to switch off, separated by commas.")] = None,
    effects: Annotated[
        Path | None, typer.Option(help="JSON file with other sizes of effects: {effect: change of the logit}.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that share the work; the cohort is the same.")] = 1,
) -> None:
    """Write simulated patients: two views, masks, report, age, sex, metastasis, nodes and the true probability."""
    from llnm.simulate import RiskModel, write_cohort

    if patients < 1:
        raise InputError(f"patients: {patients} is too few; give 1 or more")
    prepare_folder(out)
    model = RiskModel() if effects is None else RiskModel.from_file(effects)
    if without:
        model = model.without(without.split(","))
    with console.status(f"Simulating {patients} patients ..."):
        write_cohort(patients, seed, out, model, workers=workers)
    console.print(f"{patients} simulated patients: {out / 'cohort.csv'}", markup=False)
