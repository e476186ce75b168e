"""Cohorts whose risk in the template is known: to see whether an atlas finds what was put there.

Comes in: hot regions with their sizes, number of patients, seed. Goes out: places in the template with labels, and the
true risk of every voxel. No image is made, so that thousands of patients take seconds; `simulate.planted` makes cohorts
with masks of the same risk. It says nothing about real patients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from llnm.atlas.model import Template
from llnm.atlas.place import BLUR_MM, Place, place_of
from llnm.errors import InputError

Floats = npt.NDArray[np.float64]
HOT = {"left lobe, upper third, lateral": 2.5, "right lobe, upper third, medial": 2.0}
"""Two hot regions, so that neither side nor height alone explains them."""


@dataclass(frozen=True)
class PlantedRisk:
    """A smooth risk: `background` probability, and on the logit a hill of each height in `hot` around that region.

    `width_mm`: standard deviation of the hills.
    """

    hot: Mapping[str, float] = field(default_factory=lambda: HOT)
    background: float = 0.35
    width_mm: float = 9.0

    def at(self, template: Template, position_mm: npt.ArrayLike) -> Floats:
        """True probability (...) at RAS positions (..., 3); raises InputError for a region that is not there."""
        places = np.asarray(position_mm, float)
        found = np.full(places.shape[:-1], logit(self.background))
        for name, height in self.hot.items():
            numbers = [n for n, region in template.regions.items() if region == name]
            if not numbers:
                raise InputError(f"hot: the template has no region {name!r}; choose from its regions")
            centre = template.position(np.argwhere(template.labels == numbers[0]).mean(axis=0))
            found = found + height * np.exp(-((places - centre) ** 2).sum(axis=-1) / (2 * self.width_mm**2))
        return np.asarray(expit(found))

    def volume(self, template: Template) -> Floats:
        """True probability of every voxel (i, j, k), NaN outside the gland."""
        values = np.full(template.labels.shape, np.nan)
        inside = template.labels > 0
        values[inside] = self.at(template, template.position(np.argwhere(inside)))
        return values


def planted_places(
    template: Template, patients: int, seed: int, risk: PlantedRisk | None = None, error_mm: float = BLUR_MM
) -> tuple[list[Place], npt.NDArray[np.bool_]]:
    """Places and labels of patients whose nodules lie anywhere in the lobes.

    A nodule is an ellipsoid of 5-16 mm; its label is drawn at the true risk of its centre. Its place is seen with an
    error (standard deviation of each axis, mm) and blurred by as much, as registration does. Same seed, same patients.
    """
    risk = risk or PlantedRisk()
    rng = np.random.default_rng(seed)
    inside = np.argwhere(np.isin(template.labels, [n for n, name in template.regions.items() if " lobe, " in name]))
    centres = template.position(
        inside[rng.integers(len(inside), size=patients)] + rng.uniform(-0.5, 0.5, (patients, 3))
    )
    labels = rng.random(patients) < risk.at(template, centres)
    places = []
    for centre in centres:
        semi = rng.uniform(2.5, 8.0) * rng.uniform(0.7, 1.0, 3)
        seen = centre + rng.normal(0, error_mm, 3)
        places.append(_ellipsoid(template, seen, semi, error_mm))
    return places, labels


def _ellipsoid(template: Template, centre: Floats, semi: Floats, blur_mm: float) -> Place:
    """The place of a blurred ellipsoid."""
    reach = np.ceil((semi + 3 * blur_mm) / np.asarray(template.spacing_mm)).astype(int)
    middle = np.round(template.index(centre)).astype(int)
    low, high = np.maximum(middle - reach, 0), np.minimum(middle + reach + 1, template.labels.shape)
    voxels = np.moveaxis(np.indices(high - low), 0, -1) + low
    away = np.linalg.norm((template.position(voxels) - centre) / semi, axis=-1)
    # The edge falls off over the blur, which is cheaper than a convolution and as wide.
    density = expit((1 - away) * semi.mean() / max(0.6 * blur_mm, 1e-3))
    i, j, k = low.tolist()
    return place_of(template, density, first=(i, j, k))
