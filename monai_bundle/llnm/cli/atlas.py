"""`llnm atlas`: build a 3D risk atlas of a cohort, ask it, look at it, compare it, take over the published one.

Comes in: a cohort table, an atlas folder or the published page. Goes out: an atlas folder, answers, a page.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llnm import NOTICE
from llnm.cli.common import console, errors, prepare_folder, read_numbers, to_json
from llnm.errors import InputError

if TYPE_CHECKING:
    from llnm.atlas.build import AtlasBuild
    from llnm.atlas.place import PlaneMasks
    from llnm.case import Plane

atlas = typer.Typer(name="atlas", help="The 3D risk atlas: build it, ask it, look at it.", no_args_is_help=True)
METHODS = {"beta": "beta", "class-means": "class means", "sum": "sum"}
Folder = Annotated[Path, typer.Argument(help="Atlas folder (llnm atlas build).")]
_MASK = typer.Option(help="Mask of this view, any image format.", rich_help_panel="Masks")


@atlas.command()
def build(
    table: Annotated[Path, typer.Argument(help="cohort.csv with masks, side and llnm; paths relative to the file.")],
    out: Annotated[Path, typer.Option(help="Folder for the atlas; made if it is not there.")],
    method: Annotated[str, typer.Option(help="beta (a probability), class-means or sum (relative risks).")] = "beta",
    workers: Annotated[int, typer.Option(min=1, help="Processes on this machine.")] = 1,
    dask: Annotated[str | None, typer.Option(help="Address of a Dask scheduler that sees the same files.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Take over what an earlier run has placed.")] = False,
    template: Annotated[Path | None, typer.Option(help="Segmentation of a thyroid (NIfTI, NRRD) to take.")] = None,
) -> None:
    """Build the atlas of a cohort; who cannot be placed in the template is listed with the reason.

    An interrupted build goes on with --resume.
    """
    from rich.progress import Progress

    from llnm.atlas.build import build_atlas

    prepare_folder(out)
    if method not in METHODS:
        raise InputError(f"method: {method!r} is not known; choose one of {', '.join(METHODS)}")
    with Progress(console=errors, transient=True) as bar:
        task = bar.add_task("Patients", total=None)
        found = build_atlas(
            table,
            out,
            method=METHODS[method],
            template=template,
            workers=workers,
            dask=dask,
            resume=resume,
            progress=lambda done, whole: bar.update(task, completed=done, total=whole),
        )
    _summarise(found, out)


@atlas.command()
def risk(
    folder: Folder,
    position: Annotated[str | None, typer.Option(help="X,Y,Z in RAS mm of the template.")] = None,
    side: Annotated[str | None, typer.Option(help="left or right: the lobe that holds the nodule.")] = None,
    transverse_nodule_mask: Annotated[Path | None, _MASK] = None,
    transverse_gland_mask: Annotated[Path | None, _MASK] = None,
    longitudinal_nodule_mask: Annotated[Path | None, _MASK] = None,
    longitudinal_gland_mask: Annotated[Path | None, _MASK] = None,
    spacing: Annotated[str | None, typer.Option(help="Millimetres per pixel of both views.")] = None,
    transverse_spacing: Annotated[str | None, typer.Option(help="The same for one view, before --spacing.")] = None,
    longitudinal_spacing: Annotated[str | None, typer.Option(help="The same for one view, before --spacing.")] = None,
    out: Annotated[Path | None, typer.Option(help="JSON file to write, too.")] = None,
) -> None:
    """Risk at a position of the template, or at the place of a nodule whose masks and side are given; as JSON."""
    from llnm.atlas import Atlas
    from llnm.atlas.locate import at_position, locate_patient
    from llnm.files import write_text

    known = Atlas.load(folder)
    masks: dict[Plane, tuple[Path | None, Path | None, str | None]] = {
        "transverse": (transverse_nodule_mask, transverse_gland_mask, transverse_spacing or spacing),
        "longitudinal": (longitudinal_nodule_mask, longitudinal_gland_mask, longitudinal_spacing or spacing),
    }
    given = any(path for nodule, gland, _ in masks.values() for path in (nodule, gland))
    if given == (position is not None):
        raise InputError("atlas risk: give either --position or the masks of both planes with --side")
    if position is not None:
        x, y, z = read_numbers(position, "--position", "X,Y,Z")
        found = at_position((x, y, z), known)
    else:
        found = locate_patient({plane: _plane(plane, *files) for plane, files in masks.items()}, side, known)
    text = to_json(found.as_dict())
    if out is not None:
        write_text(out, text)
    console.print(text, end="", markup=False, soft_wrap=True)


@atlas.command()
def compare(
    first: Folder,
    second: Annotated[Path, typer.Argument(help="The atlas to compare with.")],
    out: Annotated[Path | None, typer.Option(help="NIfTI or NRRD file for the map first - second.")] = None,
) -> None:
    """Correlation of two atlases with its interval, and a map of the difference; as JSON."""
    from llnm.atlas import Atlas
    from llnm.atlas.compare import compare as compare_atlases
    from llnm.atlas.model import write_volume

    if out is not None:
        _check_volume_name(out)
    known = Atlas.load(first)
    found = compare_atlases(known, Atlas.load(second))
    if out is not None:
        write_volume(out, found.difference, known.template.affine)
    answer = {
        "correlation": found.correlation,
        "interval": None if found.interval is None else list(found.interval),
        "mean_difference": found.mean_difference,
        "voxels": found.voxels,
        "notice": NOTICE,
    }
    console.print(to_json(answer), end="", markup=False, soft_wrap=True)


@atlas.command()
def template(
    segmentations: Annotated[list[Path], typer.Argument(help="Whole thyroids, two or more (NIfTI, NRRD, mm).")],
    out: Annotated[Path, typer.Option(help="NIfTI or NRRD file for llnm atlas build --template.")],
) -> None:
    """The mean shape of a cohort's glands, segmented in 3D, as a template."""
    import math

    import numpy as np

    from llnm.atlas.mean_template import mean_template
    from llnm.atlas.model import write_volume

    _check_volume_name(out)
    mean = mean_template(segmentations)
    write_volume(out, mean.labels, mean.affine)
    millilitres = np.count_nonzero(mean.labels) * math.prod(mean.spacing_mm) / 1000
    console.print(f"{out}: {mean.source}, {millilitres:.1f} ml", markup=False, soft_wrap=True)


def _check_volume_name(path: Path) -> None:
    if not path.name.endswith((".nii", ".nii.gz", ".nrrd")):
        raise InputError(f"{path}: is neither NIfTI nor NRRD; give a name that ends in .nii.gz or .nrrd")


def _plane(plane: str, nodule: Path | None, gland: Path | None, spacing: str | None) -> PlaneMasks:
    """The masks of one view from their files."""
    from llnm.atlas.place import PlaneMasks
    from llnm.case import check_spacing
    from llnm.imaging import load_image, load_mask

    if nodule is None or gland is None:
        raise InputError(f"{plane}: the place in 3D needs the nodule and the gland mask of both planes; give them")
    millimetres = None if spacing is None else check_spacing(spacing, f"{plane} spacing")
    shape = load_image(gland).shape
    return PlaneMasks(
        nodule=load_mask(nodule, shape),
        gland=load_mask(gland, shape),
        spacing_mm=None if millimetres is None else (millimetres, millimetres),
    )


def _summarise(found: AtlasBuild, out: Path) -> None:
    taken = f" ({found.taken_over} of them in an earlier run)" if found.taken_over else ""
    lines = [f"{found.placed} patients placed{taken}: {out}"]
    if found.failed:
        lines.append(f"{found.failed} patients could not be: {out / 'errors.csv'} says why")
    hot = [region for region in found.regions if region.hot]
    lines += [
        f"Hot: {region.name}, {region.probability:.0%} ({region.low:.0%} to {region.high:.0%}), p {region.p_value:.4f}"
        for region in hot
    ]
    if not hot:
        lines.append("No region stands out of chance (5 %, all regions together).")
    if found.capsule is not None and found.capsule.limit_mm is not None:
        limit, level = found.capsule.limit_mm, found.capsule.level
        lines.append(f"Within {limit:.1f} mm of the capsule at least {level:.0%} of patients had metastases.")
    for line in (*lines, NOTICE):
        console.print(line, markup=False, soft_wrap=True)
