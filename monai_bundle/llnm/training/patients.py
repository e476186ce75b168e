"""Patients of a cohort as what the LLNM network learns from: who is trained on, and what is changed at random.

Comes in: a cohort table. Goes out: items for `monai.data.CacheDataset`, its transforms, and batches. Views and reports
are turned into features once and kept in a cache (`training.cohort`); which disturbed outline is seen, whether the
nodule is mirrored and which inputs are left out is drawn anew each time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from monai.transforms import Compose, RandomizableTransform, Transform

from llnm.case import FINDINGS, NEAR_CAPSULE_MM
from llnm.cohort import read_clinical, read_table, rows
from llnm.errors import InputError
from llnm.staging import LEVELS
from llnm.tmdl import TMDL, TMDLConfig
from llnm.tmdl.config import IMAGE_INPUTS, INPUTS, NOT_MEASURED, VIEW_INPUTS, InputName
from llnm.training.cohort import CAPSULE_DISTANCE, VARIANTS, cached_frames, cached_tensors

Tensors = dict[str, torch.Tensor]
LABEL, LEVEL, FOUND = "llnm", "level", "findings"
UNKNOWN = -1
CPDT = "cpdt"
# What is cached once a variant of the outlines; the rest is the same for all.
_PER_VARIANT = (*VIEW_INPUTS, "location_absent", "echogenicity_absent")


@dataclass(frozen=True)
class PatientItem:
    """One row of a cohort and where its features are cached; `label` 0 or 1, `level` a place in `LEVELS` or -1.

    `findings`: 0, 1 or, if unknown, -1 for each of `llnm.case.FINDINGS`.
    """

    cells: Mapping[str, str]
    folder: Path
    label: int
    level: int
    findings: tuple[int, ...]
    seed: int


@dataclass(frozen=True)
class PatientSplit:
    """Who is trained on, who is validated and calibrated on, and who is held back; `table` has all rows."""

    table: pd.DataFrame
    training: list[PatientItem]
    validation: list[PatientItem]
    held_back: list[PatientItem]

    @property
    def everyone(self) -> list[PatientItem]:
        """All patients: to evaluate weights that none of them has trained."""
        return self.training + self.validation + self.held_back

    @property
    def positive_weight(self) -> float:
        """Patients without LLNM for each one with it, in the training part."""
        positive = sum(item.label for item in self.training)
        return (len(self.training) - positive) / max(positive, 1)


def patient_split(
    cohort: str | Path, fold: int = 0, folds: int = 5, validation_share: float = 0.1, seed: int = 0
) -> PatientSplit:
    """Patients of `cohort` by lot: fold `fold` of `folds` is held back (none of 1), a share of the rest validates.

    Raises InputError for a table that cannot be trained on.
    """
    path = Path(cohort)
    if not str(cohort):
        raise InputError("data: one cohort.csv is expected; make one with: llnm simulate")
    table = read_table(path)
    if "llnm" not in table.columns or (table["llnm"] == "").any():
        raise InputError(f"{path}: every patient needs llnm 0 or 1 to train on; fill the column")
    if not 0 <= fold < folds:
        raise InputError(f"fold: {fold} of {folds} is none; give 0 to {folds - 1}")
    items = [_item(cells, path.parent, seed + index) for index, cells in enumerate(rows(table))]
    order = np.random.default_rng(seed).permutation(len(items))
    held = order[fold::folds] if folds > 1 else order[:0]
    rest = np.setdiff1d(order, held, assume_unique=True)
    validation = rest[: round(validation_share * len(rest))]
    training = rest[len(validation) :]
    if len(training) < 1:
        raise InputError(f"{path}: {len(items)} patients leave none to train on; give more, or more folds")
    return PatientSplit(table, *([items[index] for index in sorted(part)] for part in (training, validation, held)))


def told_findings(items: Sequence[PatientItem], network: TMDL) -> TMDL:
    """`network`, with a note of which findings the readers of `items` (or of an earlier training) told anything.

    The nearness of the capsule is measured, not told.
    """
    if network.finding_head is not None:
        stated = torch.tensor([item.findings for item in items]) != UNKNOWN
        measured = torch.ones(len(network.config.seen) - len(FINDINGS), dtype=torch.bool)
        network.told |= torch.cat((stated.any(dim=0), measured))
    return network


def _item(cells: Mapping[str, str], folder: Path, seed: int) -> PatientItem:
    known = read_clinical(cells, folder)
    level = LEVELS.index(known.level) if known.level in LEVELS else UNKNOWN
    findings = tuple(UNKNOWN if value is None else int(value) for value in known.findings.values())
    return PatientItem(cells, folder, int(known.llnm or 0), level, findings, seed)


class LoadPatient(Transform):
    """A `PatientItem` as tensors, from the cache or made anew: all variants of its outlines, and its labels."""

    def __init__(self, config: TMDLConfig, cache: str | Path) -> None:
        self.config, self.cache = config, Path(cache)

    def __call__(self, item: PatientItem) -> Tensors:
        """Inputs of the patient (an axis of variants first where outlines matter) with what is known of the patient."""
        tensors = cached_tensors(item.cells, item.folder, self.config, self.cache, item.seed)
        distances = tensors["capsule_distance"] = tensors.pop(CAPSULE_DISTANCE).nan_to_num(NOT_MEASURED)
        known = distances[distances >= 0]
        near = int(known.min() < NEAR_CAPSULE_MM) if len(known) else UNKNOWN
        labels = {LABEL: float(item.label), LEVEL: item.level, FOUND: (*item.findings, near)}
        return tensors | {name: torch.tensor(value) for name, value in labels.items()}


class ChooseOutline(RandomizableTransform):
    """One of the variants of the outlines: a random one, or the given one where nothing is `random`."""

    def __init__(self, random: bool) -> None:
        super().__init__(1.0)
        self.random = random

    def __call__(self, data: Tensors) -> Tensors:
        """Inputs without the axis of variants, and a mask of absence for each of the eight."""
        variant = int(self.R.randint(VARIANTS)) if self.random else 0
        chosen = {name: value[variant] if name in _PER_VARIANT else value for name, value in data.items()}
        for name in INPUTS:
            shape = chosen["view_mask"].shape if name in VIEW_INPUTS else ()
            chosen.setdefault(f"{name}_absent", torch.zeros(shape, dtype=torch.bool))
        return chosen


class RandMirrorNodule(RandomizableTransform):
    """The images of each view mirrored left to right, half the time: a left lobe is a right one mirrored."""

    def __call__(self, data: Tensors) -> Tensors:
        """Inputs, perhaps mirrored."""
        changed = dict(data)
        for view in range(len(data["view_mask"])):
            if self.R.random() < 0.5:
                for name in IMAGE_INPUTS:
                    changed[name] = torch.stack(
                        [image.flip(-1) if index == view else image for index, image in enumerate(changed[name])]
                    )
        return changed


class RandAbsent(RandomizableTransform):
    """Each input (and the capsule distance alone) left out with `input_share`, one of two views with `view_share`.

    So the "absent" tokens learn what a patient looks like of whom something is not known (modality dropout). Of
    `subset_share` of the patients any share of the inputs, drawn anew from 0-1, is left out instead: contributions ask
    the network what it says of every subset of the inputs, and it answers only what it has learnt (Covert et al. 2021,
    "Explaining by removing", section 8: a surrogate trained on subsets).
    """

    def __init__(self, input_share: float, view_share: float, subset_share: float = 0.0) -> None:
        super().__init__(1.0)
        self.input_share, self.view_share, self.subset_share = input_share, view_share, subset_share

    def __call__(self, data: Tensors) -> Tensors:
        """Inputs with more of them marked absent."""
        changed = dict(data)
        share = self.R.random() if self.subset_share and self.R.random() < self.subset_share else self.input_share
        for name in INPUTS:
            if self.R.random() < share:
                changed[f"{name}_absent"] = torch.ones_like(changed[f"{name}_absent"])
        # As of an image whose spacing nobody knows.
        if self.R.random() < share:
            changed["capsule_distance"] = torch.full_like(changed["capsule_distance"], NOT_MEASURED)
        views = changed["view_mask"]
        if bool(views.all()) and self.R.random() < self.view_share:
            changed["view_mask"] = torch.arange(len(views)) == int(self.R.randint(len(views)))
        return changed


class RandDropWords(RandomizableTransform):
    """Each word of the report left out with `share`, but never the first token, which stands for the whole.

    No report then looks the same twice, so that patients cannot be told apart by the wording of theirs.
    """

    def __init__(self, share: float) -> None:
        super().__init__(1.0)
        self.share = share

    def __call__(self, data: Tensors) -> Tensors:
        """Inputs with fewer words."""
        mask = data["report_mask"]
        kept = torch.from_numpy(self.R.random_sample(len(mask)) >= self.share)
        kept[0] = True
        return data | {"report_mask": mask & kept}


class WithoutCPDT(Transform):
    """Every view's image itself in the place of its location image, and no distance in mm (paper, Table S8)."""

    def __init__(self, config: TMDLConfig, cache: str | Path) -> None:
        self.load, self.config, self.cache = LoadPatient(config, cache), config, Path(cache)

    def __call__(self, item: PatientItem) -> Tensors:
        """What `LoadPatient` gives, but for the location; the capsule's nearness is taught all the same."""
        tensors = self.load(item)
        frames = cached_frames(item.cells, item.folder, self.config, self.cache)
        return tensors | {
            "location": frames.expand_as(tensors["location"]),
            "location_absent": (~tensors["view_mask"]).expand_as(tensors["location_absent"]),
            "capsule_distance": torch.full_like(tensors["capsule_distance"], NOT_MEASURED),
        }


class LeaveOut(Transform):
    """The named inputs marked absent, in every patient: what a network is worth that never sees them."""

    def __init__(self, inputs: Sequence[str]) -> None:
        unknown = sorted(set(inputs) - set(INPUTS))
        if unknown:
            raise InputError(f"without: {', '.join(unknown)} is no input; choose from {', '.join(INPUTS)}, {CPDT}")
        self.inputs = tuple(cast("InputName", name) for name in inputs)

    def __call__(self, data: Tensors) -> Tensors:
        """Inputs with these marked absent."""
        return data | {f"{name}_absent": torch.ones_like(data[f"{name}_absent"]) for name in self.inputs}


def training_transforms(
    config: TMDLConfig,
    cache: str | Path,
    left_out: Sequence[str] = (),
    input_dropout: float = 0.1,
    view_dropout: float = 0.15,
    word_dropout: float = 0.15,
    subset_dropout: float = 0.15,
) -> Compose:
    """From a `PatientItem` to what is trained on; a preset without "absent" tokens sees every input."""
    shares = (input_dropout, view_dropout, subset_dropout) if config.absent_tokens else (0.0, view_dropout)
    # Unmasked padding could not tell a word that is left out from one that is not there.
    words = RandDropWords(word_dropout if config.report_padding == "masked" else 0.0)
    load, leave_out = _without(config, cache, left_out)
    return Compose([load, ChooseOutline(random=True), RandMirrorNodule(), words, RandAbsent(*shares), leave_out])


def scoring_transforms(config: TMDLConfig, cache: str | Path, left_out: Sequence[str] = ()) -> Compose:
    """From a `PatientItem` to what is scored: the given outlines, nothing at random."""
    load, leave_out = _without(config, cache, left_out)
    return Compose([load, ChooseOutline(random=False), leave_out])


def _without(config: TMDLConfig, cache: str | Path, left_out: Sequence[str]) -> tuple[Transform, LeaveOut]:
    """How a patient is loaded and what is left out of it, where `left_out` names inputs or the CPDT."""
    load = WithoutCPDT if CPDT in left_out else LoadPatient
    return load(config, cache), LeaveOut([name for name in left_out if name != CPDT])


def prepare_batch(
    batch: Tensors, device: Any = None, non_blocking: bool = False, **_: Any
) -> tuple[Tensors, torch.Tensor]:
    """Inputs of TMDL, and the labels (B, 7): LLNM 0 or 1, the level or -1, each of `SEEN` 0, 1 or -1; on `device`."""
    moved = {name: value.to(device, non_blocking=non_blocking) for name, value in batch.items()}
    known = [moved.pop(name).float() for name in (LABEL, LEVEL, FOUND)]
    labels = torch.cat([value.view(len(value), -1) for value in known], dim=1)
    for name in IMAGE_INPUTS:
        moved[name] = moved[name].float() / 255
    moved["report"] = moved["report"].float()
    return moved, labels
