"""`llnm predict`: one patient in, risk with reasons out.

Comes in: files and values of one patient. Goes out: `result.json`, `report.html` and `masks/` in one folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llnm.cli.common import console, prepare_folder, read_point, read_report, read_view
from llnm.cli.progress import is_talking, steps, talk, tell_result
from llnm.errors import InputError

if TYPE_CHECKING:
    from llnm.case import Plane, Structure, View

_IMAGE = typer.Option(help="DICOM, PNG, JPEG, BMP, TIFF, NIfTI or NRRD.", rich_help_panel="Images")
_DUAL = typer.Option(help="One frame that shows both views side by side.", rich_help_panel="Images")
_MASK = typer.Option(help="Mask of the image's size; found by the network if left out.", rich_help_panel="Masks")
_STEPS = {
    "weights": "Loading the networks",
    "longitudinal": "Outlining and measuring the longitudinal view",
    "transverse": "Outlining and measuring the transverse view",
    "risk": "Estimating the risk",
    "atlas": "Placing the nodule in the atlas",
    "contributions": "Weighing what each input contributes",
    "heat": "Finding the places that matter",
    "writing": "Writing the result",
}
_POINT = typer.Option(help="X,Y in pixels of the nodule to take; the largest otherwise.", rich_help_panel="Masks")


def predict(
    out: Annotated[Path, typer.Option(help="Folder for the result; made if it is not there.")],
    transverse: Annotated[Path | None, _IMAGE] = None,
    longitudinal: Annotated[Path | None, _IMAGE] = None,
    dual: Annotated[Path | None, _DUAL] = None,
    dual_left: Annotated[str, typer.Option(help="Which view of --dual is on the left.")] = "transverse",
    doppler: Annotated[Path | None, _IMAGE] = None,
    report: Annotated[Path | None, typer.Option(help="Report, a UTF-8 text file, English or Chinese.")] = None,
    report_text: Annotated[str | None, typer.Option(help="The report itself, instead of a file.")] = None,
    age: Annotated[str | None, typer.Option(help="Years.")] = None,
    sex: Annotated[str | None, typer.Option(help="F or M.")] = None,
    spacing: Annotated[str | None, typer.Option(help="Millimetres per pixel, where the files do not say.")] = None,
    transverse_spacing: Annotated[str | None, typer.Option(help="The same for one view, before --spacing.")] = None,
    longitudinal_spacing: Annotated[str | None, typer.Option(help="The same for one view, before --spacing.")] = None,
    transverse_nodule_mask: Annotated[Path | None, _MASK] = None,
    transverse_gland_mask: Annotated[Path | None, _MASK] = None,
    longitudinal_nodule_mask: Annotated[Path | None, _MASK] = None,
    longitudinal_gland_mask: Annotated[Path | None, _MASK] = None,
    doppler_nodule_mask: Annotated[Path | None, _MASK] = None,
    transverse_point: Annotated[str | None, _POINT] = None,
    longitudinal_point: Annotated[str | None, _POINT] = None,
    atlas: Annotated[Path | None, typer.Option(help="Atlas folder (llnm atlas build): the risk by location.")] = None,
    side: Annotated[str | None, typer.Option(help="left or right: the lobe; needed with --atlas.")] = None,
    calibration: Annotated[Path | None, typer.Option(help="Your site's calibration (llnm calibrate).")] = None,
    explain: Annotated[str, typer.Option(help="none, fast or full: how the eight inputs contribute.")] = "none",
    preset: Annotated[str | None, typer.Option(help="Refuse weights that are of another preset.")] = None,
    weights: Annotated[Path | None, typer.Option(help="Folder with the three bundles, not the shipped ones.")] = None,
    report_encoder: Annotated[Path | None, typer.Option(help="Folder with another BERT, 768 wide.")] = None,
    patient: Annotated[str, typer.Option(help="Pseudonym shown in the result; never a name.")] = "anonymous",
    threshold: Annotated[float, typer.Option(help="Probability from which the decision is positive.")] = 0.5,
    abstain: Annotated[
        bool, typer.Option(help="Decide only where one answer is left at the coverage of the calibration.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the margin samples.")] = 0,
    progress: Annotated[str | None, typer.Option(help="json: tell each step as a line of JSON.")] = None,
) -> None:
    """Predict the risk of lateral lymph node metastasis of one patient."""
    from llnm.case import Case, check_age, check_sex

    talk(progress)
    # What can be checked without reading an image or loading a network is checked first.
    prepare_folder(out)
    text = read_report(report, report_text)
    years, known_sex = None if age is None else check_age(age), None if sex is None else check_sex(sex)
    points = {
        "transverse": read_point(transverse_point, "--transverse-point"),
        "longitudinal": read_point(longitudinal_point, "--longitudinal-point"),
    }
    known_atlas = None if atlas is None else _atlas(atlas, side)
    if not 0 < threshold < 1:
        raise InputError(f"threshold: {threshold} is no probability between 0 and 1; give for example 0.5")
    millimetres = _spacings({"transverse": transverse_spacing, "longitudinal": longitudinal_spacing}, spacing)
    masks: dict[Plane, dict[Structure, Path | None]] = {
        "transverse": {"nodule": transverse_nodule_mask, "gland": transverse_gland_mask},
        "longitudinal": {"nodule": longitudinal_nodule_mask, "gland": longitudinal_gland_mask},
    }
    if dual is not None:
        if transverse or longitudinal or any(path for given in masks.values() for path in given.values()):
            raise InputError("--dual: holds both views, so no other view or mask goes with it; split the file first")
        views = _dual_views(dual, dual_left, millimetres)
    else:
        views = _views({"transverse": transverse, "longitudinal": longitudinal}, masks, millimetres)
    flow = None
    if doppler is not None:
        flow = read_view("transverse", doppler, {"nodule": doppler_nodule_mask}, millimetres["transverse"])
    options: dict[str, Any] = {
        "points": {plane: point for plane, point in points.items() if point is not None},
        "weights": weights,
        "report_encoder": report_encoder,
        "threshold": threshold,
        "abstain": abstain,
        "preset": preset,
        "seed": seed,
    }
    _run(Case(views, text, years, known_sex, patient, flow), out, calibration, explain, options, known_atlas, side)


def _spacings(given: Mapping[Plane, str | None], for_both: str | None) -> dict[Plane, float | None]:
    from llnm.case import check_spacing

    texts = {plane: text or for_both for plane, text in given.items()}
    return {plane: None if text is None else check_spacing(text, f"{plane} spacing") for plane, text in texts.items()}


def _views(
    images: Mapping[Plane, Path | None],
    masks: Mapping[Plane, dict[Structure, Path | None]],
    millimetres: Mapping[Plane, float | None],
) -> dict[Plane, View]:
    for plane, given in masks.items():
        if images[plane] is None and any(given.values()):
            raise InputError(f"--{plane}: a mask is given but no image; give the image that it belongs to")
    return {plane: read_view(plane, path, masks[plane], millimetres[plane]) for plane, path in images.items() if path}


def _dual_views(path: Path, left_plane: str, millimetres: Mapping[Plane, float | None]) -> dict[Plane, View]:
    """The two views of a frame that shows them side by side."""
    from llnm.case import PLANES, View
    from llnm.imaging import load_image, split_dual_view

    if left_plane not in PLANES:
        raise InputError(f"dual-left: {left_plane!r} is not known; choose one of {', '.join(PLANES)}")
    right_plane = next(plane for plane in PLANES if plane != left_plane)
    halves = split_dual_view(load_image(path))
    views: dict[Plane, View] = {}
    for plane, half in zip((left_plane, right_plane), halves, strict=True):
        known = millimetres[plane]  # type: ignore[index]
        views[plane] = View(plane, half if known is None else half.with_spacing(known))  # type: ignore[arg-type,index]
    return views


def _atlas(folder: Path, side: str | None) -> Any:
    """The atlas of a folder, with the side checked, since a side is never guessed."""
    from llnm.atlas import Atlas
    from llnm.atlas.place import check_side

    check_side(side)
    return Atlas.load(folder)


def _run(
    case: Any,
    out: Path,
    calibration: Path | None,
    explain: str,
    options: Mapping[str, Any],
    atlas: Any,
    side: str | None,
) -> None:
    from dataclasses import replace

    from llnm.explain import METHODS, check_method, contributions, heat_maps
    from llnm.pipeline import Calibration
    from llnm.pipeline import predict as predict_case
    from llnm.pipeline.result import as_result
    from llnm.report import write_result_folder
    from llnm.report.views import report_views

    check_method(explain)
    site = None if calibration is None else Calibration.from_file(calibration)
    unused = {"atlas"} if atlas is None else set()
    unused |= {"contributions", "heat"} if explain == "none" else set()
    unused |= {"transverse", "longitudinal"} - set(case.views)
    begin = steps({name: sentence for name, sentence in _STEPS.items() if name not in unused})
    with console.status("Measuring and predicting ..."):
        prediction = predict_case(case, calibration=site, progress=begin, **options)
        located: dict[str, Any] = {}
        if atlas is not None:
            from llnm.atlas.locate import location_fields

            begin("atlas")
            located, doubts = location_fields(prediction.views, side, atlas)
            prediction = replace(prediction, warnings=(*prediction.warnings, *doubts))
        begin("contributions")
        result = as_result(prediction, contributions(prediction, explain), METHODS[explain], located)
        begin("heat")
        views = report_views(prediction, None if explain == "none" else heat_maps(prediction))
        begin("writing")
        write_result_folder(out, result, views)
    if not is_talking():
        _summarise(result, out)
    tell_result(out / "result.json")


def _summarise(result: Mapping[str, Any], out: Path) -> None:
    risk = result["risk"]
    if risk["probability"] is None:
        console.print("[bold]No risk is given:[/] no view could be used.")
    else:
        low, high = risk["interval"]
        console.print(
            f"Risk of lateral lymph node metastasis [bold]{risk['probability']:.0%}[/] "
            f"({low:.0%} to {high:.0%}): {risk['decision']} at threshold {risk['threshold']:g}"
        )
        if risk["answers"] is not None:
            left = " or ".join(risk["answers"]) or "neither fits"
            console.print(f"Not ruled out at {risk['coverage']:.0%} coverage: {left}")
    where = result["location"]
    if where["atlas_probability"] is not None:
        low, high = where["atlas_interval"]
        console.print(f"Atlas, {where['region']}: {where['atlas_probability']:.0%} ({low:.0%} to {high:.0%})")
    for label in ("missing", "warnings"):
        if result[label]:
            console.print(f"{label.capitalize()}: {'; '.join(result[label])}", markup=False)
    if any(weights["trained_on_simulated_patients"] for weights in result["provenance"]["weights"]):
        console.print("[yellow]Weights trained on simulated patients: a demonstration, not an estimate.[/]")
    console.print(f"{result['provenance']['notice']} Report: {out / 'report.html'}", markup=False)
