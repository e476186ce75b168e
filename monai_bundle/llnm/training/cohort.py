"""Turns each patient of a cohort table into the tensors TMDL is trained on.

Comes in: the table's rows. Goes out: tensors, and a cache of those of the views, one file a patient, so that images are
prepared once. Reports are encoded each time, which is fast: another report encoder then needs no image again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from llnm.case import PLANES, Case, Mask
from llnm.cohort import fingerprint, read_clinical, read_patient
from llnm.cohort.table import FILES
from llnm.errors import InputError
from llnm.features import measure, network_images, whole_frame
from llnm.features.shape import bounding_box, grown
from llnm.files import whole_file
from llnm.imaging import prepare
from llnm.pipeline.risk import clinical_inputs, load_report_encoder
from llnm.pipeline.views import MeasuredView, measure_view
from llnm.tmdl import TMDLConfig

# A network's outline differs from the true one: each patient is cached with the given masks and with disturbed ones.
VARIANTS = 3
LARGEST_DISTURBANCE = 0.12
CAPSULE_DISTANCE = "capsule_distance_mm"


# Of a row, what the features of its views depend on: not who it is, nor its label.
_COLUMNS = (*FILES, *(f"{plane}_spacing_mm" for plane in PLANES))


def cached_tensors(
    row: Mapping[str, str], folder: Path, config: TMDLConfig, cache: Path, seed: int
) -> dict[str, torch.Tensor]:
    """The eight inputs of one patient and what is absent, those of the views from `cache` or made anew.

    Feature images (variant, plane, 1, 224, 224) uint8, their values (variant, plane); the distance of nodule and
    capsule in mm (plane,), NaN where it is not known; report vectors (50, 768) in half precision; age and sex. What is
    cached is known by the content of the views' files, by what of the configuration it depends on, and by the seed, not
    by a name: two cohorts that differ in their labels or reports alone share it.
    """
    views = _cached(row, folder, cache, (config.size, str(seed)), lambda case: _view_tensors(case, config, seed))
    return views | _clinical_tensors(row, folder, config)


def cached_frames(row: Mapping[str, str], folder: Path, config: TMDLConfig, cache: Path) -> torch.Tensor:
    """The B-mode image of each view as a whole, (plane, 1, 224, 224) uint8, 0 where there is none; from `cache`, too.

    What a network is given in the place of the CPDT to see what that is worth (paper, Table S8).
    """

    def frames(case: Case) -> dict[str, np.ndarray]:
        found = np.zeros((len(PLANES), 1, 224, 224), np.uint8)
        for plane, view in case.views.items():
            found[PLANES.index(plane), 0] = np.round(255 * whole_frame(prepare(view.image).bmode, config.size))
        return {"frames": found}

    return _cached(row, folder, cache, (config.size, "frames"), frames)["frames"]


def _cached(
    row: Mapping[str, str],
    folder: Path,
    cache: Path,
    known_by: tuple[str, ...],
    make: Callable[[Case], dict[str, np.ndarray]],
) -> dict[str, torch.Tensor]:
    """Arrays made from the views of a row, once; `known_by` is what of the configuration they depend on."""
    known = {column: row.get(column, "") for column in _COLUMNS}
    path = cache / f"{fingerprint(known, folder, *known_by)}.npz"
    if not path.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        arrays = make(read_patient(row, folder).case)
        # A file and not its name, to which NumPy would add a suffix.
        with whole_file(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    with np.load(path) as stored:
        return {name: torch.from_numpy(stored[name]) for name in stored.files}


def _clinical_tensors(row: Mapping[str, str], folder: Path, config: TMDLConfig) -> dict[str, torch.Tensor]:
    known = read_clinical(row, folder)
    inputs = clinical_inputs(load_report_encoder(), config, [known.report], [known.age], [known.sex])
    tensors = {name: value[0] for name, value in inputs.items()}
    return tensors | {"report": tensors["report"].half()}


def _view_tensors(case: Case, config: TMDLConfig, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    measured = {plane: measure_view(view, judged=False) for plane, view in case.views.items()}
    usable = {plane: view for plane, view in measured.items() if isinstance(view, MeasuredView)}
    if not usable:
        raise InputError(f"patient {case.patient}: no view shows a nodule; give a nodule mask")
    side = (VARIANTS, len(PLANES), 1, 224, 224)
    out: dict[str, np.ndarray] = {name: np.zeros(side, np.uint8) for name in ("location", "texture", "margin")}
    out |= {name: np.zeros(side[:2], np.float32) for name in ("echogenicity", "shape")}
    out |= {name: np.ones(side[:2], bool) for name in ("location_absent", "echogenicity_absent")}
    for variant in range(VARIANTS):
        for index, plane in enumerate(PLANES):
            if plane in usable:
                _fill(out, (variant, index), usable[plane], config, rng)
    distances = [usable[plane].features.capsule_distance_mm if plane in usable else None for plane in PLANES]
    known = np.array([np.nan if distance is None else distance for distance in distances], np.float32)
    return out | {"view_mask": np.array([plane in usable for plane in PLANES]), CAPSULE_DISTANCE: known}


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
    # Nothing changes farther away than this, and distances are slow.
    near = grown(bounding_box(mask), int(abs(by)) + 2, mask.shape).slices
    changed = np.zeros_like(mask)
    if by > 0:
        changed[near] = ndimage.distance_transform_edt(~mask[near]) < by
    else:
        changed[near] = ndimage.distance_transform_edt(mask[near]) > -by
    return changed if changed.any() else mask
