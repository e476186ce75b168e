"""What the annotation server is made of: its labels, its models, and the settings that one process runs with.

Comes in: options of the command line, `--conf NAME VALUE` pairs. Goes out: frozen values that everything under
`server/` reads from here; the numbers and codes of a label stand nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from llnm import NOTICE
from llnm.case import Structure
from llnm.errors import InputError

WEIGHTS_NOTICE = "The shipped LLNM weights are trained on simulated patients."
ABOUT = f"{NOTICE} {WEIGHTS_NOTICE}"
VERSION = "0.1.0"
APP_NAME = "LLNM annotation server"
ORIGINAL, FINAL = "original", "final"
"""Tags of what a network found and of what a person drew, as MONAILabel names them."""


@dataclass(frozen=True)
class Label:
    """A structure that is drawn: its value in a label map, its SNOMED CT code and meaning, its colour (RGB, 0-1)."""

    value: int
    code: str
    meaning: str
    colour: tuple[float, float, float]


LABELS: dict[Structure, Label] = {
    "nodule": Label(1, "27925004", "Nodule", (0.95, 0.35, 0.25)),
    "gland": Label(2, "69748006", "Thyroid gland", (0.25, 0.65, 0.95)),
}
TISSUE = ("85756007", "Tissue")
"""SNOMED CT category of both."""

MODELS = ("nodule", "gland", "joint", "interactive", "cine")
STRUCTURES: tuple[Structure, ...] = get_args(Structure)


@dataclass(frozen=True)
class TrainingSettings:
    """How the networks go on learning: epochs, learning rate, share of patients that judge and never train, threads.

    `images_per_patient`: at most so many labelled images of a patient or loop; neighbours in a loop are much alike.
    """

    epochs: int = 20
    learning_rate: float = 5e-4
    encoder_rate: float = 0.3
    batch_size: int = 8
    held_back_share: float = 0.25
    images_per_patient: int = 12
    seed: int = 0
    threads: int = 2


@dataclass(frozen=True)
class AppSettings:
    """What `--conf` says: the models to offer, how training goes, and the settings of the campaign.

    `first_weights`: files of weights that networks begin with instead of the shipped ones.
    """

    models: tuple[str, ...] = MODELS
    training: TrainingSettings = TrainingSettings()
    campaign: Mapping[str, Any] = field(default_factory=dict)
    score_at_start: bool = True
    first_weights: Mapping[Structure, Path] = field(default_factory=dict)

    @property
    def structures(self) -> tuple[Structure, ...]:
        """Structures whose networks are offered, so can be trained."""
        both = {"joint", "interactive", "cine"} & set(self.models)
        return tuple(name for name in STRUCTURES if both or name in self.models)


_CAMPAIGN: dict[str, type] = {
    "structure": str,
    "lease_minutes": float,
    "most_in_work": int,
    "agreement_dice": float,
    "validation_share": float,
}
_TRAINING: dict[str, type] = {
    "epochs": int,
    "learning_rate": float,
    "encoder_rate": float,
    "batch_size": int,
    "held_back_share": float,
    "images_per_patient": int,
    "seed": int,
    "threads": int,
}
_SWITCH = {"yes": True, "no": False}
_FIRST: dict[str, Structure] = {f"{name}_weights": name for name in STRUCTURES}
# `state` is put there by the start command, for the processes that training runs in.
_OWN = ("models", "state", "score_at_start")


def read_conf(conf: Mapping[str, str]) -> AppSettings:
    """The settings behind `--conf` pairs; raises InputError for a name or value that is not known."""
    unknown = set(conf) - set(_OWN) - set(_FIRST) - set(_TRAINING) - set(_CAMPAIGN)
    if unknown:
        known = ", ".join(sorted({"models", "score_at_start", *_FIRST, *_TRAINING, *_CAMPAIGN}))
        raise InputError(f"--conf {min(unknown)}: there is no such setting; choose from {known}")
    models = tuple(name.strip() for name in conf.get("models", "all").split(",") if name.strip())
    if models in ((), ("all",)):
        models = MODELS
    for name in models:
        if name not in MODELS:
            raise InputError(f"--conf models: {name!r} is not known; choose from {', '.join(MODELS)}, or all")
    training = TrainingSettings(**_values(conf, _TRAINING))
    if training.epochs < 1 or training.batch_size < 1 or not 0 < training.held_back_share < 1:
        raise InputError("--conf epochs, batch_size, held_back_share: give 1 or more, and a share between 0 and 1")
    score = conf.get("score_at_start", "yes")
    if score not in _SWITCH:
        raise InputError(f"--conf score_at_start: {score!r} is not known; give yes or no")
    # Absolute, since training runs in a process of its own.
    first = {structure: Path(conf[name]).resolve() for name, structure in _FIRST.items() if name in conf}
    for structure, file in first.items():
        if not file.is_file():
            raise InputError(f"--conf {structure}_weights {file}: there is no such file; give a model.pt of llnm train")
    return AppSettings(models, training, _values(conf, _CAMPAIGN), _SWITCH[score], first)


def _values(conf: Mapping[str, str], kinds: Mapping[str, type]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, kind in kinds.items():
        if name in conf:
            try:
                values[name] = kind(conf[name])
            except ValueError as error:
                raise InputError(f"--conf {name}: {conf[name]!r} is no number; give one") from error
    return values
