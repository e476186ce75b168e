"""Measures segmentation weights on annotated images, by the same `segment` that users call.

Comes in: annotated images and weights. Goes out: one row an image, means with intervals over patients, and a picture
of the worst cases.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw
from scipy import ndimage

from llnm.case import GreyImage, Mask, Structure, UltrasoundImage
from llnm.evaluation.intervals import figure_of_values
from llnm.evaluation.masks import MISSED
from llnm.files import write_png
from llnm.imaging import load_image, load_mask, prepare
from llnm.segmentation import segment
from llnm.segmentation.quality import FIGURES
from llnm.training.card import write_card
from llnm.training.data import Item, find_items, thin_out
from llnm.training.workflow import write_json, write_table

SIZES = {"below 1 % of the scan": 0.01, "1-3 %": 0.03, "3-10 %": 0.1, "above 10 %": 1.0}
"""Largest share of the scan area of each size class."""
WORST = 10
TILE = (300, 210)


def record_run(
    structure: Structure,
    plan: Mapping[str, Any],
    split: Mapping[str, Sequence[Mapping[str, Any]]],
    weights: Path,
    *,
    measured: Sequence[Path],
    parameters: int,
    minutes: float,
    network: str = "default",
) -> dict[str, Any]:
    """Measure trained `weights` on what was held back and on the folders `measured`, and write all about the run.

    Beside the weights come `held_back.csv`, `failures.png`, `training.json` (the record, which is returned) and
    `MODEL_CARD.md`. `split`: as `training.data.training_split` gives it; `plan`: what the run depended on.
    """
    out, most = weights.parent, plan["images_per_patient"]
    held_back = [sample["item"] for sample in split["held_back"]]
    also = [item for folder in measured for item in find_items(folder, structure)]
    held_back += thin_out(also, most) if most else also
    training = [sample["item"] for sample in split["training"] if "item" in sample]
    record = {
        "plan": dict(plan),
        "training_images": len(training),
        "training_groups": len({(item.source, item.group) for item in training}),
        "validation_images": len(split["validation"]),
        **measure_weights(structure, held_back, weights, out, network),
        "parameters": parameters,
        "minutes": round(minutes, 1),
    }
    write_json(record, out / "training.json")
    write_card(record, out / "MODEL_CARD.md")
    return record


def measure_weights(
    structure: Structure, items: Sequence[Item], weights: Path, out: Path, network: str = "default"
) -> dict[str, Any]:
    """Measure `weights` on `items`; writes `held_back.csv` and `failures.png` into `out`, and gives the figures.

    The figures are `held_back` by source and `by_size`, each as `summarise` has them.
    """
    table = evaluate(structure, items, weights, network)
    write_table(table, out / "held_back.csv")
    draw_failures(table, items, structure, weights, out / "failures.png", network)
    return {"held_back": summarise(table), "by_size": summarise(table, by="size")}


def evaluate(structure: Structure, items: Sequence[Item], weights: Path, network: str = "default") -> pd.DataFrame:
    """Dice and IoU of `weights` on `items`, one row an image, with its size class and its quality figures."""
    columns = ["source", "group", "image", "size", "dice", "iou", *FIGURES]
    return pd.DataFrame([_row(item, structure, weights, network) for item in items], columns=columns)


def _row(item: Item, structure: Structure, weights: Path, network: str) -> dict[str, Any]:
    frame = load_image(item.image)
    truth = load_mask(item.label, frame.shape)
    prepared = prepare(frame)
    result = segment(prepared, structure, network=network, weights=weights)
    found = result.mask
    shared = float((found & truth).sum())
    dice = 2 * shared / float(found.sum() + truth.sum())
    share = float(truth.sum()) / (prepared.scan_area.shape[0] * prepared.scan_area.shape[1])
    size = next((name for name, largest in SIZES.items() if share < largest), list(SIZES)[-1])
    about = {"source": item.source, "group": item.group, "image": item.image.stem, "size": size}
    return {**about, "dice": dice, "iou": shared / float((found | truth).sum()), **result.figures}


def summarise(table: pd.DataFrame, by: str = "source", resamples: int = 2000, seed: int = 0) -> dict[str, Any]:
    """Mean Dice and IoU by `source` (or `size`) with 95 % bootstrap intervals over patients, and the share missed."""
    summary = {}
    for name, rows in table.groupby(by):
        by_group = rows.groupby(["source", "group"])[["dice", "iou"]].mean()
        figures = {
            metric: figure_of_values(by_group[metric].to_numpy(), resamples=resamples, seed=seed).rounded()
            for metric in ("dice", "iou")
        }
        missed = round(float((by_group["dice"] < MISSED).mean()), 3)
        summary[str(name)] = {"images": len(rows), "groups": len(by_group), **figures, "share_below_0.1_dice": missed}
    return summary


def draw_failures(
    table: pd.DataFrame,
    items: Sequence[Item],
    structure: Structure,
    weights: Path,
    out: Path,
    network: str = "default",
) -> None:
    """The ten worst images side by side: green what was drawn, red what was found; nothing without any image."""
    if table.empty:
        return
    worst = table.nsmallest(WORST, "dice").index
    tiles = []
    for index in worst:
        frame = load_image(items[index].image)
        found = segment(frame, structure, network=network, weights=weights).mask
        tiles.append(_tile(items[index], frame, found, float(table.loc[index, "dice"])))
    rows = [np.concatenate(tiles[start : start + 5], axis=1) for start in range(0, len(tiles), 5)]
    widest = max(row.shape[1] for row in rows)
    sheet = np.concatenate([np.pad(row, ((0, 0), (0, widest - row.shape[1]), (0, 0))) for row in rows])
    write_png(out, sheet)


def _tile(item: Item, frame: UltrasoundImage, found: Mask, dice: float) -> np.ndarray:
    picture = outline_picture(frame.pixels, (load_mask(item.label, frame.shape), (0, 255, 0)), (found, (255, 0, 0)))
    tile = Image.fromarray(picture).resize(TILE)
    ImageDraw.Draw(tile).text((4, 4), f"{dice:.2f}  {item.source} {item.image.stem}", fill=(255, 255, 0))
    return np.asarray(tile)


def outline_picture(pixels: GreyImage, *outlines: tuple[Mask, tuple[int, int, int]]) -> np.ndarray:
    """The frame in RGB, uint8, with the outline of each mask in its colour."""
    picture = np.repeat((255 * pixels).astype(np.uint8)[..., None], 3, axis=2)
    for mask, colour in outlines:
        picture[ndimage.binary_dilation(mask ^ ndimage.binary_erosion(mask))] = colour
    return picture
