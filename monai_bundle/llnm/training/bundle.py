"""Runs the training that a bundle's config describes.

Comes in: the network's name and what differs from `configs/train.json`. Goes out: the finished MONAI workflow; its
weights, log and checkpoint lie in the output folder. Under torchrun the processes share each batch
(`configs/multi_gpu_train.json`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigWorkflow

from llnm.errors import InputError, LLNMError, MissingExtraError
from llnm.training.workflow import ExactCheckpoint
from llnm.weights import NetworkName, bundle_folder


def run_training(
    network: NetworkName, settings: Mapping[str, Any], out: Path, *, resume: bool = False, threads: int = 2
) -> ConfigWorkflow:
    """Train as `configs/train.json` of the bundle says, `settings` in place of its values.

    Raises InputError for data that cannot be used, and MissingExtraError for MLflow that is not installed.
    """
    out.mkdir(parents=True, exist_ok=True)
    check_mlflow(settings.get("mlflow_uri", ""))
    torch.set_num_threads(threads)
    configs = bundle_folder(network) / "configs"
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
    return workflow


def is_first_process() -> bool:
    """Whether this process measures and writes; under torchrun only one does."""
    return int(os.environ.get("RANK", "0")) == 0


def minutes(workflow: ConfigWorkflow) -> float:
    """How long the training took, interruptions not counted."""
    handlers = workflow.parser.get_parsed_content("train#handlers")
    return next(handler for handler in handlers if isinstance(handler, ExactCheckpoint)).clock.minutes


def parameters(workflow: ConfigWorkflow) -> int:
    """Number of the network's parameters."""
    return sum(parameter.numel() for parameter in workflow.parser.get_parsed_content("network").parameters())


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
