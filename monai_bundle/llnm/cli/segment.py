"""`llnm segment`: masks of the nodule or the gland for any number of images.

Comes in: images. Goes out: `DIR/<stem>.png` (0/255, the image's size) for each, and `DIR/segment.json`.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from llnm import NOTICE
from llnm.cli.common import console, prepare_folder, read_numbers, read_point, to_json, write_text
from llnm.errors import InputError


def segment(
    images: Annotated[list[Path], typer.Argument(help="DICOM, PNG, JPEG, BMP, TIFF, NIfTI or NRRD.")],
    out: Annotated[Path, typer.Option(help="Folder for the masks.")],
    structure: Annotated[str, typer.Option(help="nodule or gland.")] = "nodule",
    network: Annotated[str, typer.Option(help="default or yolo.")] = "default",
    point: Annotated[str | None, typer.Option(help="X,Y in pixels of the nodule to take.")] = None,
    box: Annotated[str | None, typer.Option(help="X0,Y0,X1,Y1 in pixels around the nodule to take.")] = None,
    weights: Annotated[Path | None, typer.Option(help="Weights to use (model.pt, or a YOLO file).")] = None,
) -> None:
    """Segment the nodule or the gland; a file that cannot be used ends the run before anything is written."""
    from llnm.case import STRUCTURES
    from llnm.imaging import load_image
    from llnm.report.folder import write_mask
    from llnm.segmentation import segment as segment_image

    prepare_folder(out)
    if structure not in STRUCTURES:
        raise InputError(f"structure: {structure!r} is not known; choose one of {', '.join(STRUCTURES)}")
    frames = [load_image(path) for path in images]
    options: dict[str, Any] = {"network": network, "weights": weights, "point": read_point(point, "--point")}
    if box is not None:
        options["box"] = tuple(read_numbers(box, "--box", "X0,Y0,X1,Y1"))
    rows: list[dict[str, Any]] = []
    with console.status("Segmenting ..."):
        for frame, name in zip(frames, unique_names(images), strict=True):
            found = segment_image(frame, structure, **options)  # type: ignore[arg-type]
            write_mask(out / f"{name}.png", found.mask)
            rows.append(
                {
                    "mask": f"{name}.png",
                    "structure": structure,
                    "found": found.found,
                    "area_px": int(found.mask.sum()),
                    "mean_probability": round(found.mean_probability, 4),
                    "mean_uncertainty": round(found.mean_uncertainty, 4),
                    "candidates": len(found.candidates),
                    "warnings": list(frame.warnings),
                }
            )
    write_text(out / "segment.json", to_json({"images": rows, "notice": NOTICE}))
    console.print(f"{sum(row['found'] for row in rows)} of {len(rows)} images show a {structure}. Masks: {out}")


def unique_names(images: list[Path]) -> list[str]:
    """A name for each mask: the image's stem, with a number where stems are equal."""
    count = Counter(path.stem for path in images)
    seen: Counter[str] = Counter()
    names = []
    for path in images:
        seen[path.stem] += 1
        names.append(path.stem if count[path.stem] == 1 else f"{path.stem}_{seen[path.stem]}")
    if len(set(names)) < len(names):
        raise InputError("images: some names cannot be told apart; rename the files so that their stems differ")
    return names
