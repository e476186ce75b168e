"""Trains the nodule or the gland network as its bundle's config says, and measures it on held-back patients.

Comes in: annotated folders (see `training.data`), a number of simulated views, and what differs from the config. Goes
out, in one folder: `model.pt` (half precision), `training.json` (data, split, seed, duration, figures),
`held_back.csv` (one row an image), `MODEL_CARD.md`, the log for TensorBoard and the checkpoint from which an
interrupted training goes on.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigWorkflow

from llnm.case import Structure
from llnm.errors import InputError, LLNMError, MissingExtraError
from llnm.training.measuring import record_run
from llnm.weights import bundle_folder

# What a run depends on beside the data: these values of the config go into its record.
RECORDED = (
    "simulated_views",
    "fold",
    "folds",
    "held_out_source",
    "images_per_patient",
    "validation_share",
    "left_out",
    "seed",
    "max_epochs",
    "batch_size",
    "learning_rate",
    "encoder_rate",
    "pretrained",
)


def train(
    structure: Structure,
    settings: Mapping[str, Any],
    out: Path,
    *,
    measured: Sequence[Path] = (),
    resume: bool = False,
    threads: int = 2,
) -> dict[str, Any] | None:
    """Train as `configs/train.json` of the bundle says, `settings` in place of its values, and measure.

    `measured`: annotated folders that are only tested on. Gives the record that `training.json` holds. Raises
    InputError for data that cannot be used. Started by torchrun, the processes share each batch
    (`configs/multi_gpu_train.json`); the first one measures, the others give None.
    """
    out.mkdir(parents=True, exist_ok=True)
    check_mlflow(settings.get("mlflow_uri", ""))
    torch.set_num_threads(threads)
    configs = bundle_folder(structure) / "configs"
    shared = "WORLD_SIZE" in os.environ
    workflow = ConfigWorkflow(
        [str(configs / name) for name in ("train.json", *(["multi_gpu_train.json"] if shared else []))],
        workflow_type="train",
        logging_file=False,
        output_dir=str(out),
        resume=resume,
        **settings,
    )
    try:
        workflow.initialize()
        workflow.run()
    except RuntimeError as error:
        ours = _ours(error)
        if ours is None:
            raise
        raise ours from None
    finally:
        workflow.finalize()
    if int(os.environ.get("RANK", "0")) > 0:
        return None
    split = workflow.parser.get_parsed_content("split")
    start = workflow.parser["start_from"]
    plan = {
        "structure": structure,
        "folders": [Path(folder).name for folder in workflow.parser["dataset_dir"]],
        "measured": [folder.name for folder in measured],
        **{name: workflow.parser[name] for name in RECORDED},
        "start_from": start and Path(start).name,
        "threads": threads,
    }
    return record_run(
        structure,
        plan,
        split,
        out / "model.pt",
        measured=measured,
        parameters=sum(p.numel() for p in workflow.parser.get_parsed_content("network").parameters()),
        minutes=workflow.parser.get_parsed_content("train#checkpoint").clock.minutes,
    )


def check_mlflow(address: str) -> None:
    """Raises MissingExtraError without mlflow, and InputError for an address that it cannot keep runs at."""
    if not address:
        return
    if find_spec("mlflow") is None:
        raise MissingExtraError("mlflow", "mlflow")
    if not address.startswith(("sqlite:", "postgresql:", "mysql:", "http:", "https:")):
        raise InputError(f"mlflow: {address!r} is no place for runs; give sqlite:///FILE or the address of a server")
    # mlflow would tell its makers about each run.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")


def _ours(error: BaseException) -> LLNMError | None:
    """The LLNMError inside what MONAI's config parser made of it, if there is one."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, LLNMError):
        cause = cause.__cause__
    return cause
