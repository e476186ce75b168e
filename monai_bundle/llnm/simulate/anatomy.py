"""The neck around one thyroid lobe in three dimensions, in millimetres.

Comes in: `Findings` and a random generator. Goes out: `Anatomy`, whose structures are level functions (negative inside,
roughly the distance in mm) that can be evaluated at any point. Both ultrasound planes are cut from the same functions,
so they show the same nodule.

Axes: x runs across with 0 at the midline and the patient's left positive, y is the depth below the skin, z points up
with 0 at the middle of the lobe. Lobe dimensions (40-60 mm high, 13-18 mm deep, 15-20 mm wide) and the isthmus
(about 3 mm) are those of textbooks of thyroid ultrasound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree
from skimage.measure import find_contours

from llnm.case import PLANES, Plane
from llnm.simulate.findings import Findings, Margin

Array = npt.NDArray[np.float32]
Point = tuple[float, float, float]

_CUT_STEP_MM = 0.5
_CUT_MARGIN_MM = 9.5
_WAVE_LIMIT_MM = 1.0  # spicules and lobules of large nodules are no larger than those of small ones
_THIRD_CENTRE = {"upper": 0.55, "middle": 0.0, "lower": -0.55}


@dataclass(frozen=True)
class Grid:
    """Points of a plane: x, y, z (mm) that broadcast to (row, column); rows are depth.

    A transverse plane has the patient's left at its right, a longitudinal plane the head at its left.
    """

    x: Array
    y: Array
    z: Array

    @staticmethod
    def of(plane: Plane, through: Point, depth: Array, across: Array) -> Grid:
        """The plane through a point, at the given depths and positions across (x, or -z when longitudinal)."""
        rows, columns = depth.astype(np.float32)[:, None], across.astype(np.float32)[None, :]
        if plane == "transverse":
            return Grid(columns, rows, np.full((1, 1), through[2], np.float32))
        return Grid(np.full((1, 1), through[0], np.float32), rows, -columns)


@dataclass(frozen=True)
class Nodule:
    """An ellipsoid (`centre`, `semi` axes in mm) with a wavy surface; `waves` are rows of (wave vector, phase)."""

    centre: Point
    semi: Point
    waves: Array
    amplitude: float
    spiky: bool

    def level(self, grid: Grid) -> Array:
        """Signed distance in mm, approximately (first order)."""
        u, v, w = ((p - c) / a for p, c, a in zip((grid.x, grid.y, grid.z), self.centre, self.semi, strict=True))
        radius = np.sqrt(u * u + v * v + w * w) + 1e-6
        slope = np.sqrt((u / self.semi[0]) ** 2 + (v / self.semi[1]) ** 2 + (w / self.semi[2]) ** 2) / radius
        slope = np.maximum(slope, 1.0 / max(self.semi))
        # The waves matter at the surface only, so they are computed in a box of twice the size.
        box = np.ix_(np.abs(v[:, 0]) < 2, (np.abs(u) < 2)[0] if u.size > 1 else (np.abs(w) < 2)[0])
        near = radius[box]
        u, v, w = (np.broadcast_to(part, radius.shape)[box] / near for part in (u, v, w))
        wave = np.zeros_like(near)
        for kx, ky, kz, phase in self.waves.tolist():
            ripple = np.sin(kx * u + ky * v + kz * w + phase)
            wave += 1.0 - 2.0 * np.abs(ripple) if self.spiky else ripple
        radius[box] -= wave * (self.amplitude / math.sqrt(len(self.waves)))
        return (radius - 1.0) / slope


@dataclass(frozen=True)
class Anatomy:
    """One neck; lengths in mm. `lobe_centre` and `lobe_semi` of the lobe that holds the nodule."""

    side: int
    lobe_centre: Point
    lobe_semi: Point
    other_lobe_semi: Point
    lean: float
    trachea_radius: float
    trachea_depth: float
    isthmus_thickness: float
    isthmus_z: tuple[float, float]
    carotid: tuple[float, float, float]
    jugular: tuple[float, float, float, float]
    fat_depth: float
    strap_depth: float
    spine_gap: float
    bumps: Array
    nodule: Nodule
    cover: float

    def nodule_level(self, grid: Grid) -> Array:
        """Level of the nodule."""
        return self.nodule.level(grid)

    def gland_level(self, grid: Grid, nodule_level: Array | None = None) -> Array:
        """Level of the gland: two lobes, the isthmus, and the nodule with what covers it."""
        nodule = self.nodule.level(grid) if nodule_level is None else nodule_level
        lobes = np.minimum(
            self._lobe(grid, self.side, self.lobe_semi), self._lobe(grid, -self.side, self.other_lobe_semi)
        )
        for height, kx, ky, kz, phase in self.bumps.tolist():
            lobes = lobes + height * np.sin(kx * grid.x + ky * grid.y + kz * grid.z + phase)
        gland = _smooth_minimum(lobes, self._isthmus(grid), 3.0)
        gland = np.maximum(gland, 0.4 - self.trachea_level(grid))
        gland = np.maximum(gland, 0.5 - self.carotid_level(grid))
        return _smooth_minimum(gland, nodule - self.cover, 0.5).astype(np.float32)

    def trachea_level(self, grid: Grid) -> Array:
        """Level of the trachea, an upright cylinder."""
        return np.hypot(grid.x, grid.y - self.trachea_depth) + 0.0 * grid.z - self.trachea_radius

    def carotid_level(self, grid: Grid) -> Array:
        """Level of the common carotid artery beside the lobe."""
        x, y, radius = self.carotid
        return np.hypot(grid.x - x - 0.03 * self.side * grid.z, grid.y - y) - radius

    def _lobe(self, grid: Grid, side: int, semi: Point) -> Array:
        tall = np.clip((grid.z - self.lobe_centre[2]) / semi[2], -1.0, 1.0)
        taper = 1.0 - 0.14 * tall - 0.08 * tall * tall
        x = (grid.x - side * abs(self.lobe_centre[0]) - side * self.lean * (grid.z - self.lobe_centre[2])) / taper
        y = (grid.y - self.lobe_centre[1]) / taper - 0.18 * side * x
        z = grid.z - self.lobe_centre[2]
        q0 = np.sqrt((x / semi[0]) ** 2 + (y / semi[1]) ** 2 + (z / semi[2]) ** 2) + 1e-6
        q1 = np.sqrt((x / semi[0] ** 2) ** 2 + (y / semi[1] ** 2) ** 2 + (z / semi[2] ** 2) ** 2) + 1e-6
        return q0 * (q0 - 1.0) / q1

    def _isthmus(self, grid: Grid) -> Array:
        half = self.isthmus_thickness / 2
        ring = np.abs(np.hypot(grid.x, grid.y - self.trachea_depth) - self.trachea_radius - 0.6 - half) - half
        low, high = self.isthmus_z
        behind = grid.y - self.trachea_depth + 0.2 * self.trachea_radius
        return np.maximum(np.maximum(ring, behind), np.maximum(low - grid.z, grid.z - high))


@dataclass(frozen=True)
class Measurements:
    """What the two planes show, measured on contours of the cut anatomy (mm).

    `width_mm` and `height_mm` in the transverse plane, `length_mm` along the neck in the longitudinal plane;
    `capsule_distance_mm` is the smaller of the two planes' shortest nodule-capsule distances.
    """

    width_mm: float
    height_mm: float
    length_mm: float
    capsule_distance_mm: float

    @property
    def size_mm(self) -> float:
        """Largest dimension."""
        return max(self.width_mm, self.height_mm, self.length_mm)

    @property
    def taller(self) -> bool:
        """Whether the nodule is taller than wide (transverse plane), as TI-RADS counts it."""
        return self.height_mm > self.width_mm


def sample_anatomy(findings: Findings, rng: np.random.Generator) -> Anatomy:
    """A neck whose nodule has the side, third, size, shape and margin of the findings."""
    side = 1 if findings.side == "left" else -1
    semi = _lobe_semi(rng)
    trachea_radius = rng.uniform(8.0, 10.0)
    isthmus = rng.uniform(2.0, 4.5)
    fat, strap = rng.uniform(2.0, 5.0), rng.uniform(3.0, 6.0)
    top = fat + strap + rng.uniform(0.8, 1.6)
    centre = (side * (trachea_radius + 0.75 * semi[0]), top + semi[1], 0.0)
    bumps = np.stack([[rng.uniform(0.05, 0.3), *rng.normal(0, 0.22, 3), rng.uniform(0, 6.3)] for _ in range(4)])
    lean = rng.uniform(0.0, 0.08)
    nodule = _sample_nodule(findings, centre, semi, lean, trachea_radius, fat + 1.0, rng)
    edge = max(side * centre[0] + semi[0], side * nodule.centre[0] + 1.15 * nodule.semi[0])
    carotid_radius = rng.uniform(2.6, 3.6)
    carotid = (
        side * (edge + carotid_radius - rng.uniform(-0.8, 0.5)),
        centre[1] + rng.uniform(-1.0, 4.0),
        carotid_radius,
    )
    jugular_flat = rng.uniform(0.35, 1.0)
    jugular = (
        carotid[0] + side * rng.uniform(3.0, 6.0),
        carotid[1] - rng.uniform(4.0, 6.5),
        rng.uniform(3.5, 5.5),
        rng.uniform(3.0, 4.5) * jugular_flat,
    )
    return Anatomy(
        side=side,
        lobe_centre=centre,
        lobe_semi=semi,
        other_lobe_semi=_lobe_semi(rng),
        lean=lean,
        trachea_radius=trachea_radius,
        trachea_depth=top + isthmus + trachea_radius + rng.uniform(0.0, 1.5),
        isthmus_thickness=isthmus,
        isthmus_z=(-rng.uniform(8, 16), rng.uniform(0, 8)),
        carotid=carotid,
        jugular=jugular,
        fat_depth=fat,
        strap_depth=fat + strap,
        spine_gap=rng.uniform(8.0, 13.0),
        bumps=bumps.astype(np.float32),
        nodule=nodule,
        cover=rng.uniform(0.0, 0.8),
    )


def measure(anatomy: Anatomy) -> Measurements:
    """Cut both planes through the nodule's centre and measure their contours; no picture is made."""
    nodule = anatomy.nodule
    extent, distance = {}, math.inf
    for plane in PLANES:
        across = nodule.semi[0] if plane == "transverse" else nodule.semi[2]
        column = nodule.centre[0] if plane == "transverse" else -nodule.centre[2]
        depth_axis = _axis(nodule.centre[1], nodule.semi[1])
        grid = Grid.of(plane, nodule.centre, depth_axis, _axis(column, across))
        level = nodule.level(grid)
        inner = max(_contours(level), key=len)
        outer = np.concatenate(_contours(anatomy.gland_level(grid, level)))
        extent[plane] = np.ptp(inner, axis=0)
        distance = min(distance, float(np.min(cKDTree(outer).query(inner)[0])))
    return Measurements(
        width_mm=float(extent["transverse"][1]),
        height_mm=float(extent["transverse"][0]),
        length_mm=float(extent["longitudinal"][1]),
        capsule_distance_mm=distance,
    )


def _sample_nodule(
    findings: Findings,
    centre: Point,
    semi: Point,
    lean: float,
    trachea_radius: float,
    roof: float,
    rng: np.random.Generator,
) -> Nodule:
    half = findings.size_mm / 2
    ratio = rng.uniform(1.05, 1.45) if findings.taller else rng.uniform(0.6, 0.95)
    # Most lie deep in the lobe, the others anywhere: about a third then keep 2.5 mm from the capsule.
    radius = rng.uniform(0.0, 0.16) if rng.random() < 0.78 else rng.uniform(0.2, 0.8)
    angle = rng.uniform(0, 2 * math.pi)
    tall = float(np.clip(_THIRD_CENTRE[findings.third] + rng.uniform(-0.2, 0.2), -0.75, 0.75))
    girth = math.sqrt(1.0 - tall * tall)
    depth, width = (half, half / ratio) if ratio > 1 else (half * ratio, half)
    length = half * rng.uniform(0.75, 1.0)
    side = 1.0 if centre[0] > 0 else -1.0
    x = centre[0] + side * lean * tall * semi[2] + radius * math.cos(angle) * girth * semi[0]
    y = centre[1] + radius * math.sin(angle) * girth * semi[1]
    # Large nodules push trachea, carotid and muscles aside: here they keep clear of them.
    x = side * max(abs(x), trachea_radius + 0.8 * width)
    y = max(y, roof + 1.15 * depth)
    count = {"smooth": 3, "ill-defined": 4, "lobulated": 5, "spiculated": 7}[findings.margin]
    amplitude, frequency = _surface(findings.margin)
    vectors = rng.normal(size=(count, 3))
    vectors *= frequency * rng.uniform(0.8, 1.25, (count, 1)) / np.linalg.norm(vectors, axis=1, keepdims=True)
    waves = np.concatenate([vectors, rng.uniform(0, 2 * math.pi, (count, 1))], axis=1)
    return Nodule(
        (x, y, tall * semi[2]),
        (width, depth, length),
        waves.astype(np.float32),
        min(amplitude, _WAVE_LIMIT_MM / half),
        findings.margin == "spiculated",
    )


def _surface(margin: Margin) -> tuple[float, float]:
    """Amplitude (share of the radius) and angular frequency of the surface waves."""
    return {"smooth": (0.03, 2.0), "ill-defined": (0.06, 3.0), "lobulated": (0.12, 4.5), "spiculated": (0.16, 8.0)}[
        margin
    ]


def _lobe_semi(rng: np.random.Generator) -> Point:
    return rng.uniform(15, 20) / 2, rng.uniform(13, 18) / 2, rng.uniform(40, 60) / 2


def _axis(centre: float, semi: float) -> Array:
    reach = 1.35 * semi + _CUT_MARGIN_MM
    count = 2 * math.ceil(reach / _CUT_STEP_MM) + 1
    return (centre + _CUT_STEP_MM * (np.arange(count) - count // 2)).astype(np.float32)


def _contours(level: Array) -> list[npt.NDArray[np.float64]]:
    """Contours of level 0 as (row, column) points in mm."""
    return [contour * _CUT_STEP_MM for contour in find_contours(level, 0.0)]


def _smooth_minimum(a: Array, b: Array, width: float) -> Array:
    """Minimum of two levels whose edge is rounded over `width` mm (polynomial smooth minimum)."""
    share = np.clip(0.5 + 0.5 * (b - a) / width, 0.0, 1.0)
    return b + (a - b) * share - width * share * (1.0 - share)
