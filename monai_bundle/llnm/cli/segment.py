"""`llnm segment`: masks of the nodule or the gland for any number of images and cine loops.

Comes in: images, multi-frame files, folders of frames. Goes out: `DIR/<stem>.png` (0/255, the image's size) for each
image, the files of `llnm.cli.segment_cine` in `DIR/<stem>/` for each loop, and `DIR/segment.json`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from llnm import NOTICE
from llnm.cli.common import console, prepare_folder, read_numbers, read_point, to_json
from llnm.cli.progress import talk, tell_result, tell_share
from llnm.errors import InputError, LLNMError
from llnm.files import check_not_overwritten, unique_names, write_text


class InterruptedRunError(LLNMError):
    """The user stopped the run (exit code 3); typer would turn a KeyboardInterrupt into its own code."""

    exit_code = 3


def segment(
    images: Annotated[
        list[Path],
        typer.Argument(help="DICOM, PNG, JPEG, BMP, TIFF, NIfTI or NRRD; several frames or a folder are a cine loop."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the masks.")],
    structure: Annotated[str, typer.Option(help="nodule or gland.")] = "nodule",
    network: Annotated[str, typer.Option(help="default or yolo.")] = "default",
    point: Annotated[str | None, typer.Option(help="X,Y in pixels of the nodule to take.")] = None,
    box: Annotated[str | None, typer.Option(help="X0,Y0,X1,Y1 in pixels around the nodule to take.")] = None,
    weights: Annotated[Path | None, typer.Option(help="Weights to use (model.pt, or a YOLO file).")] = None,
    spacing: Annotated[float | None, typer.Option(help="Millimetres per pixel, for areas in mm2 of a loop.")] = None,
    progress: Annotated[str | None, typer.Option(help="json: tell each image or frame as a line of JSON.")] = None,
) -> None:
    """Segment the nodules or the gland, or with --point or --box the nodule there.

    A file that cannot be used ends the run before anything is written.

    In a cine loop what is found is tied into tracks, and the frame with the largest confident section is proposed.
    """
    from llnm.case import STRUCTURES
    from llnm.cli.segment_cine import segment_loop
    from llnm.imaging.cine import is_cine, open_cine

    talk(progress)
    prepare_folder(out)
    if structure not in STRUCTURES:
        raise InputError(f"structure: {structure!r} is not known; choose one of {', '.join(STRUCTURES)}")
    names = unique_names(images)
    loops = {name: open_cine(path, spacing) for path, name in zip(images, names, strict=True) if is_cine(path)}
    singles = {name: path for path, name in zip(images, names, strict=True) if name not in loops}
    if loops and (point is not None or box is not None):
        raise InputError("--point, --box: they are for single images; give the frame to correct as an image of its own")
    for path, name in zip(images, names, strict=True):
        check_not_overwritten(path, out / name if name in loops else out / f"{name}.png")
    try:
        rows = _segment_images(singles, out, structure, network, point, box, weights)
        entries = [segment_loop(loop, name, out, structure, network, weights) for name, loop in loops.items()]
    except KeyboardInterrupt as stop:
        raise InterruptedRunError(f"interrupted; the masks that are in {out} are whole") from stop
    summary: dict[str, Any] = {"images": rows, "notice": NOTICE}
    if entries:
        summary["cines"] = entries
    write_text(out / "segment.json", to_json(summary))
    if rows:
        console.print(f"{sum(row['found'] for row in rows)} of {len(rows)} images show a {structure}. Masks: {out}")
    tell_result(out / "segment.json")


def _segment_images(
    images: dict[str, Path],
    out: Path,
    structure: str,
    network: str,
    point: str | None,
    box: str | None,
    weights: Path | None,
) -> list[dict[str, Any]]:
    from llnm.files import write_mask
    from llnm.imaging import load_image
    from llnm.segmentation import segment as segment_image

    options: dict[str, Any] = {"network": network, "weights": weights, "point": read_point(point, "--point")}
    if box is not None:
        options["box"] = tuple(read_numbers(box, "--box", "X0,Y0,X1,Y1"))
    for path in images.values():
        load_image(path)  # once to be sure that all can be used, and again below, so that one is held at a time
    rows: list[dict[str, Any]] = []
    with console.status("Segmenting ..."):
        for number, (name, path) in enumerate(images.items()):
            tell_share(name, number, len(images), f"Outlining {name}, image {number + 1} of {len(images)}")
            frame = load_image(path)
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
                    "expected_dice": None if found.expected_dice is None else round(found.expected_dice, 3),
                    "candidates": len(found.candidates),
                    "out_of_distribution": found.distribution and round(found.distribution.score, 4),
                    "warnings": [*frame.warnings, *(found.distribution.warnings if found.distribution else ())],
                }
            )
    return rows
