"""`llnm atlas view`, `scene` and `import-page`: an atlas to look at, and the published one as such an atlas.

Comes in: an atlas folder and a patient's place, or the published page. Goes out: a page for a browser, a scene for 3D
Slicer, or an atlas folder.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llnm import NOTICE
from llnm.cli.atlas import atlas
from llnm.cli.common import console, prepare_folder, read_numbers
from llnm.errors import InputError
from llnm.files import write_text

if TYPE_CHECKING:
    from llnm.atlas import Atlas
    from llnm.atlas.marker import Marker

Folder = Annotated[Path, typer.Argument(help="An atlas folder (llnm atlas build or import-page).")]
Patient = Annotated[Path | None, typer.Option(help="The nodule to mark: JSON of llnm atlas risk, or result.json.")]
Place = Annotated[
    str | None, typer.Option(help="X,Y,Z of a nodule, mm from the middle of the isthmus: right, front, head positive.")
]


@atlas.command()
def view(
    folder: Folder,
    out: Annotated[Path, typer.Option(help="The page (.html).")],
    patient: Patient = None,
    place: Place = None,
) -> None:
    """Write one page to look at the atlas in a browser, offline: turn it, cut it, ask it, see a patient's nodule."""
    from llnm.atlas import Atlas
    from llnm.atlas.page import read_regions, write_page

    if out.suffix.lower() not in {".html", ".htm"}:
        raise InputError(f"--out: {out.name} is no name of a page; let it end in .html")
    shown = Atlas.load(folder)
    marker = _marker(shown, patient, place)
    write_page(shown, out, marker, read_regions(folder))
    console.print(f"{out}: {out.stat().st_size / 1e6:.1f} MB{_said(marker)}. {NOTICE}", markup=False, soft_wrap=True)


@atlas.command()
def scene(
    folder: Folder,
    out: Annotated[Path, typer.Option(help="Folder for atlas.mrml and what it names.")],
    patient: Patient = None,
    place: Place = None,
) -> None:
    """Write the atlas as a scene of 3D Slicer, in a folder of its own: volumes, coloured gland, regions, nodule."""
    from llnm.atlas import Atlas
    from llnm.atlas.scene import write_scene

    if out.resolve() == folder.resolve():
        raise InputError(f"--out: the files of {folder} would be written over; choose another folder")
    shown = Atlas.load(folder)
    marker = _marker(shown, patient, place)
    path = write_scene(shown, prepare_folder(out), marker)
    console.print(f"{path}: open it in 3D Slicer{_said(marker)}. {NOTICE}", markup=False, soft_wrap=True)


def _marker(shown: Atlas, patient: Path | None, place: str | None) -> Marker | None:
    from llnm.atlas.marker import marker_at, marker_of_result

    if patient is not None and place is not None:
        raise InputError("place: both --patient and --place are given; give one of them")
    if place is not None:
        return marker_at(shown, read_numbers(place, "--place", "X,Y,Z"))
    if patient is None:
        return None
    try:
        result = json.loads(patient.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{patient}: cannot be read as JSON ({error}); give a result.json of llnm predict") from error
    if not isinstance(result, dict):
        raise InputError(f"{patient}: is no result; give a result.json of llnm predict")
    return marker_of_result(shown, result)


def _said(marker: Marker | None) -> str:
    if marker is None:
        return ""
    interval = "" if marker.low is None or marker.high is None else f" ({marker.low:.2f} to {marker.high:.2f})"
    value = "no evidence" if marker.risk is None else f"{marker.risk:.2f}{interval}"
    remark = f". {marker.remark.rstrip('.')}" if marker.remark else ""
    return f"; {marker.name}: {marker.region}, {value}{remark}"


@atlas.command("import-page")
def import_page(
    page: Annotated[Path, typer.Argument(help="The published page (risk_page.html).")],
    out: Annotated[Path, typer.Option(help="Folder for the atlas and points.csv.")],
    template: Annotated[
        Path | None, typer.Option(help="Segmentation of both lobes (NIfTI or NRRD) instead of the built-in thyroid.")
    ] = None,
) -> None:
    """Turn the paper's published risk page into an atlas: relative risk by the colours' hue, on the gland's surface."""
    from llnm.atlas.mesh import MESH, write_mesh
    from llnm.atlas.published import import_page, points_table
    from llnm.atlas.template import read_template, thyroid_template

    prepare_folder(out)
    found, points = import_page(page, thyroid_template() if template is None else read_template(template))
    write_text(out / "points.csv", points_table(points))
    write_mesh(out / MESH, found)
    found.save(out)
    distance = found.about["colour_distance"]
    console.print(
        f"{out}: {len(points.value):,} points, relative risk {points.value.min():.2f} to {points.value.max():.2f}. "
        f"Distance of the colours from YlOrRd: median {distance['median']:.3f}, 95 % below {distance['95 %']:.3f} "
        f"(each point's in points.csv). {NOTICE}",
        markup=False,
        soft_wrap=True,
    )
