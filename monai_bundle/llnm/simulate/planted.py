"""Cohorts on disk whose risk is planted in the template of the atlas: masks of both planes, side and label.

Comes in: number of patients, seed, a `PlantedRisk`. Goes out: `cohort.csv` with masks as `llnm atlas build` reads them.
The label of a patient depends on nothing but where in its lobe the nodule lies. The images are plain grey tissue, since
an atlas needs masks only; that makes a patient a hundred times as cheap as one of `simulate.cohort`.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from llnm.atlas.model import Template
from llnm.atlas.planted import PlantedRisk
from llnm.atlas.template import lobe_mask, thyroid_template
from llnm.case import PLANES, Mask, Plane
from llnm.simulate.anatomy import Anatomy, Grid, sample_anatomy
from llnm.simulate.cohort import COLUMNS, new_folder
from llnm.simulate.findings import sample_findings
from llnm.simulate.views import Window, sample_window

SPACING_MM = 0.2


def write_planted_cohort(patients: int, seed: int, out: Path, risk: PlantedRisk | None = None) -> Path:
    """Write such a cohort into the folder `out` (new or empty) and return its `cohort.csv`; same seed, same bytes.

    `true_probability` of the table is the planted risk of the nodule's place. Raises InputError where `out` is neither
    new nor empty, or cannot be written.
    """
    risk, template = risk or PlantedRisk(), thyroid_template()
    with new_folder(Path(out)) as unfinished:
        (unfinished / "masks").mkdir()
        with (unfinished / "cohort.csv").open("w", newline="", encoding="utf-8") as stream:
            table = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
            table.writeheader()
            for number in range(patients):
                table.writerow(_patient(f"P{number + 1:05d}", [seed, number], unfinished, risk, template))
    return Path(out) / "cohort.csv"


def template_position(anatomy: Anatomy, template: Template) -> npt.NDArray[np.float64]:
    """RAS mm (3,) in the template of the nodule's centre: the same share of the lobe's extent as in the patient."""
    centre, lobe, semi = (np.asarray(v) for v in (anatomy.nodule.centre, anatomy.lobe_centre, anatomy.lobe_semi))
    away = centre - lobe
    # Across, from the axis of the lobe, which leans.
    away[0] = anatomy.side * away[0] - anatomy.lean * away[2]
    outwards, backwards, upwards = away / semi
    there = lobe_mask(template, "left" if anatomy.side > 0 else "right")
    places = template.position(np.argwhere(there))
    low, high = places.min(axis=0) - 0.5, places.max(axis=0) + 0.5
    middle, half = (low + high) / 2, (high - low) / 2
    z = middle[2] + upwards * half[2]
    # The middle of the template's lobe at this height, since its lobes lean too.
    near = places[np.abs(places[:, 2] - np.clip(z, low[2] + 4, high[2] - 4)) < 3]
    x = (near[:, 0].min() + near[:, 0].max()) / 2
    half_width = (near[:, 0].max() - near[:, 0].min() + 1) / 2 / np.sqrt(max(1 - upwards**2, 0.2))
    return np.array([x - anatomy.side * outwards * half_width, middle[1] - backwards * half[1], z])


def _patient(name: str, seed: list[int], folder: Path, risk: PlantedRisk, template: Template) -> dict[str, object]:
    rng = np.random.default_rng(seed)
    findings = sample_findings(rng)
    anatomy = sample_anatomy(findings, rng)
    chance = float(risk.at(template, template_position(anatomy, template)))
    row: dict[str, object] = {
        "patient_id": name,
        "age": findings.age,
        "sex": findings.sex,
        "side": findings.side,
        "llnm": int(rng.random() < chance),
        "true_probability": f"{chance:.6f}",
    }
    for plane in PLANES:
        window = sample_window(anatomy, plane, rng)
        window = Window(window.start, window.width, window.depth, SPACING_MM)
        nodule, gland = _masks(anatomy, plane, window)
        pictures = {
            plane: np.where(nodule, 70, np.where(gland, 140, 100)),
            f"{plane}_nodule_mask": nodule * 255,
            f"{plane}_gland_mask": gland * 255,
        }
        row[f"{plane}_spacing_mm"] = SPACING_MM
        for column, pixels in pictures.items():
            row[column] = f"masks/{name}_{column.removesuffix('_mask')}.png"
            Image.fromarray(pixels.astype(np.uint8)).save(folder / str(row[column]), optimize=False)
    return row


def _masks(anatomy: Anatomy, plane: Plane, window: Window) -> tuple[Mask, Mask]:
    """Nodule and gland, (row, column)."""
    grid = Grid.of(plane, anatomy.nodule.centre, window.rows(), window.columns())
    level = anatomy.nodule_level(grid)
    nodule, gland = level < 0, anatomy.gland_level(grid, level) < 0
    return np.broadcast_to(nodule, window.shape), np.broadcast_to(gland, window.shape)
