"""The tissues of one plane: how strongly each point scatters and how much it attenuates.

Comes in: an `Anatomy`, the `Findings`, a `Grid` of the plane and a random generator. Goes out: a `Scene`, the maps that
`speckle` turns into an image. Echo strengths are dB relative to a normal gland, attenuations dB/mm (there and back).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llnm.case import Plane
from llnm.simulate.anatomy import Anatomy, Grid
from llnm.simulate.findings import Findings

Array = npt.NDArray[np.float32]

ECHO_DB: Mapping[str, float] = {
    "skin": 6.0,
    "fat": -6.0,
    "muscle": -11.0,
    "connective": 0.0,
    "gland": 0.0,
    "vessel": -34.0,
    "trachea": -9.0,
    "oesophagus": -8.0,
    "bone": -6.0,
    "fascia": 12.0,
    "capsule": 9.0,
    "markedly hypoechoic": -14.0,
    "hypoechoic": -8.0,
    "isoechoic": -1.0,
    "hyperechoic": 4.0,
    "fluid": -32.0,
}
_ATTENUATION = {"tissue": 0.8, "muscle": 1.0, "vessel": 0.3, "fluid": 0.1, "air": 4.0, "bone": 3.5, "calcification": 9.0}
_RANDOM_TISSUES = ("skin", "fat", "muscle", "connective", "gland", "vessel", "trachea", "oesophagus", "bone", "fascia", "capsule")


@dataclass(frozen=True)
class Scene:
    """Maps on the beam grid: `echo_db`, `attenuation` (dB/mm), `bright` (amplitude of single strong reflectors)."""

    echo_db: Array
    attenuation: Array
    bright: Array
    gland: npt.NDArray[np.bool_]


def random_echoes(rng: np.random.Generator) -> dict[str, float]:
    """Echo strengths of domain randomisation: any tissue may be any grey, but half the time near its real one.

    The idea is SynthSeg's (Billot et al., Med. Image Anal. 86, 102789, 2023).
    """
    echoes = dict(ECHO_DB)
    for name in _RANDOM_TISSUES:
        real = rng.random() < 0.6
        echoes[name] = echoes[name] + rng.normal(0.0, 3.5) if real else rng.uniform(-26.0, 10.0)
    shift = echoes["gland"]
    for name in ("markedly hypoechoic", "hypoechoic", "isoechoic", "hyperechoic"):
        echoes[name] += shift + rng.normal(0.0, 3.0)
    return echoes


def build_scene(
    anatomy: Anatomy, findings: Findings, plane: Plane, grid: Grid, echoes: Mapping[str, float], rng: np.random.Generator
) -> Scene:
    """Paint the tissues of the plane from the skin down; later ones cover earlier ones."""
    nodule = anatomy.nodule_level(grid)
    gland = anatomy.gland_level(grid, nodule)
    depth, across = grid.y[:, 0], (grid.x if plane == "transverse" else -grid.z)[0]
    texture = _Texture(depth, across, rng)
    echo, attenuation = _layers(anatomy, plane, grid, echoes, texture, rng)
    _paint_vessels_and_airway(anatomy, grid, echoes, echo, attenuation, texture)

    inside = gland < 0
    patches = texture.field(1.6, 1.8) * (3.0 if findings.diffuse else 0.9)
    echo[inside] = (echoes["gland"] - (3.0 if findings.diffuse else 0.0) + patches + texture.field(0.45, 0.7))[inside]
    attenuation[inside] = _ATTENUATION["tissue"]
    _add_line(echo, gland, echoes["capsule"], 0.16, _facing(gland, depth, across))
    _paint_nodule(findings, anatomy, nodule, grid, echoes, echo, attenuation, texture)
    bright = _calcifications(findings, anatomy, plane, grid, attenuation, nodule, rng)
    return Scene(echo, attenuation, bright, inside)


class _Texture:
    """Smooth random fields on the beam grid, bent along the tissue layers."""

    def __init__(self, depth: Array, across: Array, rng: np.random.Generator) -> None:
        self.depth, self.across, self.rng = depth, across, rng
        bend = rng.uniform(0.2, 0.9) * self._waves(across, 16.0)
        step = depth[1] - depth[0]
        rows = np.arange(len(depth))[:, None] + np.round((bend + rng.normal(0, 0.03) * across) / step).astype(int)[None, :]
        self._rows = np.clip(rows, 0, len(depth) - 1)

    def field(self, tall_mm: float, wide_mm: float, layered: bool = False) -> Array:
        """Zero mean, unit variance, with Gaussian correlation of the given standard deviations."""
        rows, columns = self._basis(self.depth, tall_mm), self._basis(self.across, wide_mm)
        noise = self.rng.standard_normal((rows.shape[1], columns.shape[1]), dtype=np.float32)
        field = rows @ noise @ columns.T
        return np.take_along_axis(field, self._rows, axis=0) if layered else field

    def line(self, size_mm: float) -> Array:
        """A wavy function of the position across, unit variance."""
        return self._waves(self.across, size_mm)

    def _waves(self, axis: Array, size_mm: float) -> Array:
        basis = self._basis(axis, size_mm)
        return basis @ self.rng.standard_normal(basis.shape[1], dtype=np.float32)

    @staticmethod
    def _basis(axis: Array, size_mm: float) -> Array:
        low, high = float(axis.min()), float(axis.max())
        centres = np.arange(low - 2 * size_mm, high + 2 * size_mm, size_mm)
        basis = np.exp(-(((axis[:, None] - centres[None, :]) / size_mm) ** 2))
        return (basis / np.sqrt((basis**2).sum(axis=1, keepdims=True))).astype(np.float32)


def _layers(
    anatomy: Anatomy, plane: Plane, grid: Grid, echoes: Mapping[str, float], texture: _Texture, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Skin, fat, muscles, connective tissue and spine."""
    fibres = texture.field(0.16, 2.2 if plane == "transverse" else 4.5, layered=True)
    septa = np.clip(fibres - 0.9, 0.0, 1.5)
    y = grid.y + 0.0 * texture.across[None, :]
    echo = echoes["connective"] + 2.5 * texture.field(0.5, 2.5, layered=True) + 5.0 * septa
    attenuation = np.full(y.shape, _ATTENUATION["tissue"], np.float32)

    fat = anatomy.fat_depth + 0.3 * texture.line(6.0)
    strap = anatomy.strap_depth + 0.5 * texture.line(9.0)
    muscle = echoes["muscle"] + 1.5 * fibres + 6.0 * septa
    sheets = [np.maximum(fat[None, :] - y, y - strap[None, :])]
    if plane == "transverse":
        lateral = 0.5 * anatomy.fat_depth + 5.5 - 0.1 * np.abs(grid.x - anatomy.side * 34.0)
        sheets[0] = np.maximum(sheets[0], np.abs(grid.x) - 24.0)
        sheets.append(4.2 * (np.hypot((grid.x - anatomy.side * 33.0) / 15.0, (y - lateral) / 4.2) - 1.0))
        sheets[0] = np.maximum(sheets[0], 0.4 - sheets[1])
    bottom = anatomy.lobe_centre[1] + anatomy.lobe_semi[1]
    spine = bottom + rng.uniform(8.0, 13.0) + 1.2 * texture.line(7.0 if plane == "longitudinal" else 10.0)
    colli_top = bottom + 0.8 + 0.4 * texture.line(8.0)
    colli = np.maximum(colli_top[None, :] - y, y - spine[None, :] + 1.0)
    if plane == "transverse":
        colli = np.maximum(colli, np.abs(grid.x - anatomy.side * 15.0) - 8.0 - 0.2 * (y - bottom))
    sheets.append(colli)
    for level in sheets:
        echo = np.where(level < 0, muscle, echo)
        attenuation[level < 0] = _ATTENUATION["muscle"]
        _add_line(echo, level, echoes["fascia"] - 2.0, 0.14, 0.55 + 0.45 * np.clip(texture.field(1.0, 2.5), -1, 1))
    shallow = y < fat[None, :]
    echo = np.where(shallow, echoes["fat"] + 2.5 * fibres + 9.0 * septa, echo)
    echo = np.where(y < 0.9, echoes["skin"] + fibres, echo)
    _add_line(echo, y - fat[None, :], echoes["fascia"], 0.15, 1.0)
    deep = y > spine[None, :]
    echo = np.where(deep, echoes["bone"] + 2.0 * texture.field(1.0, 2.0), echo)
    attenuation[deep] = _ATTENUATION["bone"]
    _add_line(echo, y - spine[None, :], echoes["fascia"] + 2.0, 0.3, 0.6 + 0.4 * texture.line(3.0)[None, :])
    return echo.astype(np.float32), attenuation


def _paint_vessels_and_airway(
    anatomy: Anatomy, grid: Grid, echoes: Mapping[str, float], echo: Array, attenuation: Array, texture: _Texture
) -> None:
    """Oesophagus (left), carotid, jugular and trachea."""
    gullet = 3.6 * (np.hypot((grid.x - 10.5) / 4.6, (grid.y - anatomy.trachea_depth - 6.5) / 3.6) - 1.0) + 0.0 * grid.z
    echo[gullet < 0] = echoes["oesophagus"]
    _add_line(echo, gullet + 1.9, echoes["fascia"] - 3.0, 0.7, 1.0)
    x, y, wide, tall = anatomy.jugular
    jugular = tall * (np.hypot((grid.x - x) / wide, (grid.y - y) / tall) - 1.0) + 0.0 * grid.z
    for level in (jugular, anatomy.carotid_level(grid)):
        inside = level < 0
        haze = 12.0 * np.exp(level / 0.9) + 2.0 * texture.field(1.0, 1.5)
        echo[inside] = (echoes["vessel"] + haze)[inside]
        attenuation[inside] = _ATTENUATION["vessel"]
        _add_line(echo, level, echoes["fascia"] - 5.0, 0.2, 1.0)
    airway = anatomy.trachea_level(grid)
    inside = airway < 0
    # Air sends the pulse back and forth: bands parallel to the front wall that fade with depth.
    bands = echoes["trachea"] + 3.5 * np.cos(2 * math.pi * airway / 2.3) + 0.9 * airway
    echo[inside] = bands[inside]
    wall = (airway > -1.8) & inside
    echo[wall] = echoes["muscle"] + 2.0
    attenuation[inside & ~wall] = _ATTENUATION["air"] * 0.45
    front = np.clip((anatomy.trachea_depth - grid.y) / anatomy.trachea_radius, 0.0, 1.0)
    _add_line(echo, airway, echoes["fascia"] - 3.0, 0.25, front)
    _add_line(echo, airway + 1.8, echoes["fascia"] + 3.0, 0.35, front**2)


def _paint_nodule(
    findings: Findings,
    anatomy: Anatomy,
    level: Array,
    grid: Grid,
    echoes: Mapping[str, float],
    echo: Array,
    attenuation: Array,
    texture: _Texture,
) -> None:
    """Inside of the nodule, its margin (sharp or fading) and its halo."""
    inner = echoes[findings.echogenicity] + 1.8 * texture.field(0.9, 1.0) + texture.field(0.4, 0.5)
    share = {"predominantly solid": 0.9, "predominantly cystic": -0.5, "cystic": -9.0, "spongiform": 0.3}
    if findings.composition in share:
        grain = 0.3 if findings.composition == "spongiform" else 0.16 * findings.size_mm
        fluid = (texture.field(grain, 1.3 * grain) > share[findings.composition]) & (level < -0.4)
        inner = np.where(fluid, echoes["fluid"] + texture.field(0.5, 0.8), inner)
        attenuation[fluid] = _ATTENUATION["fluid"]
    width = {"smooth": 0.12, "lobulated": 0.15, "spiculated": 0.2, "ill-defined": 0.75}[findings.margin]
    width = min(width, 0.15 * findings.size_mm)
    ragged = level + (0.5 * width * texture.field(0.5, 0.5) if findings.margin == "ill-defined" else 0.0)
    blend = 1.0 / (1.0 + np.exp(np.clip(ragged / width * 2.0, -30, 30)))
    if findings.halo:
        blend_halo = np.exp(-(((level + 0.45) / 0.45) ** 2))
        inner = inner - 9.0 * blend_halo
    echo[...] = blend * inner + (1.0 - blend) * echo


def _calcifications(
    findings: Findings,
    anatomy: Anatomy,
    plane: Plane,
    grid: Grid,
    attenuation: Array,
    level: Array,
    rng: np.random.Generator,
) -> Array:
    """Amplitude of calcifications: several bright points, or one coarse arc with a shadow."""
    bright = np.zeros(level.shape, np.float32)
    nodule = anatomy.nodule
    across = (grid.x if plane == "transverse" else -grid.z)[0]
    centre = nodule.centre[0] if plane == "transverse" else -nodule.centre[2]
    wide = nodule.semi[0] if plane == "transverse" else nodule.semi[2]
    if findings.foci == "microcalcification":
        for _ in range(int(np.clip(1.4 * findings.size_mm, 6, 20) * rng.uniform(0.8, 1.3))):
            radius, angle = 0.75 * math.sqrt(rng.random()), rng.uniform(0, 2 * math.pi)
            u, v = centre + radius * math.cos(angle) * wide, nodule.centre[1] + radius * math.sin(angle) * nodule.semi[1]
            row, column = np.searchsorted(grid.y[:, 0], v), np.searchsorted(across, u)
            extent = rng.integers(2, 5)
            bright[row : row + extent, column : column + rng.integers(1, 4)] = rng.uniform(2.5, 6.0)
            attenuation[row : row + extent, column : column + 2] += rng.uniform(0.0, 4.0)
    if findings.foci == "macrocalcification":
        u, v = centre + rng.uniform(-0.3, 0.3) * wide, nodule.centre[1] + rng.uniform(-0.4, 0.2) * nodule.semi[1]
        reach = min(rng.uniform(0.25, 0.5) * wide, 4.0)
        arc = v - 0.35 * np.cos((across - u) / reach * math.pi / 2)
        hit = (np.abs(across - u)[None, :] < reach) & (np.abs(grid.y - arc[None, :]) < 0.25)
        bright[hit] = rng.uniform(3.0, 6.0)
        attenuation[hit] += 3.5 * _ATTENUATION["calcification"]
    return bright


def _add_line(echo: Array, level: Array, height_db: float, width_mm: float, strength: Array | float) -> None:
    """Raise the echo towards `height_db` along the zero of a level: the echo of an interface."""
    near = strength * np.exp(-((level / width_mm) ** 2))
    echo += near * np.maximum(height_db - echo, 0.0)


def _facing(level: Array, depth: Array, across: Array) -> Array:
    """How far a surface faces the probe (0-1): only then does it reflect."""
    down, side = np.gradient(level, depth, across)
    return (np.abs(down) / (np.hypot(down, side) + 1e-6)) ** 2
