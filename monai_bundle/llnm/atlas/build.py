"""Builds an atlas of a cohort: goes on after an interruption, and who cannot be placed is listed, never averaged in.

Comes in: a cohort table with masks, sides and labels. Goes out: an atlas folder with, beside the atlas itself,
`template.vtp`, `risk.nrrd`, `regions.csv` (ranked), `capsule_distance.csv`, `registration.csv` (quality of each
patient), `errors.csv`, and `patients/`, one file a placed patient, from which an interrupted build goes on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from llnm import NOTICE, __version__
from llnm.atlas.capsule import CapsuleCurve, capsule_curve
from llnm.atlas.mesh import MESH, write_mesh
from llnm.atlas.model import REGIONS_TABLE, Atlas, Template, write_volume
from llnm.atlas.place import Place, PlaneMasks, check_side, place_patient
from llnm.atlas.risk import RegionRisk, region_risks, risk_atlas
from llnm.atlas.template import read_template, thyroid_template
from llnm.cohort.resumable import ERRORS, PATIENTS, Failure, attempt, run_each, write_failures
from llnm.cohort.table import fingerprint, read_patient, read_table, rows
from llnm.errors import InputError
from llnm.files import whole_file, write_text
from llnm.pipeline import MeasuredView, measure_view
from llnm.weights import file_sha256, weights_file

CAPSULE_TABLE, REGISTRATION_TABLE = "capsule_distance.csv", "registration.csv"
Cells = Mapping[str, str]


@dataclass(frozen=True)
class AtlasBuild:
    """An atlas with what was found beside it; `taken_over` patients were placed in an earlier run, `failed` in none."""

    atlas: Atlas
    regions: list[RegionRisk]
    capsule: CapsuleCurve | None
    placed: int
    taken_over: int
    failed: int


def build_atlas(
    path: Path,
    out: Path,
    *,
    method: str = "beta",
    template: Path | None = None,
    workers: int = 1,
    dask: str | None = None,
    resume: bool = False,
    progress: Callable[[int, int], None] = lambda done, whole: None,
) -> AtlasBuild:
    """Build the atlas of the cohort table at `path` in the folder `out`; `progress` hears of each (done, of how many).

    `template`: a segmentation to take instead of the built thyroid. `workers`: processes on this machine; `dask`: a
    scheduler's address instead. `resume`: patients whose files are the same are taken over. Masks that the table does
    not give are drawn by the networks. Raises InputError for a table that is none, a cohort of which nobody can be
    placed, or one class with a method that needs both; MissingExtraError where a part is not installed.
    """
    table = read_table(path)
    patients, folder = rows(table), path.resolve().parent
    shape = template_at(template)
    key = json.dumps([__version__, template and file_sha256(template), *_weights()], default=str)
    files = [out / PATIENTS / f"{fingerprint(cells, folder, key)}.npz" for cells in patients]
    jobs = [(cells, folder, template) for cells in patients]
    done = run_each(place_row, jobs, files, _write_place, workers=workers, dask=dask, resume=resume, progress=progress)
    failures = done.failures
    write_failures(out, table, failures)
    kept = [index for index in range(len(patients)) if index not in failures]
    if not kept:
        raise InputError(f"{path}: none of {len(patients)} patients could be placed; {out / ERRORS} says why")
    found = [_read_place(files[index]) for index in kept]
    names = [patients[index]["patient_id"] for index in kept]
    labels = [patients[index]["llnm"] == "1" for index in kept]
    build = _assemble(shape, found, labels, method, {"cohort": path.name, "failed": len(failures)})
    _write(out, build.atlas, build.regions, build.capsule, names, found, labels)
    return AtlasBuild(build.atlas, build.regions, build.capsule, len(kept), done.taken_over, len(failures))


@dataclass(frozen=True)
class PlacedPatient:
    """A place and the smallest distance to the capsule in mm, None where the spacing is unknown."""

    place: Place
    capsule_distance_mm: float | None


def place_row(cells: Cells, folder: Path, template: Path | None) -> PlacedPatient | Failure:
    """The place of one row's nodule, or why there is none; raises only where ANTs is not installed."""
    return attempt(lambda: _place_row(cells, folder, template))


def _place_row(cells: Cells, folder: Path, template: Path | None) -> PlacedPatient:
    check_side(cells.get("side"))
    if cells.get("llnm") not in ("0", "1"):
        raise InputError("llnm: it is empty or not 0 or 1, so this patient says nothing about risk; give the label")
    case = read_patient(cells, folder).case
    measured = {plane: measure_view(view, judged=False) for plane, view in case.views.items()}
    views = {plane: view for plane, view in measured.items() if isinstance(view, MeasuredView)}
    unusable = [view for view in measured.values() if isinstance(view, str)]
    if unusable:
        raise InputError("; ".join(unusable))
    place = place_patient(PlaneMasks.of(views), cells["side"], template_at(template))
    distances = [view.features.capsule_distance_mm for view in views.values()]
    return PlacedPatient(place, min((distance for distance in distances if distance is not None), default=None))


@lru_cache(maxsize=2)
def template_at(path: Path | None) -> Template:
    """The built thyroid, or the one of a user's segmentation."""
    return thyroid_template() if path is None else read_template(path)


def _weights() -> list[str]:
    return [file_sha256(weights_file(network, None)) for network in ("nodule", "gland")]


def _assemble(
    template: Template, found: Sequence[PlacedPatient], labels: Sequence[bool], method: str, about: Mapping[str, Any]
) -> AtlasBuild:
    places = [patient.place for patient in found]
    regions = region_risks(template, places, labels)
    known = [index for index, patient in enumerate(found) if patient.capsule_distance_mm is not None]
    capsule = None
    if known:
        distances = [found[index].capsule_distance_mm or 0.0 for index in known]
        capsule = capsule_curve(distances, [labels[index] for index in known])
    dice = [place.quality[f"{plane}_dice"] for place in places for plane in ("transverse", "longitudinal")]
    facts = {
        **about,
        "registration_mean_dice": round(float(np.mean(dice)), 4),
        "registration_least_dice": round(float(np.min(dice)), 4),
        "hot_regions": [region.name for region in regions if region.hot],
        "capsule_limit_mm": capsule and capsule.limit_mm,
        "capsule_limit_level": capsule and capsule.level,
        "software": __version__,
    }
    atlas = risk_atlas(template, places, labels, method, about=facts)
    return AtlasBuild(atlas, regions, capsule, len(found), 0, 0)


def _write(
    out: Path,
    atlas: Atlas,
    regions: Sequence[RegionRisk],
    capsule: CapsuleCurve | None,
    names: Sequence[str],
    found: Sequence[PlacedPatient],
    labels: Sequence[bool],
) -> None:
    def table(name: str, lines: Sequence[Mapping[str, Any]]) -> None:
        write_text(out / name, pd.DataFrame([{**line, "note": NOTICE} for line in lines]).to_csv(index=False))

    table(REGIONS_TABLE, [asdict(region) for region in regions])
    if capsule is not None:
        table(CAPSULE_TABLE, [asdict(part) for part in capsule.bins])
    patients = []
    for name, patient, label in zip(names, found, labels, strict=True):
        x, y, z = patient.place.centre_mm
        where = {"x_mm": round(x, 2), "y_mm": round(y, 2), "z_mm": round(z, 2)}
        quality = {figure: round(value, 5) for figure, value in patient.place.quality.items()}
        distance = {"capsule_distance_mm": patient.capsule_distance_mm}
        patients.append({"patient_id": name, "llnm": int(label), **where, **distance, **quality})
    table(REGISTRATION_TABLE, patients)
    write_mesh(out / MESH, atlas)
    write_volume(out / "risk.nrrd", atlas.risk, atlas.template.affine)
    atlas.save(out)


def _write_place(path: Path, patient: PlacedPatient) -> None:
    place = patient.place
    about = {
        "centre_mm": place.centre_mm,
        "blur_mm": place.blur_mm,
        "quality": dict(place.quality),
        "capsule_distance_mm": patient.capsule_distance_mm,
    }
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, voxels=place.voxels, weights=place.weights, about=np.array(json.dumps(about)))


def _read_place(path: Path) -> PlacedPatient:
    with np.load(path, allow_pickle=False) as stored:
        about = json.loads(str(stored["about"]))
        place = Place(
            stored["voxels"],
            stored["weights"],
            tuple(about["centre_mm"]),
            tuple(about["blur_mm"]),
            about["quality"],
        )
    return PlacedPatient(place, about["capsule_distance_mm"])
