"""One patient in an atlas: where the nodule lies, and what nodules there meant for others.

Comes in: the measured views of a patient and the side, or a position in millimetres. Goes out: a `LocationRisk`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from llnm import NOTICE
from llnm.atlas.model import ABOUT, Atlas
from llnm.atlas.place import Place, PlaneMasks, check_side, place_patient
from llnm.case import Plane
from llnm.errors import InputError
from llnm.pipeline import MeasuredView, Prediction
from llnm.weights import file_sha256

# A nodule's centre may lie a little outside the template's capsule.
NEAR_MM = 3.0


@dataclass(frozen=True)
class LocationRisk:
    """The risk at a place.

    `risk`: mean over the place, 0-1, None where the atlas is blank there; a probability only if `is_probability`.
    `interval`: 95 %, None where the atlas has none. `percentile`: share (0-100) of the gland with a lower risk.
    `region`: in words; `region_share`: how much of the nodule lies in it. `evidence`: share of the place for which the
    atlas has evidence, `patients`: effective number behind it. `place_mm`: RAS; `blur_mm`: its standard deviation.
    """

    risk: float | None
    interval: tuple[float, float] | None
    is_probability: bool
    percentile: float | None
    region: str
    region_share: float
    evidence: float
    patients: float
    place_mm: tuple[float, float, float]
    blur_mm: tuple[float, float, float] | None
    quality: Mapping[str, float]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "risk": self.risk,
            "interval": None if self.interval is None else list(self.interval),
            "is_probability": self.is_probability,
            "percentile": self.percentile,
            "region": self.region,
            "region_share": self.region_share,
            "evidence": self.evidence,
            "patients": self.patients,
            "place_ras_mm": list(self.place_mm),
            "blur_mm": None if self.blur_mm is None else list(self.blur_mm),
            "quality": dict(self.quality),
            "notice": NOTICE,
        }

    @property
    def in_result(self) -> dict[str, Any]:
        """The atlas fields of `location` in `result.json`; a risk that is no probability is not given for one."""
        known = self.risk is not None and self.is_probability
        return {
            "region": self.region,
            "place_ras_mm": list(self.place_mm),
            "atlas_probability": self.risk if known else None,
            "atlas_interval": list(self.interval) if known and self.interval else None,
        }


def locate_patient(views: Mapping[Plane, PlaneMasks], side: str | None, atlas: Atlas) -> LocationRisk:
    """A patient's risk by location; raises as `place_patient` where the nodule cannot be placed."""
    return at_place(place_patient(views, side, atlas.template), atlas)


def location_fields(
    views: Mapping[Plane, MeasuredView], side: str | None, atlas: Atlas
) -> tuple[dict[str, Any], list[str]]:
    """The atlas fields of `location` in `result.json`, and warnings where something is not available.

    What hinders the place (a plane or a gland missing, a gland that does not fit) is a warning, since the rest of the
    result stands. Raises InputError for a side that is none, MissingExtraError without ANTs.
    """
    check_side(side)
    try:
        found = locate_patient(PlaneMasks.of(views), side, atlas)
    except InputError as error:
        return {}, [f"atlas: the nodule could not be placed ({error})"]
    warnings = []
    if found.risk is None:
        warnings.append(f"atlas: it has no evidence at this place ({found.region}), so it gives no risk")
    elif not found.is_probability:
        warnings.append(
            f"atlas: it holds a relative risk ({atlas.method}; here {found.risk:.2f} of 1) and no probability; "
            "build one with: llnm atlas build --method beta"
        )
    return found.in_result, warnings


@dataclass(frozen=True)
class LocateRow:
    """The atlas in `folder` for `llnm cohort run`; `content` tells one atlas from another of the same name."""

    folder: Path
    content: str

    @classmethod
    def of(cls, folder: Path) -> LocateRow:
        """Raises InputError for a folder that holds no atlas."""
        _loaded(folder)
        files = (ABOUT, *(f"{name}.nii.gz" for name in ("labels", "risk", "low", "high", "count")))
        return cls(folder, " ".join(file_sha256(folder / name) for name in files))

    def __call__(self, prediction: Prediction, cells: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
        """The fields of a row that says the side; a warning where it does not, since the rest of the result stands."""
        if not cells.get("side"):
            return {}, ["atlas: side is empty, so the nodule has no place in it; fill the column with left or right"]
        return location_fields(prediction.views, cells["side"], _loaded(self.folder))


@lru_cache(maxsize=1)
def _loaded(folder: Path) -> Atlas:
    return Atlas.load(folder)


def at_place(place: Place, atlas: Atlas) -> LocationRisk:
    """The risk over a nodule's place, each voxel by its density."""
    voxels, weights = tuple(place.voxels.T), place.weights.astype(float)
    return _risk(atlas, voxels, weights, place.centre_mm, place.blur_mm, place.quality)


def at_position(position_mm: npt.ArrayLike, atlas: Atlas) -> LocationRisk:
    """The risk at one position, (3,) in RAS mm: that of the nearest voxel of the gland.

    Raises InputError for a position that is not finite, or over 3 mm (one voxel, if that is more) outside the gland.
    """
    try:
        place = np.asarray(position_mm, float)
    except (TypeError, ValueError):
        place = np.empty(0)
    if place.shape != (3,) or not np.isfinite(place).all():
        raise InputError(f"place: {position_mm!r} is no position; give X,Y,Z in mm, x right, y front, z head")
    inside = np.argwhere(atlas.template.labels > 0)
    if not len(inside):
        raise InputError("atlas: labels.nii.gz names no voxel of a gland; build the atlas again")
    away = np.linalg.norm(atlas.template.position(inside) - place, axis=1)
    if away.min() > max(NEAR_MM, *atlas.template.spacing_mm):
        raise InputError(
            f"place: {', '.join(f'{mm:g}' for mm in place)} is {away.min():.0f} mm outside the gland; "
            "give X,Y,Z in mm from the middle of the isthmus, x right, y front, z head"
        )
    x, y, z = (float(mm) for mm in place)
    return _risk(atlas, tuple(inside[[away.argmin()]].T), np.ones(1), (x, y, z), None, {})


def _risk(
    atlas: Atlas,
    voxels: tuple[npt.NDArray[Any], ...],
    weights: npt.NDArray[np.float64],
    place_mm: tuple[float, float, float],
    blur_mm: tuple[float, float, float] | None,
    quality: Mapping[str, float],
) -> LocationRisk:
    values = atlas.risk[voxels].astype(float)
    known = np.isfinite(values)
    evidence = float(weights[known].sum() / weights.sum())
    held = np.bincount(atlas.template.labels[voxels], weights, minlength=256)
    label = int(held[1:].argmax()) + 1
    risk, interval, percentile = None, None, None
    # A mean over less than half of the nodule would stand for the other half too.
    if evidence >= 0.5:
        share = weights[known] / weights[known].sum()
        risk = float(share @ values[known])
        ends = [float(share @ volume[voxels][known]) for volume in (atlas.low, atlas.high)]
        interval = (ends[0], ends[1]) if np.isfinite(ends).all() else None
        gland = atlas.risk[np.isfinite(atlas.risk)]
        percentile = float(100 * ((gland < risk).mean() + (gland == np.float32(risk)).mean() / 2))
    return LocationRisk(
        risk=risk,
        interval=interval,
        is_probability=atlas.is_probability,
        percentile=percentile,
        region=atlas.template.regions[label],
        region_share=float(held[label] / weights.sum()),
        evidence=evidence,
        patients=float(weights @ atlas.count[voxels] / weights.sum()),
        place_mm=place_mm,
        blur_mm=blur_mm,
        quality=quality,
    )
