"""The words a campaign speaks: its settings, images, leases, receipts and disagreements.

Comes in: nothing. Goes out: frozen dataclasses and the interface of a strategy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from llnm.case import Structure
from llnm.errors import InputError

CONSENSUS = "consensus"
"""The choice of a reviewer who takes the STAPLE consensus and nobody's own outline."""

# (candidates, covered, count) -> at most `count` of the candidates, the one to annotate first in front. `covered` are
# the images that have a label or are in somebody's work.
Strategy = Callable[[Sequence[str], Sequence[str], int], Sequence[str]]

# What has become of an image: nobody has it, somebody has it, more readers are to see it, its readers disagree, its
# mask is settled.
State = Literal["open", "in work", "waiting for readers", "adjudication", "agreed"]
STATES: tuple[State, ...] = ("open", "in work", "waiting for readers", "adjudication", "agreed")


@dataclass(frozen=True)
class Settings:
    """How a campaign is run. `structure`, `validation_share` and `seed` stay what they were when it began.

    `lease_minutes`: how long an image is kept for whoever asked for it. `most_in_work`: so many images one annotator
    may hold. `agreement_dice`: readers of whom two lie below this Dice disagree. `validation_share`: share of the
    patients whose images measure the models and train none; they are handed out first.
    """

    structure: Structure = "nodule"
    lease_minutes: float = 30.0
    most_in_work: int = 10
    agreement_dice: float = 0.8
    validation_share: float = 0.15
    seed: int = 0

    def __post_init__(self) -> None:
        if self.structure not in ("nodule", "gland"):
            raise InputError(f"structure: {self.structure!r} is not known; choose nodule or gland")
        if not self.lease_minutes > 0 or self.most_in_work < 1:
            raise InputError("lease_minutes, most_in_work: give more than 0")
        if not (0 <= self.agreement_dice <= 1 and 0 <= self.validation_share < 1):
            raise InputError("agreement_dice, validation_share: give a share from 0 to 1")


@dataclass(frozen=True)
class PoolImage:
    """One image of the pool: its id in the datastore, its file, and the patient whose images stay together."""

    id: str
    path: Path
    patient: str


@dataclass(frozen=True)
class Lease:
    """An image kept for one annotator until `expires` (seconds since 1970)."""

    id: str
    image: str
    annotator: str
    expires: float


@dataclass(frozen=True)
class Receipt:
    """What is on disk once `Campaign.submitted` returns. `repeated`: the same submission had come before."""

    submission: str
    image: str
    annotator: str
    repeated: bool


@dataclass(frozen=True)
class Disagreement:
    """An image whose readers differ: `labels` by annotator, `dice` by pair of annotators, the consensus' file."""

    image: str
    path: Path
    labels: dict[str, Path]
    dice: dict[tuple[str, str], float]
    consensus: Path


@dataclass(frozen=True)
class AgreedLabel:
    """A settled mask: `readers` drew it, `dice` is their mean pairwise Dice (None for one reader).

    `chosen`: whose mask it is: a reader's, the `consensus`, or the reviewer's own.
    """

    image: str
    path: Path
    patient: str
    label: Path
    readers: tuple[str, ...]
    chosen: str
    dice: float | None
    adjudicated: bool
    validation: bool
