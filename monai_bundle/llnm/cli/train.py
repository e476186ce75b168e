"""`llnm train`: train the nodule, gland or LLNM network on your own data.

Comes in: annotated folders or a cohort. Goes out: weights, a record of the run, figures on held-back patients.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from llnm.cli.common import console, prepare_folder, to_json
from llnm.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from llnm.case import Structure


def train(
    network: Annotated[str, typer.Argument(help="nodule, gland, llnm or quality.")],
    out: Annotated[Path, typer.Option(help="Folder for weights, log and record.")],
    data: Annotated[
        list[Path] | None,
        typer.Option(help="Annotated folder(s); cohort.csv for llnm; the folders of all folds' runs for quality."),
    ] = None,
    measure: Annotated[list[Path] | None, typer.Option(help="Annotated folder(s) to measure on only.")] = None,
    simulated: Annotated[int | None, typer.Option(help="Simulated views to add (nodule, gland).")] = None,
    without: Annotated[str | None, typer.Option(help="Augmentation to leave out, NAME,NAME (nodule, gland).")] = None,
    start_from: Annotated[Path | None, typer.Option(help="Weights to go on from (nodule, gland).")] = None,
    pretrained: Annotated[bool | None, typer.Option(help="Start from ImageNet weights (nodule, gland).")] = None,
    validation: Annotated[
        float | None, typer.Option(help="Share of the training patients to stop by (nodule, gland).")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the data.")] = None,
    batch: Annotated[int | None, typer.Option(help="Images (patients for llnm) a step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Highest learning rate of the schedule.")] = None,
    fold: Annotated[int | None, typer.Option(help="Which fold of the patients is held back.")] = None,
    folds: Annotated[
        int | None, typer.Option(help="Into how many folds patients are split; 1 holds none back.")
    ] = None,
    hold_out: Annotated[
        str | None, typer.Option(help='Source held back instead of a fold, such as "sweeps B" (nodule, gland).')
    ] = None,
    images_per_patient: Annotated[
        int | None, typer.Option(help="At most so many images of a patient or sweep, evenly spread (nodule, gland).")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the run.")] = None,
    mlflow: Annotated[
        str | None, typer.Option(help="Where MLflow keeps its runs (nodule, gland; extra mlflow).")
    ] = None,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 2,
    resume: Annotated[bool, typer.Option(help="Go on from the checkpoint in --out.")] = False,
) -> None:
    """Train a network; patients are split, never images, and the held-back ones are measured at the end.

    What is not given here is as in the bundle's configs/train.json (nodule, gland). Under torchrun the processes share
    the work. `quality` fits the Dice to expect to the held-back tables of the runs of all folds.
    """
    try:
        import ignite  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("pytorch-ignite", "training") from error
    prepare_folder(out)
    folders = [str(path) for path in data or ()]
    settings: dict[str, Any] = {"fold": fold, "folds": folds, "seed": seed}
    if network in ("nodule", "gland"):
        from llnm.training.segmentation import train as run

        settings |= {
            "dataset_dir": folders,
            "simulated_views": simulated,
            "left_out": None if without is None else without.split(","),
            "start_from": None if start_from is None else str(start_from),
            "pretrained": pretrained,
            "held_out_source": hold_out,
            "images_per_patient": images_per_patient,
            "validation_share": validation,
            "max_epochs": epochs,
            "batch_size": batch,
            "learning_rate": learning_rate,
            "mlflow_uri": mlflow,
        }
        record: dict[str, Any] | None = run(
            cast("Structure", network), _given(settings), out, measured=measure or (), resume=resume, threads=threads
        )
    elif network == "llnm":
        from llnm.training.llnm import Plan
        from llnm.training.llnm import train as run_cohort

        if len(folders) != 1:
            raise InputError("data: one cohort.csv is expected; make one with: llnm simulate")
        settings |= {"max_epochs": epochs, "batch_size": batch, "learning_rate": learning_rate, "threads": threads}
        record = run_cohort(Plan(folders[0], **_given(settings)), out, resume)
    elif network == "quality":
        from llnm.training.quality import fit_quality

        record = fit_quality([Path(folder) for folder in folders], out)
    else:
        raise InputError(f"network: {network!r} is not known; choose nodule, gland, llnm or quality")
    if record is not None:
        console.print(to_json(record), markup=False)


def _given(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}
