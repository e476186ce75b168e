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
from llnm.simulate.texture import Texture

Array = npt.NDArray[np.float32]

ECHO_DB: Mapping[str, float] = {
    "skin": 6.0,
    "fat": -6.0,
    "muscle": -11.0,
    "connective": -4.0,
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
_ATTENUATION = {
    "tissue": 0.8,
    "muscle": 1.0,
    "vessel": 0.3,
    "fluid": 0.1,
    "air": 4.0,
    "bone": 3.5,
    "calcification": 40.0,
}
_RANDOM_TISSUES = (
    "skin",
    "fat",
    "muscle",
    "connective",
    "gland",
    "vessel",
    "trachea",
    "oesophagus",
    "bone",
    "fascia",
    "capsule",
)


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
        echoes[name] = echoes[name] + rng.normal(0.0, 3.5) if real else rng.uniform(-18.0, 9.0)
    shift = echoes["gland"]
    for name in ("markedly hypoechoic", "hypoechoic", "isoechoic", "hyperechoic"):
        echoes[name] += shift + rng.normal(0.0, 3.0)
    return echoes


def build_scene(
    anatomy: Anatomy,
    findings: Findings,
    plane: Plane,
    grid: Grid,
    echoes: Mapping[str, float],
    rng: np.random.Generator,
) -> Scene:
    """Paint the tissues of the plane from the skin down; later ones cover earlier ones."""
    nodule = anatomy.nodule_level(grid)
    gland = anatomy.gland_level(grid, nodule)
    depth, across = grid.y[:, 0], (grid.x if plane == "transverse" else -grid.z)[0]
    texture = Texture(depth, across, rng)
    echo, attenuation = _layers(anatomy, plane, grid, gland, echoes, texture)
    _paint_vessels_and_airway(anatomy, grid, echoes, echo, attenuation, texture)

    inside = gland < 0
    patches = texture.field(1.6, 1.8) * (3.0 if findings.diffuse else 1.2)
    echo[inside] = (echoes["gland"] - (3.0 if findings.diffuse else 0.0) + patches + texture.field(0.45, 0.7))[inside]
    attenuation[inside] = _ATTENUATION["tissue"]
    _add_line(echo, gland, echoes["capsule"], 0.16, 0.25 + 0.75 * _facing(gland, depth, across))
    _paint_nodule(findings, nodule, echoes, echo, attenuation, texture)
    bright = _calcifications(findings, anatomy, plane, grid, attenuation, nodule, rng)
    return Scene(echo, attenuation, bright, inside)


def _layers(
    anatomy: Anatomy, plane: Plane, grid: Grid, gland: Array, echoes: Mapping[str, float], texture: Texture
) -> tuple[Array, Array]:
    """Skin, fat, muscles, connective tissue and spine."""
    fibres = texture.field(0.2, 2.0 if plane == "transverse" else 4.5, layered=True)
    septa = np.clip(fibres - 0.7, 0.0, 1.5)
    y = grid.y + 0.0 * texture.across[None, :]
    patches = 2.5 * texture.field(0.4, 2.0, layered=True) + 3.0 * texture.field(1.5, 3.5)
    echo = echoes["connective"] + patches + 8.0 * septa
    attenuation = np.full(y.shape, _ATTENUATION["tissue"], np.float32)

    fat = anatomy.fat_depth + 0.3 * texture.line(6.0)
    muscle = echoes["muscle"] + 1.5 * fibres + 6.5 * septa
    bottom = anatomy.lobe_centre[1] + anatomy.lobe_semi[1]
    spine = bottom + anatomy.spine_gap + 1.0 * texture.line(10.0 if plane == "transverse" else 6.0)
    sheets = _muscles(anatomy, plane, grid, y, fat, spine, gland, texture)
    sheen = 0.35 + 0.3 * np.clip(texture.field(0.8, 2.5), -1, 1)
    for level in sheets:
        echo = np.where(level < 0, muscle, echo)
        attenuation[level < 0] = _ATTENUATION["muscle"]
        _add_line(echo, level, echoes["fascia"] - 2.0, 0.17, sheen)
    shallow = y < fat[None, :]
    echo = np.where(shallow, echoes["fat"] + 2.5 * fibres + 9.0 * septa, echo)
    echo = np.where(y < 0.9, echoes["skin"] + fibres, echo)
    _add_line(echo, y - fat[None, :], echoes["fascia"], 0.15, 1.0)
    deep = y > spine[None, :]
    echo = np.where(deep, echoes["bone"] + 2.0 * texture.field(1.0, 2.0), echo)
    attenuation[deep] = _ATTENUATION["bone"]
    _add_line(echo, y - spine[None, :], echoes["fascia"], 0.35, np.clip(0.6 + 0.4 * texture.line(3.0), 0, 1)[None, :])
    return echo.astype(np.float32), attenuation


def _muscles(
    anatomy: Anatomy, plane: Plane, grid: Grid, y: Array, fat: Array, spine: Array, gland: Array, texture: Texture
) -> list[Array]:
    """Levels of the strap muscles (draped over the gland), sternocleidomastoid and longus colli."""
    strap = anatomy.strap_depth + 0.4 * texture.line(9.0)
    bottom = anatomy.lobe_centre[1] + anatomy.lobe_semi[1] + 0.4 * texture.line(8.0)
    straps = np.maximum(np.maximum(fat[None, :] - y, y - strap[None, :] - 2.5), 0.3 - gland)
    if plane == "longitudinal":
        colli = np.maximum(bottom[None, :] + 0.6 - y, y - spine[None, :] + 0.8)
        middle = 0.5 * (fat + strap)[None, :] + 0.0 * y
        return [np.maximum(straps, y - middle), np.maximum(straps, middle + 0.3 - y), colli]
    x, wide = anatomy.side * (abs(anatomy.lobe_centre[0]) + 18.0), 16.0
    top = anatomy.fat_depth + 3.6 + 0.06 * np.abs(grid.x - x)
    mastoid = 3.4 * (np.hypot((grid.x - x) / wide, (y - top) / 3.4) - 1.0)
    straps = np.maximum(np.maximum(straps, np.abs(grid.x) - abs(anatomy.lobe_centre[0]) - 7.0), 0.4 - mastoid)
    reach, tall = 8.5, 0.5 * (float(spine.mean()) - anatomy.lobe_centre[1] - anatomy.lobe_semi[1])
    centre = anatomy.lobe_centre[1] + anatomy.lobe_semi[1] + tall + 0.2
    colli = tall * (np.hypot((grid.x - anatomy.side * 13.5) / reach, (y - centre) / tall) - 1.0)
    return [straps, mastoid, np.maximum(colli, 0.4 - gland)]


def _paint_vessels_and_airway(
    anatomy: Anatomy, grid: Grid, echoes: Mapping[str, float], echo: Array, attenuation: Array, texture: Texture
) -> None:
    """Oesophagus (left), carotid, jugular and trachea."""
    gullet = np.hypot((grid.x - 10.5) / 5.0, (grid.y - anatomy.trachea_depth - 7.5) / 2.8)
    gullet = 2.8 * (gullet - 1.0) + 0.5 * texture.field(1.5, 1.5)
    echo[gullet < 0] = echoes["oesophagus"]
    _add_line(echo, gullet + 1.7, echoes["fascia"] - 8.0, 0.6, 0.7)
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
    front_wall = anatomy.trachea_depth - np.sqrt(np.clip(anatomy.trachea_radius**2 - grid.x**2, 0.0, None))
    below = np.clip(grid.y - front_wall, 0.0, None) + 0.0 * grid.z
    rhythm = np.cos(2 * math.pi * (below + 0.5 * texture.field(2.0, 3.0)) / 3.1)
    bands = echoes["trachea"] + 3.0 * rhythm + 2.0 * texture.field(1.2, 2.0) - 0.9 * below
    echo[inside] = bands[inside]
    attenuation[inside] = _ATTENUATION["air"] * 0.4
    ring = (airway > -1.7) & inside
    echo[ring] = (echoes["muscle"] + 2.0 * texture.field(0.6, 1.0))[ring]
    front = np.clip((anatomy.trachea_depth - grid.y) / anatomy.trachea_radius, 0.0, 1.0)
    _add_line(echo, airway, echoes["fascia"] - 6.0, 0.3, 0.8 * front)
    _add_line(echo, airway + 1.7 + 0.2 * texture.field(2.0, 2.0), echoes["fascia"], 0.4, front**1.5)


def _paint_nodule(
    findings: Findings,
    level: Array,
    echoes: Mapping[str, float],
    echo: Array,
    attenuation: Array,
    texture: Texture,
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
            u, v = (
                centre + radius * math.cos(angle) * wide,
                nodule.centre[1] + radius * math.sin(angle) * nodule.semi[1],
            )
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
        thinner = np.clip(1.2 - (np.abs(across - u) / reach) ** 2, 0.2, 1.0) * rng.uniform(0.4, 1.0, len(across))
        attenuation += hit * thinner.astype(np.float32)[None, :] * _ATTENUATION["calcification"]
    return bright


def _add_line(echo: Array, level: Array, height_db: float, width_mm: float, strength: Array | float) -> None:
    """Raise the echo towards `height_db` along the zero of a level: the echo of an interface."""
    near = strength * np.exp(-((level / width_mm) ** 2))
    echo += near * np.maximum(height_db - echo, 0.0)


def _facing(level: Array, depth: Array, across: Array) -> Array:
    """How far a surface faces the probe (0-1): only then does it reflect."""
    down, side = np.gradient(level, depth, across)
    return (np.abs(down) / (np.hypot(down, side) + 1e-6)) ** 2
