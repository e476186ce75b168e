"""Trains the nodule or the gland network as its bundle's config says, and measures it on held-back patients.

Comes in: annotated folders (see `training.data`), a number of simulated views, and what differs from the config. Goes
out, in one folder: `model.pt` (half precision), `training.json` (data, split, seed, duration, figures),
`held_back.csv` (one row an image), `MODEL_CARD.md`, the log for TensorBoard and the checkpoint from which an
interrupted training goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llnm.case import Structure
from llnm.training.bundle import is_first_process, minutes, parameters, run_training
from llnm.training.measuring import record_run

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
    workflow = run_training(structure, settings, out, resume=resume, threads=threads)
    if not is_first_process():
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
        parameters=parameters(workflow),
        minutes=minutes(workflow),
    )
