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
    network: Annotated[
        str, typer.Argument(help="nodule, gland, yolo, llnm, baselines, quality, out-of-distribution or compare.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for weights, log and record.")],
    data: Annotated[
        list[Path] | None,
        typer.Option(help="Annotated folder(s); cohort.csv for llnm; folders of runs for quality and compare."),
    ] = None,
    measure: Annotated[list[Path] | None, typer.Option(help="Annotated folder(s) to measure on only.")] = None,
    simulated: Annotated[int | None, typer.Option(help="Simulated views to add (nodule, gland).")] = None,
    without: Annotated[
        str | None, typer.Option(help="NAME,NAME to leave out: augmentations (nodule, gland), inputs or cpdt (llnm).")
    ] = None,
    start_from: Annotated[Path | None, typer.Option(help="Weights to go on from (nodule, gland).")] = None,
    pretrained: Annotated[bool | None, typer.Option(help="Start from ImageNet weights (nodule, gland).")] = None,
    validation: Annotated[
        float | None, typer.Option(help="Share of the training patients to stop by (nodule, gland).")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Weights that the detector is for (out-of-distribution); the shipped ones else.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the data.")] = None,
    batch: Annotated[int | None, typer.Option(help="Images (patients for llnm) a step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Highest learning rate of the schedule.")] = None,
    encoder_rate: Annotated[
        float | None, typer.Option(help="The encoder's rate as a share of the others' (nodule, gland).")
    ] = None,
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
    cache: Annotated[
        Path | None, typer.Option(help="Folder of features that runs share; in --out else (llnm).")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="default, paper or released (llnm).")] = None,
    size: Annotated[str | None, typer.Option(help="small or base (llnm).")] = None,
    fusion_depth: Annotated[int | None, typer.Option(help="Blocks that exchange image and text (llnm).")] = None,
    class_weights: Annotated[bool | None, typer.Option(help="Weigh both classes alike (llnm).")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the run.")] = None,
    mlflow: Annotated[
        str | None, typer.Option(help="Where MLflow keeps its runs (nodule, gland; extra mlflow).")
    ] = None,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 2,
    resume: Annotated[bool, typer.Option(help="Go on from the checkpoint in --out.")] = False,
) -> None:
    """Train a network; patients are split, never images, and the held-back ones are measured at the end.

    What is not given here is as in the bundle's configs/train.json (nodule, gland). Under torchrun the processes share
    the work. `quality` fits the Dice to expect to the held-back tables of the runs of all folds;
    `out-of-distribution` fits the detector of what is no thyroid B-mode image; `compare` lays runs side by side;
    `baselines` fits simpler models to the patients that `llnm` would be trained on.
    """
    try:
        import ignite  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("pytorch-ignite", "training") from error
    start = {
        "nodule": _segmentation,
        "gland": _segmentation,
        "yolo": _yolo,
        "llnm": _llnm,
        "baselines": _baselines,
        "quality": _quality,
        "out-of-distribution": _out_of_distribution,
        "compare": _compare,
    }.get(network)
    if start is None:
        known = "nodule, gland, yolo, llnm, baselines, quality, out-of-distribution or compare"
        raise InputError(f"network: {network!r} is not known; choose {known}")
    prepare_folder(out)
    if cache is not None:
        prepare_folder(cache, "--cache")
    given = {
        "simulated_views": simulated,
        "left_out": None if without is None else without.split(","),
        "start_from": None if start_from is None else str(start_from),
        "pretrained": pretrained,
        "validation_share": validation,
        "weights": weights,
        "max_epochs": epochs,
        "batch_size": batch,
        "learning_rate": learning_rate,
        "encoder_rate": encoder_rate,
        "fold": fold,
        "folds": folds,
        "held_out_source": hold_out,
        "images_per_patient": images_per_patient,
        "seed": seed,
        "mlflow_uri": mlflow,
        "cache_dir": None if cache is None else str(cache),
        "preset": preset,
        "size": size,
        "choices": None if fusion_depth is None else {"fusion_depth": fusion_depth},
        "class_weights": class_weights,
        "threads": threads,
        "resume": resume,
    }
    settings = {name: value for name, value in given.items() if value is not None}
    record = start(network, list(data or ()), list(measure or ()), out, settings)
    if record is not None:
        console.print(to_json(record), markup=False)


Settings = dict[str, Any]


def _segmentation(
    network: str, data: list[Path], measure: list[Path], out: Path, settings: Settings
) -> Settings | None:
    from llnm.training.segmentation import train as run

    changed = {name: value for name, value in settings.items() if name not in ("weights", "threads", "resume")}
    changed["dataset_dir"] = [str(folder) for folder in data]
    return run(
        cast("Structure", network),
        changed,
        out,
        measured=measure,
        resume=settings["resume"],
        threads=settings["threads"],
    )


def _yolo(network: str, data: list[Path], measure: list[Path], out: Path, settings: Settings) -> Settings:
    from llnm.training.data import HeldBack
    from llnm.training.yolo import YoloPlan, train_yolo

    held_back = HeldBack(**_named(settings, fold="fold", folds="folds", held_out_source="source"))
    others = _named(
        settings, images_per_patient="images_per_patient", max_epochs="epochs", batch_size="batch", seed="seed"
    )
    folders = tuple(str(folder) for folder in data)
    return train_yolo(YoloPlan(folders, held_back, **others), out, measured=measure, threads=settings["threads"])


def _llnm(network: str, data: list[Path], measure: list[Path], out: Path, settings: Settings) -> Settings | None:
    from llnm.training.llnm import train as run

    if len(data) != 1:
        raise InputError("data: one cohort.csv is expected; make one with: llnm simulate")
    changed = {name: value for name, value in settings.items() if name not in ("weights", "threads", "resume")}
    return run(changed | {"cohort": str(data[0])}, out, resume=settings["resume"], threads=settings["threads"])


def _baselines(network: str, data: list[Path], measure: list[Path], out: Path, settings: Settings) -> Settings:
    from llnm.baselines import MODELS, score_baselines
    from llnm.training.llnm import summarise
    from llnm.training.patients import patient_split
    from llnm.training.workflow import write_json, write_table

    if len(data) != 1:
        raise InputError("data: one cohort.csv is expected; make one with: llnm simulate")
    split = patient_split(data[0], **_named(settings, fold="fold", folds="folds", seed="seed"))
    scores = score_baselines(split, Path(settings.get("cache_dir", out / "cache")), settings.get("seed", 0))
    write_table(scores, out / "held_back.csv")
    figures = {name: summarise(scores[["llnm"]].assign(probability=scores[name])) for name in MODELS}
    record = {"training_patients": len(split.training) + len(split.validation), "held_back": figures}
    write_json(record, out / "baselines.json")
    return record


def _quality(network: str, data: list[Path], measure: list[Path], out: Path, settings: Settings) -> Settings:
    from llnm.training.quality import fit_quality

    return fit_quality(data, out)


def _out_of_distribution(
    network: str, data: list[Path], measure: list[Path], out: Path, settings: Settings
) -> Settings:
    from llnm.training.out_of_distribution import fit_out_of_distribution
    from llnm.weights import weights_file

    weights = settings.get("weights") or weights_file("nodule")
    split = _named(settings, fold="fold", folds="folds", seed="seed")
    return fit_out_of_distribution(data, weights, out, measured=measure, **split)


def _compare(network: str, data: list[Path], measure: list[Path], out: Path, settings: Settings) -> Settings:
    from llnm.training.comparison import compare_runs

    return {"runs": compare_runs(data, out)}


def _named(settings: Settings, **names: str) -> Settings:
    """The settings that were given, under the names that another function has for them."""
    return {new: settings[name] for name, new in names.items() if name in settings}
