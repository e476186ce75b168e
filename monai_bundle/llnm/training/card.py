"""The model card of a training run: what it was trained on, how, and what was measured on held-back patients.

Comes in: the record that `training.json` holds, and the command. Goes out: `MODEL_CARD.md`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llnm import NOTICE
from llnm.files import write_text


def write_card(record: Mapping[str, Any], path: Path) -> None:
    """Write the card of `record` to `path`, with the command this process was started with."""
    plan = record["plan"]
    lines = [
        f"# Model card: {plan.get('structure', 'lateral lymph node metastasis')}",
        "",
        NOTICE,
        "",
        "| | |",
        "|---|---|",
        f"| Command | `{command()}` |",
        *([f"| Network | {plan['network']} |"] if "network" in plan else []),
        f"| Trained on | {_trained_on(record)} |",
        f"| Split | {_split(plan)} |",
        f"| Seed, epochs, batch | {plan['seed']}, {plan['max_epochs']}, {plan['batch_size']} |",
        *([f"| Learning rate | {plan['learning_rate']:g} (one cycle) |"] if "learning_rate" in plan else []),
        f"| Parameters | {record['parameters']:,} |",
        f"| Duration | {record['minutes']} min on {plan['threads']} CPU thread(s) |",
        "",
        "## Held back",
        "",
        *_figures(record["held_back"]),
        *(["", "By size of the structure:", "", *_figures(record["by_size"])] if record.get("by_size") else []),
        *(
            ["", "The ten worst held-back images (green: annotated, red: found): `failures.png`"]
            if record.get("by_size")
            else []
        ),
        "",
    ]
    write_text(path, "\n".join(lines))


def _split(plan: Mapping[str, Any]) -> str:
    if plan.get("held_out_source"):
        return f"by source: {plan['held_out_source']} held back and never used to choose anything"
    if plan["folds"] == 1:
        return "none: all patients were trained on"
    return f"by patient; fold {plan['fold']} of {plan['folds']} held back and never used to choose anything"


def command() -> str:
    """The command line of this process, with the last part of every path only."""
    return " ".join([Path(sys.argv[0]).name, *(Path(word).name if "/" in word else word for word in sys.argv[1:])])


def _trained_on(record: Mapping[str, Any]) -> str:
    plan = record["plan"]
    if "training_patients" in record:
        absent = f"; without {', '.join(plan['left_out'])}" if plan.get("left_out") else ""
        return f"{record['training_patients']} patients of {plan['cohort']}{absent}"
    parts = []
    if plan["folders"]:
        images, groups = record["training_images"], record["training_groups"]
        parts.append(f"{images} images of {groups} patients ({', '.join(plan['folders'])})")
    if plan["simulated_views"]:
        parts.append(f"{plan['simulated_views']} simulated views")
    if plan.get("left_out"):
        parts.append(f"without the augmentation {', '.join(plan['left_out'])}")
    if plan.get("start_from"):
        parts.append(f"going on from {plan['start_from']}")
    elif plan.get("pretrained"):
        parts.append("encoder started from EfficientNet-Lite0's ImageNet weights (Apache-2.0)")
    return "; ".join(parts)


def _figures(held_back: Mapping[str, Any]) -> list[str]:
    if "auc" in held_back:
        best = held_back.get("best_possible_auc", "unknown")
        return [
            "| patients | positive | AUC (95 %) | Brier | AUC of the true probability |",
            "|---|---|---|---|---|",
            f"| {held_back['patients']} | {held_back['positives']} | {_interval(held_back['auc'])} | "
            f"{held_back['brier']} | {best} |",
        ]
    rows = ["| | images | patients | Dice (95 %) | IoU (95 %) | Dice below 0.1 |", "|---|---|---|---|---|---|"]
    for source, found in held_back.items():
        rows.append(
            f"| {source} | {found['images']} | {found['groups']} | {_interval(found['dice'])} | "
            f"{_interval(found['iou'])} | {found['share_below_0.1_dice']:.1%} |"
        )
    return [*rows, "", "Means and 95 % intervals are over patients (percentile bootstrap, 2,000 resamples)."]


def _interval(figure: Mapping[str, float | None]) -> str:
    if figure["value"] is None:
        return "not available"
    return f"{figure['value']:.3f} ({figure['low']:.3f}-{figure['high']:.3f})"
