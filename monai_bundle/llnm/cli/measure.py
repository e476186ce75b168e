"""`llnm measure`: how well segmentation weights do on annotated images.

Comes in: annotated folders and weights. Goes out: `held_back.csv` (one row an image), `failures.png` (the ten worst)
and `measured.json` (Dice and IoU by source and by size, with 95 % intervals over patients).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from llnm.cli.common import console, prepare_folder, to_json
from llnm.errors import InputError
from llnm.files import write_text


def measure(
    structure: Annotated[str, typer.Argument(help="nodule or gland.")],
    data: Annotated[list[Path], typer.Option(help="Annotated folder(s), laid out as for llnm train.")],
    out: Annotated[Path, typer.Option(help="Folder for the figures.")],
    weights: Annotated[Path | None, typer.Option(help="Weights to measure; the shipped ones else.")] = None,
    network: Annotated[str, typer.Option(help="default or yolo.")] = "default",
    fold: Annotated[
        int | None, typer.Option(help="Measure this fold of the patients only, which a training held back.")
    ] = None,
    folds: Annotated[int, typer.Option(help="Into how many folds patients are split.")] = 5,
    images_per_patient: Annotated[
        int, typer.Option(help="At most so many images of a patient or sweep, evenly spread; 0 takes all.")
    ] = 0,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 2,
) -> None:
    """Measure weights on annotated images that they were not trained on, by the same `segment` that users call."""
    import torch

    from llnm.case import STRUCTURES
    from llnm.training.data import HeldBack, find_items, thin_out
    from llnm.training.measuring import measure_weights
    from llnm.weights import file_sha256, weights_file

    if structure not in STRUCTURES:
        raise InputError(f"structure: {structure!r} is not known; choose one of {', '.join(STRUCTURES)}")
    torch.set_num_threads(threads)
    items = [item for folder in data for item in find_items(folder, structure)]
    if fold is not None:
        items = HeldBack(fold, folds).split(items)[1]
    if images_per_patient:
        items = thin_out(items, images_per_patient)
    path = weights or weights_file(structure)
    prepare_folder(out)
    figures = measure_weights(structure, items, path, out, network)
    record: dict[str, Any] = {
        "structure": structure,
        "network": network,
        "weights": {"file": path.name, "sha256": file_sha256(path)},
        "folders": [folder.name for folder in data],
        "fold": fold,
        "folds": None if fold is None else folds,
        "images_per_patient": images_per_patient,
        **figures,
    }
    write_text(out / "measured.json", to_json(record))
    console.print(to_json(record), markup=False)
