"""The training loop that every network of the project shares: a MONAI workflow that an interruption does not lose.

Comes in: a network, a loader, a loss. Goes out: the trained network, checkpoints and a log; half-precision weights.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from monai.engines import SupervisedTrainer
from monai.handlers import CheckpointLoader, CheckpointSaver, LrScheduleHandler, StatsHandler, from_engine
from torch.utils.data import DataLoader

WARM_UP = 0.15
WEIGHT_DECAY = 1e-4
GRADIENT_NORM = 1.0


def run_workflow(
    network: torch.nn.Module,
    loader: DataLoader[Any],
    *,
    loss: Callable[[Any, torch.Tensor], torch.Tensor],
    epochs: int,
    learning_rate: float,
    out: Path,
    resume: bool = False,
    split: Callable[[Any], tuple[Any, torch.Tensor]] | None = None,
) -> None:
    """Train `network` for `epochs` with AdamW and a one-cycle schedule, a checkpoint each epoch.

    `split` takes a batch apart into input and label, if it is no {image, label} mapping. `resume` goes on from the last
    checkpoint in `out`, with the optimiser, the schedule and the epoch it had.
    """
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=WEIGHT_DECAY)
    steps = epochs * len(loader) + 1
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps, pct_start=WARM_UP)
    state: dict[str, Any] = {"network": network, "optimizer": optimizer, "schedule": schedule}
    # The trainer joins `state` below, so that a checkpoint knows its epoch too.
    saver = CheckpointSaver(str(out), state, save_interval=1, n_saved=1, file_prefix="checkpoint")
    options = {} if split is None else {"prepare_batch": lambda batch, *_, **__: split(batch)}
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=epochs,
        train_data_loader=loader,
        network=network,
        optimizer=optimizer,
        loss_function=loss,
        train_handlers=[
            LrScheduleHandler(schedule, print_lr=False, epoch_level=False),
            StatsHandler(name="train_log", tag_name="loss", output_transform=from_engine(["loss"], first=True)),
            saver,
        ],
        **options,
    )
    state["trainer"] = trainer
    checkpoints = sorted(out.glob("checkpoint*.pt"), key=lambda path: path.stat().st_mtime)
    if resume and checkpoints:
        CheckpointLoader(str(checkpoints[-1]), state).attach(trainer)
    trainer.run()


def save_weights(network: torch.nn.Module, path: Path) -> None:
    """Write the state dict of `network` in half precision, whole or not at all."""
    state = {name: value.half() if value.is_floating_point() else value for name, value in network.state_dict().items()}
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    temporary.replace(path)
