"""Trains the nodule or the gland network as a MONAI workflow, and measures it on held-back patients.

Comes in: annotated folders (see `training.data`) and a number of simulated views. Goes out, in one folder: `model.pt`
(half precision), `training.json` (data, split, seed, duration, figures), `held_back.csv` (one row an image) and
checkpoints from which an interrupted training goes on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from monai.data import CacheDataset, DataLoader
from monai.losses import DiceCELoss
from monai.utils import set_determinism

from llnm.case import Structure
from llnm.imaging import load_image, load_mask
from llnm.segmentation import segment
from llnm.segmentation.networks import build_network
from llnm.training.card import write_card
from llnm.training.data import Item, find_items, split_by_group, training_transforms
from llnm.training.workflow import run_workflow, save_weights
from llnm.weights import load_state_dict


@dataclass(frozen=True)
class Plan:
    """What one training run is: all that its result depends on.

    `measured`: folders that are only tested on. `start`: weights to go on from instead of fresh ones.
    """

    structure: Structure
    folders: tuple[str, ...] = ()
    simulated: int = 0
    measured: tuple[str, ...] = ()
    start: str | None = None
    fold: int = 0
    folds: int = 5
    epochs: int = 20
    batch: int = 8
    learning_rate: float = 2e-3
    seed: int = 0
    threads: int = 2


def train(plan: Plan, out: Path, resume: bool = False) -> dict[str, Any]:
    """Run `plan`, write its results to `out`, and give the record that `training.json` holds."""
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(plan.threads)
    set_determinism(plan.seed)
    started = time.monotonic()
    training, held_back = split_by_group(_items(plan.folders, plan.structure), plan.fold, plan.folds)
    held_back += _items(plan.measured, plan.structure)
    samples: list[dict[str, Any]] = [{"item": item} for item in training]
    samples += [{"seed": plan.seed * 1_000_003 + index} for index in range(plan.simulated)]
    network = build_network(plan.structure)
    if plan.start is not None:
        network.load_state_dict(load_state_dict(Path(plan.start)))
    dataset = CacheDataset(samples, training_transforms(plan.structure), num_workers=plan.threads, progress=False)
    run_workflow(
        network,
        DataLoader(dataset, batch_size=plan.batch, shuffle=True, drop_last=len(samples) > plan.batch),
        loss=DiceCELoss(sigmoid=True),
        epochs=plan.epochs,
        learning_rate=plan.learning_rate,
        out=out,
        resume=resume,
    )
    save_weights(network, out / "model.pt")
    table = evaluate(plan.structure, held_back, out / "model.pt")
    table.to_csv(out / "held_back.csv", index=False)
    record = {
        "plan": {
            **asdict(plan),
            **{name: [Path(p).name for p in getattr(plan, name)] for name in ("folders", "measured")},
            "start": plan.start and Path(plan.start).name,
        },
        "training_images": len(training),
        "training_groups": len({(item.source, item.group) for item in training}),
        "held_back": summarise(table),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "minutes": round((time.monotonic() - started) / 60, 1),
    }
    (out / "training.json").write_text(json.dumps(record, indent=2), encoding="utf-8")
    write_card(record, out / "MODEL_CARD.md")
    return record


def _items(folders: Sequence[str], structure: Structure) -> list[Item]:
    return [item for folder in folders for item in find_items(Path(folder), structure)]


def evaluate(structure: Structure, items: Sequence[Item], weights: Path) -> pd.DataFrame:
    """Dice and IoU of `weights` on `items`, one row an image, by the same `segment` that users call."""
    rows = []
    for item in items:
        frame = load_image(item.image)
        truth = load_mask(item.label, frame.shape)
        result = segment(frame, structure, weights=weights)
        # The annotators marked every nodule of a frame or one of them; all that was found is compared.
        found = np.any(result.candidates, axis=0) if result.candidates else result.mask
        shared = float((found & truth).sum())
        rows.append(
            {
                "source": item.source,
                "group": item.group,
                "image": item.image.stem,
                "dice": 2 * shared / (found.sum() + truth.sum()),
                "iou": shared / (found | truth).sum(),
            }
        )
    return pd.DataFrame(rows, columns=["source", "group", "image", "dice", "iou"])


def summarise(table: pd.DataFrame, resamples: int = 2000, seed: int = 0) -> dict[str, Any]:
    """Mean Dice and IoU by source with a 95 % interval from a bootstrap over patients, and the share missed."""
    summary = {}
    for source, rows in table.groupby("source"):
        by_group = rows.groupby("group")[["dice", "iou"]].mean()
        rng = np.random.default_rng(seed)
        drawn = by_group.to_numpy()[rng.integers(len(by_group), size=(resamples, len(by_group)))].mean(axis=1)
        low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
        summary[str(source)] = {
            "images": len(rows),
            "groups": len(by_group),
            **{
                name: {
                    "value": round(float(by_group[name].mean()), 3),
                    "low": round(low[i], 3),
                    "high": round(high[i], 3),
                }
                for i, name in enumerate(("dice", "iou"))
            },
            "share_below_0.1_dice": round(float((by_group["dice"] < 0.1).mean()), 3),
        }
    return summary
