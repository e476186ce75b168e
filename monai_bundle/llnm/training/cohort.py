"""Reads a cohort table and turns each patient into the tensors TMDL is trained on.

Comes in: `cohort.csv` (one row a patient, paths relative to the file). Goes out: checked rows, cases, and a cache of
feature images, one file a patient, so that images are prepared once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy import ndimage

from llnm.case import PLANES, STRUCTURES, Case, Mask, Plane, Sex, Structure, View, check_age, check_sex, check_spacing
from llnm.errors import InputError
from llnm.features import measure, network_images
from llnm.files import whole_file
from llnm.imaging import load_image, load_mask
from llnm.pipeline.views import MeasuredView, measure_view
from llnm.tmdl import TMDLConfig

REQUIRED = ("patient_id", "transverse", "longitudinal", "report", "age", "sex")
# A network's outline differs from the true one: each patient is cached with the given masks and with disturbed ones.
VARIANTS = 3
LARGEST_DISTURBANCE = 0.12


@dataclass(frozen=True)
class CohortPatient:
    """One row: the case with its masks, and the label (None if unknown)."""

    case: Case
    llnm: int | None


@dataclass(frozen=True)
class Clinical:
    """What one row says beside its images; None where the cell is empty."""

    report: str | None
    age: float | None
    sex: Sex | None
    llnm: int | None


def read_table(path: Path) -> pd.DataFrame:
    """The table with its columns checked; raises InputError if it is no cohort table."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as CSV ({error}); give a cohort table") from error
    missing = [column for column in REQUIRED if column not in table.columns]
    if missing:
        raise InputError(f"{path}: columns missing: {', '.join(missing)}; see the cohort table in the README")
    if table["patient_id"].duplicated().any() or (table["patient_id"] == "").any():
        raise InputError(f"{path}: patient_id must be given and different in every row; correct the table")
    return table


def read_patient(row: Mapping[str, str], folder: Path) -> CohortPatient:
    """The case of one row; raises InputError that names the patient and the column."""
    clinical = read_clinical(row, folder)
    try:
        views = {plane: _view(row, plane, folder) for plane in PLANES if row.get(plane)}
        case = Case(views, clinical.report, clinical.age, clinical.sex, patient=row["patient_id"])
    except InputError as error:
        raise InputError(f"patient {row['patient_id']}: {error}") from error
    return CohortPatient(case, clinical.llnm)


def read_clinical(row: Mapping[str, str], folder: Path) -> Clinical:
    """Report, age, sex and label of one row; raises InputError that names the patient and the column."""
    try:
        label = row.get("llnm", "")
        if label not in ("", "0", "1"):
            raise InputError(f"llnm: {label!r} is not 0 or 1; correct it or leave it empty")
        return Clinical(
            report=_report(row["report"], folder),
            age=check_age(row["age"]) if row["age"] else None,
            sex=check_sex(row["sex"]) if row["sex"] else None,
            llnm=int(label) if label else None,
        )
    except InputError as error:
        raise InputError(f"patient {row['patient_id']}: {error}") from error


def _view(row: Mapping[str, str], plane: Plane, folder: Path) -> View:
    spacing = row.get(f"{plane}_spacing_mm") or None
    frame = load_image(
        folder / row[plane], spacing_mm=None if spacing is None else check_spacing(spacing, f"{plane}_spacing_mm")
    )
    masks: dict[Structure, Mask] = {}
    for structure in STRUCTURES:
        name = row.get(f"{plane}_{structure}_mask")
        if name:
            masks[structure] = load_mask(folder / name, frame.shape)
    return View(plane, frame, masks)


def _report(cell: str, folder: Path) -> str | None:
    if cell.endswith(".txt"):
        try:
            return (folder / cell).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"report: {cell} cannot be read as UTF-8 text; correct the path or the file") from error
    return cell or None


def cached_tensors(
    row: Mapping[str, str], folder: Path, config: TMDLConfig, cache: Path, seed: int
) -> dict[str, torch.Tensor]:
    """Feature images (variant, plane, 1, 224, 224) as uint8 and values (variant, plane), from `cache` or made anew."""
    path = cache / f"{row['patient_id']}.npz"
    if not path.is_file():
        # A file and not its name, to which NumPy would add a suffix.
        with whole_file(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **_tensors(read_patient(row, folder), config, seed))  # type: ignore[arg-type]
    with np.load(path) as stored:
        return {name: torch.from_numpy(stored[name]) for name in stored.files}


def _tensors(patient: CohortPatient, config: TMDLConfig, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    measured = {plane: measure_view(view) for plane, view in patient.case.views.items()}
    usable = {plane: view for plane, view in measured.items() if isinstance(view, MeasuredView)}
    if not usable:
        raise InputError(f"patient {patient.case.patient}: no view shows a nodule; give a nodule mask")
    side = (VARIANTS, len(PLANES), 1, 224, 224)
    out: dict[str, np.ndarray] = {name: np.zeros(side, np.uint8) for name in ("location", "texture", "margin")}
    out |= {name: np.zeros(side[:2], np.float32) for name in ("echogenicity", "shape")}
    out |= {name: np.ones(side[:2], bool) for name in ("location_absent", "echogenicity_absent")}
    for variant in range(VARIANTS):
        for index, plane in enumerate(PLANES):
            if plane in usable:
                _fill(out, (variant, index), usable[plane], config, rng)
    return out | {"view_mask": np.array([plane in usable for plane in PLANES])}


def _fill(
    out: dict[str, np.ndarray], at: tuple[int, int], view: MeasuredView, config: TMDLConfig, rng: np.random.Generator
) -> None:
    """Features of one view, with its own outlines (variant 0) or disturbed ones."""
    nodule, gland = view.nodule, view.gland
    if at[0] > 0:
        nodule = disturbed(nodule, rng)
        gland = None if gland is None else disturbed(gland, rng) | nodule
    features = measure(view.prepared.bmode, nodule, gland, view.spacing_mm, view.plane)
    images = network_images(view.prepared.bmode, nodule, gland, view.spacing_mm, int(rng.integers(2**31)), config.size)
    for name in ("location", "texture", "margin"):
        out[name][at][0] = np.round(255 * getattr(images, name))
    out["shape"][at] = features.aspect_ratio
    out["echogenicity"][at] = features.echogenicity_difference or 0.0
    out["echogenicity_absent"][at] = features.echogenicity_difference is None
    out["location_absent"][at] = gland is None


def disturbed(mask: Mask, rng: np.random.Generator) -> Mask:
    """The mask grown or shrunk by up to LARGEST_DISTURBANCE of its equivalent diameter; never empty."""
    diameter = 2 * np.sqrt(mask.sum() / np.pi)
    by = rng.uniform(-LARGEST_DISTURBANCE, LARGEST_DISTURBANCE) * diameter / 2
    depth = ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask)
    changed = depth > -by
    return changed if changed.any() else mask
