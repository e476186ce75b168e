"""What every training of the project shares: an interruption loses nothing, and the same seed gives the same weights.

Comes in: a MONAI trainer and what belongs to its state. Goes out: handlers for it, and weights written whole or not at
all.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import ignite.distributed as idist
import pandas as pd
import torch
from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint
from monai.engines import SupervisedEvaluator
from monai.utils import set_determinism
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from llnm.errors import InputError
from llnm.files import whole_file, write_text
from llnm.segmentation.encoder import EfficientNetLiteEncoder, published_weights
from llnm.weights import load_state_dict

WARM_UP = 0.15
WEIGHT_DECAY = 1e-4
GRADIENT_NORM = 1.0
CHECKPOINT = "checkpoint.pt"
Tensors = tuple[torch.Tensor, ...] | list[torch.Tensor]


class ClippedAdamW(torch.optim.AdamW):
    """AdamW that clips the norm of all gradients together before each step (after AMP has unscaled them)."""

    def step(self, closure: Any = None) -> Any:
        """One step."""
        torch.nn.utils.clip_grad_norm_([p for group in self.param_groups for p in group["params"]], GRADIENT_NORM)
        return super().step(closure)


def parameter_groups(network: torch.nn.Module, learning_rate: float, encoder_rate: float) -> list[dict[str, Any]]:
    """Groups for an optimiser: the encoder learns at `encoder_rate` times the `learning_rate` of everything else.

    What an encoder learnt from a million photographs holds on every scanner; a full rate unlearns it on a few hundred
    frames of one.
    """
    plain: Any = getattr(network, "module", network)
    encoder = list(plain.encoder.parameters())
    rest = _others(plain, encoder)
    return [{"params": encoder, "lr": learning_rate * encoder_rate}, {"params": rest, "lr": learning_rate}]


def decay_groups(network: torch.nn.Module, direct_decay: float) -> list[dict[str, Any]]:
    """Groups for an optimiser of TMDL: the report's many weights of its direct way decay by `direct_decay`, the rest as
    usual, and the few other ones of that way not at all.

    Without it the many fit the noise of a few thousand labels, as a regression without penalty does.
    """
    plain: Any = getattr(network, "module", network)
    if plain.direct is None:
        return [{"params": list(plain.parameters())}]
    many, few = list(plain.direct.report.parameters()), [*plain.direct.few.parameters(), plain.direct.spread]
    return [
        {"params": _others(plain, [*many, *few])},
        {"params": many, "weight_decay": direct_decay},
        {"params": few, "weight_decay": 0.0},
    ]


def _others(network: torch.nn.Module, some: Sequence[torch.nn.Parameter]) -> list[torch.nn.Parameter]:
    """The parameters of `network` but `some` of them."""
    known = {id(parameter) for parameter in some}
    return [parameter for parameter in network.parameters() if id(parameter) not in known]


class EpochSeed:
    """Seeds everything that draws at random from (seed, epoch), at the start of each epoch.

    So an epoch is the same whether the ones before it ran in this process or in one that was killed.
    """

    def __init__(self, seed: int, loader: DataLoader[Any]) -> None:
        self.seed = seed
        self.loader = loader

    def attach(self, engine: Engine) -> None:
        """Register with the trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Seed torch, NumPy and Python, the transforms and, across processes, the order of the samples."""
        seed = (self.seed * 100_003 + engine.state.epoch) % 2**31
        set_determinism(seed)
        transform: Any = getattr(self.loader.dataset, "transform", None)
        if hasattr(transform, "set_random_state"):
            transform.set_random_state(seed=seed)
        if hasattr(self.loader.sampler, "set_epoch"):
            self.loader.sampler.set_epoch(engine.state.epoch)


class Clock:
    """How long a training has run, the runs before an interruption included."""

    def __init__(self) -> None:
        self.before = 0.0
        self.started = time.monotonic()

    @property
    def minutes(self) -> float:
        """Minutes so far."""
        return (self.before + time.monotonic() - self.started) / 60

    def state_dict(self) -> dict[str, float]:
        """Seconds so far."""
        return {"seconds": 60 * self.minutes}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Count on from `state`."""
        self.before, self.started = state["seconds"], time.monotonic()


class AveragedWeights:
    """The mean of a network's weights over its last steps, weighted exponentially; `network` is a copy that has them.

    Steps of a high learning rate go to and fro around what is good; their mean lies there, and is less sure of what is
    wrong (Polyak and Juditsky 1992). `steps`: after so many, a step weighs 37 % of the last; at first after fewer, so
    that where a network starts is soon forgotten. `average` holds the state for a checkpoint.
    """

    def __init__(self, network: torch.nn.Module, steps: float) -> None:
        most = 1 - 1 / max(steps, 1)

        def towards(averages: Tensors, news: Tensors, averaged: torch.Tensor | int) -> None:
            # Asked once a step: on a GPU the number has to be waited for.
            done = int(averaged)
            share = 1 - min(most, (1 + done) / (10 + done))
            for average, new in zip(averages, news, strict=True):
                average.lerp_(new, share)

        self.source = network
        self.average = AveragedModel(network, multi_avg_fn=towards)
        self.network: torch.nn.Module = self.average.module

    def attach(self, engine: Engine) -> None:
        """Register with the trainer, before what uses the mean."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: self.average.update_parameters(self.source))


class ExactCheckpoint:
    """Writes the whole state of a training at the end of each epoch, and takes it up again if `resume`.

    Raises InputError for a checkpoint of a training of another length.

    `state`: what has a state_dict and belongs to the run (network, optimiser, schedule, loss, validation); the trainer
    joins it. One file, replaced in one step, so that a kill at any moment leaves a whole checkpoint.
    """

    def __init__(self, folder: Path | str, state: Mapping[str, Any], resume: bool = False) -> None:
        self.path = Path(folder) / CHECKPOINT
        self.state = state
        self.resume = resume
        self.clock = Clock()

    def attach(self, engine: Engine) -> None:
        """Register with the trainer; register it last, so that the other handlers of the epoch are done."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        state = {**self.state, "trainer": engine, "clock": self.clock}
        saver = Checkpoint(state, lambda checkpoint, *_: write_whole(checkpoint, self.path), n_saved=None)
        engine.add_event_handler(Events.EPOCH_COMPLETED, saver)
        if self.resume and self.path.is_file():
            engine.add_event_handler(Events.STARTED, self._take_up, state)

    def _take_up(self, engine: Engine, state: dict[str, Any]) -> None:
        stored = torch.load(self.path, map_location="cpu", weights_only=True)
        planned = stored["trainer"]["max_epochs"]
        if planned != engine.state.max_epochs:
            # The learning rate follows a curve over all epochs; another length would be another training.
            raise InputError(
                f"{self.path}: is of a training of {planned} epochs, not {engine.state.max_epochs}; resume with the "
                "same number, or start a new training from its weights (start_from)"
            )
        Checkpoint.load_objects(state, stored)


class ValidateAndStop:
    """Validates every `interval` epochs, keeps the best weights in `path`, stops after `patience` without a better one.

    With nothing to validate on, the weights after the last epoch are kept. MONAI's handlers for this have no state of
    their own, so a resumed run would forget what was best.
    """

    def __init__(
        self, evaluator: SupervisedEvaluator, network: torch.nn.Module, path: Path | str, interval: int, patience: int
    ) -> None:
        self.evaluator, self.network, self.path = evaluator, network, Path(path)
        self.interval, self.patience = interval, patience
        self.best = float("-inf")
        self.waited = 0

    def attach(self, engine: Engine) -> None:
        """Register with the trainer, before the checkpoint."""
        if len(self.evaluator.data_loader) > 0:
            engine.add_event_handler(Events.EPOCH_COMPLETED(event_filter=self._due), self)
        else:
            engine.add_event_handler(Events.COMPLETED, lambda: save_weights(self.network, self.path))

    def _due(self, engine: Engine, epoch: int) -> bool:
        return epoch % self.interval == 0 or epoch == engine.state.max_epochs

    def __call__(self, engine: Engine) -> None:
        """Validate once."""
        self.evaluator.run(engine.state.epoch)
        value = self.evaluator.state.metrics[self.evaluator.state.key_metric_name]
        # A figure that cannot be had (patients of one class only) keeps the last weights.
        if not value <= self.best:
            self.best, self.waited = float(value), 0
            save_weights(self.network, self.path)
            return
        self.waited += 1
        if self.waited >= self.patience:
            engine.terminate()

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run must remember."""
        return {"best": self.best, "waited": self.waited}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up `state` again."""
        self.best, self.waited = state["best"], state["waited"]


def starting_from(network: torch.nn.Module, pretrained: bool, weights: str | None = None) -> torch.nn.Module:
    """`network` with `weights` to go on from, or with its encoder's published ImageNet weights, or as it is."""
    if weights:
        network.load_state_dict(load_state_dict(Path(weights)))
    elif pretrained:
        encoder = cast("EfficientNetLiteEncoder", network.encoder)
        encoder.load_published(torch.load(published_weights(), map_location="cpu", weights_only=True))
    return network


def save_weights(network: torch.nn.Module, path: Path | str) -> None:
    """Write the state dict of `network`, its kernels and matrices in half precision.

    Vectors stay as they are: they weigh little, and a batch norm's variance can lie beyond what half precision holds.
    """
    plain = getattr(network, "module", network)
    write_whole({name: _halved(value) for name, value in plain.state_dict().items()}, Path(path))


def _halved(value: torch.Tensor) -> torch.Tensor:
    return value.half() if value.is_floating_point() and value.ndim > 1 else value


def write_json(record: Mapping[str, Any], path: Path) -> None:
    """Write `record` as JSON, whole or not at all."""
    write_text(path, json.dumps(record, indent=2))


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV, whole or not at all."""
    write_text(path, table.to_csv(index=False))


def write_whole(content: Any, path: Path) -> None:
    """`torch.save`, whole or not at all; of several processes the first one alone writes."""
    if idist.get_rank() > 0:
        return
    with whole_file(path) as temporary:
        torch.save(content, temporary)
