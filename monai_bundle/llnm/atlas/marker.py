"""A patient's place in an atlas, as it is marked on a page and in a scene.

Comes in: a position in millimetres, or a result of `llnm predict`. Goes out: a `Marker` with the atlas's figures there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from llnm.atlas.locate import at_position
from llnm.atlas.model import Atlas, Template
from llnm.errors import InputError


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
    """The marker of a position (3,) in RAS mm, with the figures there; raises InputError as `at_position`."""
    found = at_position(position, atlas)
    low, high = found.interval or (None, None)
    return Marker(name, np.asarray(found.place_mm), found.region, found.risk, low, high, remark)


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
