"""`llnm features`: the measured features of one view whose nodule is outlined.

Comes in: an image and its masks. Goes out: JSON, on standard output or in a file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llnm.cli.common import read_view, to_json
from llnm.errors import InputError
from llnm.files import write_text


def features(
    image: Annotated[Path, typer.Argument(help="DICOM, PNG, JPEG, BMP, TIFF, NIfTI or NRRD.")],
    nodule_mask: Annotated[Path, typer.Option(help="Mask of the nodule, the image's size.")],
    gland_mask: Annotated[Path | None, typer.Option(help="Mask of the gland.")] = None,
    spacing: Annotated[str | None, typer.Option(help="Millimetres per pixel, where the file does not say.")] = None,
    plane: Annotated[str, typer.Option(help="transverse or longitudinal.")] = "transverse",
    out: Annotated[Path | None, typer.Option(help="JSON file; standard output otherwise.")] = None,
) -> None:
    """Measure size, shape, echogenicity and distance to the capsule."""
    from llnm.case import PLANES, check_spacing
    from llnm.features import measure
    from llnm.imaging import prepare

    if plane not in PLANES:
        raise InputError(f"plane: {plane!r} is not known; choose one of {', '.join(PLANES)}")
    millimetres = None if spacing is None else check_spacing(spacing, "spacing")
    view = read_view(plane, image, {"nodule": nodule_mask, "gland": gland_mask}, millimetres)  # type: ignore[arg-type]
    prepared = prepare(view.image)
    gland = view.masks.get("gland")
    measured = measure(prepared.bmode, view.masks["nodule"], gland, view.image.spacing_mm, view.plane)
    if measured.nodule_outside_gland:
        raise InputError(f"{nodule_mask.name}: the nodule lies wholly outside the gland mask; check both masks")
    values = {**measured.as_dict(), "warnings": list(prepared.warnings)}
    if out is None:
        typer.echo(to_json(values), nl=False)
    else:
        write_text(out, to_json(values))
