"""A patient's place in an atlas, as it is marked on a page and in a scene.

Comes in: a position in millimetres, or a result of `llnm predict`. Goes out: a `Marker` with the atlas's figures there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from llnm.atlas.model import Atlas, Template
from llnm.errors import InputError

# A nodule's centre may lie a little outside the template's capsule.
_OUTSIDE_MM = 3.0


@dataclass(frozen=True)
class Marker:
    """A marked place: `position` (3,) RAS mm; risk and interval 0-1 or None; region in words; what to know of it."""

    name: str
    position: npt.NDArray[np.float64]
    region: str
    risk: float | None
    low: float | None
    high: float | None
    remark: str = ""


def marker_at(atlas: Atlas, position: npt.ArrayLike, name: str = "Patient's nodule", remark: str = "") -> Marker:
    """The marker of a position (3,) in RAS mm, with the figures of the nearest voxel of the gland.

    Raises InputError for a position that is not finite or over 3 mm outside the gland.
    """
    try:
        place = np.asarray(position, float)
    except (TypeError, ValueError):
        place = np.empty(0)
    if place.shape != (3,) or not np.isfinite(place).all():
        raise InputError(f"place: {position!r} is no position; give X,Y,Z in mm, x right, y front, z head")
    inside = np.argwhere(atlas.template.labels > 0)
    if not len(inside):
        raise InputError("atlas: labels.nii.gz names no voxel of a gland; build the atlas again")
    away = np.linalg.norm(atlas.template.position(inside) - place, axis=1)
    voxel = tuple(inside[away.argmin()])
    if away.min() > max(_OUTSIDE_MM, *atlas.template.spacing_mm):
        raise InputError(
            f"place: {', '.join(f'{mm:g}' for mm in place)} is {away.min():.0f} mm outside the gland; "
            "give X,Y,Z in mm from the middle of the isthmus, x right, y front, z head"
        )
    risk, low, high = (_known(values[voxel]) for values in (atlas.risk, atlas.low, atlas.high))
    label = int(atlas.template.labels[voxel])
    return Marker(name, place, atlas.template.regions.get(label, f"region {label}"), risk, low, high, remark)


def marker_of_result(atlas: Atlas, result: Mapping[str, Any]) -> Marker:
    """The marker of a patient: what `llnm atlas risk` wrote, or the `result.json` of `llnm predict`.

    `place_ras_mm` (at the top, or in `location`) is the place. Without it, the middle of `location.region` stands for
    it, and the remark says so. Figures are this atlas's at that place; a remark gives those of the result, which are
    means over the nodule's blur. Raises InputError where neither is known, or the atlas has no such region.
    """
    location = result.get("location", result)
    if not isinstance(location, Mapping):
        raise InputError("patient: its location cannot be read; give a result.json of llnm predict, or --place X,Y,Z")
    remark = _own_figure(location)
    place = location.get("place_ras_mm")
    if place is not None:
        marker = marker_at(atlas, place)
        # The same figures twice would only make one wonder.
        same = _own_figure({"risk": marker.risk, "interval": [marker.low, marker.high]}) if marker.low else ""
        return marker if remark == same else replace(marker, remark=remark)
    region = location.get("region")
    if not isinstance(region, str):
        raise InputError(
            "patient: location.region is not known, so the nodule has no place in the atlas; give --place X,Y,Z"
        )
    rough = f"The result names a region, not a point: the mark is the middle of the {region}."
    return marker_at(atlas, _middle(atlas.template, region), remark=f"{rough} {remark}".strip())


def _own_figure(location: Mapping[str, Any]) -> str:
    value = location.get("atlas_probability", location.get("risk"))
    interval = location.get("atlas_interval", location.get("interval"))
    if not isinstance(value, int | float):
        return ""
    span = f" ({interval[0]:.2f} to {interval[1]:.2f})" if isinstance(interval, list) and len(interval) == 2 else ""
    return f"The result itself says {value:.2f}{span}, over the nodule's whole place."


def _middle(template: Template, region: str) -> npt.NDArray[np.float64]:
    """RAS mm of the voxel of a region that is nearest to its middle; several regions may begin with the words."""
    names = [label for label, name in template.regions.items() if name == region or name.startswith(f"{region},")]
    index = np.argwhere(np.isin(template.labels, names))
    if not len(index):
        raise InputError(f"patient: the atlas has no region {region!r}; give --place X,Y,Z")
    return template.position(index[np.linalg.norm(index - index.mean(axis=0), axis=1).argmin()])


def _known(value: np.float32) -> float | None:
    return float(value) if np.isfinite(value) else None
