"""Trains the TMDL network on a cohort, and measures it on held-back patients.

Comes in: a cohort table. Goes out, in one folder: `model.pt` (half precision), `training.json` (data, split, seed,
figures), `held_back.csv` (one row a patient), a cache of features and checkpoints from which an interrupted training
goes on.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from monai.utils import set_determinism
from rich.progress import track
from torch.utils.data import DataLoader, Dataset

from llnm.cohort import read_clinical, read_table, rows
from llnm.errors import InputError
from llnm.evaluation.calibration import brier_score
from llnm.evaluation.cells import count
from llnm.evaluation.discrimination import auc
from llnm.evaluation.intervals import bootstrap
from llnm.evaluation.scores import Scores
from llnm.pipeline.risk import clinical_inputs, load_report_encoder
from llnm.tmdl import TMDL, preset_config
from llnm.tmdl.config import INPUTS, VIEW_INPUTS
from llnm.training.card import write_card
from llnm.training.cohort import VARIANTS, cached_tensors
from llnm.training.workflow import Schedule, run_workflow, save_weights, write_json

Tensors = dict[str, torch.Tensor]
# What is cached once a variant of the outlines; the rest is the same for all.
PER_VARIANT = {*VIEW_INPUTS, "location_absent", "echogenicity_absent"}


@dataclass(frozen=True)
class Plan:
    """What one training run is: all that its result depends on."""

    cohort: str
    fold: int = 0
    folds: int = 5
    max_epochs: int = 10
    batch_size: int = 16
    learning_rate: float = 2e-3
    input_dropout: float = 0.1
    view_dropout: float = 0.15
    preset: str = "default"
    size: str = "small"
    seed: int = 0
    threads: int = 2


class CohortDataset(Dataset[Tensors]):
    """Patients as TMDL inputs with their label; in training a random variant, and inputs left out at random.

    Leaving inputs out teaches the "absent" tokens what a patient looks like of whom something is not known.
    """

    def __init__(self, patients: list[Tensors], plan: Plan, training: bool) -> None:
        self.patients, self.plan, self.training = patients, plan, training
        self.rng = np.random.default_rng(plan.seed)

    def __len__(self) -> int:
        """Number of patients."""
        return len(self.patients)

    @property
    def transform(self) -> CohortDataset:
        """Itself: what a training seeds anew each epoch."""
        return self

    def set_random_state(self, seed: int) -> None:
        """Draw from `seed` from here on."""
        self.rng = np.random.default_rng(seed)

    def __getitem__(self, index: int) -> Tensors:
        """Inputs of one patient, without a batch axis, and `label`."""
        stored = self.patients[index]
        variant = int(self.rng.integers(VARIANTS)) if self.training else 0
        inputs = {name: value[variant] if name in PER_VARIANT else value for name, value in stored.items()}
        for name in ("location", "texture", "margin"):
            inputs[name] = inputs[name].float() / 255
        for name in INPUTS:
            shape = (2,) if name in VIEW_INPUTS else ()
            absent = inputs.get(f"{name}_absent", torch.zeros(shape, dtype=torch.bool))
            inputs[f"{name}_absent"] = absent
        return self._leave_out(inputs) if self.training else inputs

    def _leave_out(self, inputs: Tensors) -> Tensors:
        for name in INPUTS:
            if self.rng.random() < self.plan.input_dropout:
                inputs[f"{name}_absent"] = torch.ones_like(inputs[f"{name}_absent"])
        if bool(inputs["view_mask"].all()) and self.rng.random() < self.plan.view_dropout:
            inputs["view_mask"] = (
                torch.tensor([True, False]) if self.rng.random() < 0.5 else torch.tensor([False, True])
            )
        return inputs


class LogitOfMetastasis(torch.nn.Module):
    """TMDL as the trainer expects it: one tensor out, (B,)."""

    def __init__(self, network: TMDL) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensors) -> torch.Tensor:
        """Logit of metastasis of each patient."""
        return self.network(inputs).logits[:, -1]


def train(plan: Plan, out: Path, resume: bool = False) -> dict[str, Any]:
    """Run `plan`, write its results to `out`, and give the record that `training.json` holds."""
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(plan.threads)
    set_determinism(plan.seed)
    started = time.monotonic()
    table = read_table(Path(plan.cohort))
    if "llnm" not in table.columns or (table["llnm"] == "").any():
        raise InputError(f"{plan.cohort}: every patient needs llnm 0 or 1 to train on; fill the column")
    config = preset_config(plan.preset, plan.size)
    patients = load_patients(table, plan, out / "cache")
    held = np.zeros(len(table), bool)
    held[np.random.default_rng(plan.seed).permutation(len(table))[plan.fold :: plan.folds]] = True
    network = TMDL(config)
    training = CohortDataset([p for p, h in zip(patients, held, strict=True) if not h], plan, training=True)
    run_workflow(
        LogitOfMetastasis(network),
        DataLoader(training, batch_size=plan.batch_size, shuffle=True, drop_last=len(training) > plan.batch_size),
        loss=torch.nn.functional.binary_cross_entropy_with_logits,
        split=lambda batch: ({k: v for k, v in batch.items() if k != "label"}, batch["label"]),
        schedule=Schedule(plan.max_epochs, plan.learning_rate, plan.seed),
        out=out,
        resume=resume,
    )
    save_weights(network, out / "model.pt")
    scores = table.loc[held, ["patient_id"]].copy()
    testing = CohortDataset([p for p, h in zip(patients, held, strict=True) if h], plan, training=False)
    scores["probability"] = score(network, testing)
    scores["llnm"] = table.loc[held, "llnm"].astype(int)
    if "true_probability" in table.columns:
        scores["true_probability"] = table.loc[held, "true_probability"].astype(float)
    scores.to_csv(out / "held_back.csv", index=False)
    record = {
        "plan": {**asdict(plan), "cohort": Path(plan.cohort).name},
        "tmdl": config.as_dict(),
        "training_patients": int((~held).sum()),
        "held_back": summarise(scores),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "minutes": round((time.monotonic() - started) / 60, 1),
    }
    write_json(record, out / "training.json")
    write_card(record, out / "MODEL_CARD.md")
    return record


def load_patients(table: pd.DataFrame, plan: Plan, cache: Path) -> list[Tensors]:
    """Tensors of every row: feature images from the cache, report vectors and values made once."""
    cache.mkdir(parents=True, exist_ok=True)
    config, encoder = preset_config(plan.preset, plan.size), load_report_encoder()
    folder = Path(plan.cohort).parent
    patients = []
    for index, cells in enumerate(track(rows(table), description="Features", transient=True)):
        known = read_clinical(cells, folder)
        clinical = clinical_inputs(encoder, config, [known.report], [known.age], [known.sex])
        label = torch.tensor(float(known.llnm or 0))
        images = cached_tensors(cells, folder, config, cache, plan.seed + index)
        patients.append(images | {name: value[0] for name, value in clinical.items()} | {"label": label})
    return patients


def score(network: TMDL, dataset: CohortDataset) -> np.ndarray:
    """Probability of every patient, (n,)."""
    network.eval()
    found = []
    with torch.inference_mode():
        for batch in DataLoader(dataset, batch_size=16):
            found.append(network({k: v for k, v in batch.items() if k != "label"}).probability)
    return torch.cat(found).numpy()


def summarise(scores: pd.DataFrame) -> Mapping[str, Any]:
    """AUC with a bootstrap interval over patients, Brier score, and the AUC of the true probability if known.

    Without patients of both classes there is no AUC and the figure is None.
    """
    label, patient = scores["llnm"].to_numpy() == 1, np.arange(len(scores))
    held_back = Scores(scores["probability"].to_numpy(float), label, patient)
    figures = {
        "patients": len(scores),
        "positives": int(label.sum()),
        "auc": bootstrap(held_back, lambda cells: {"auc": auc(cells)})["auc"].rounded(),
        "brier": round(float(brier_score(count(held_back))), 3),
    }
    if "true_probability" in scores:
        best = Scores(scores["true_probability"].to_numpy(float), label, patient)
        figures["best_possible_auc"] = round(float(auc(count(best))), 3) if 0 < label.sum() < len(label) else None
    return figures
