"""B-mode images of organs that are no thyroid: what the out-of-distribution flag must tell from one.

Comes in: the name of an organ and a random generator. Goes out: an `UltrasoundImage` as a scanner would store it. The
speckle, the scanners and the border are those of the simulated thyroids, so that only what is shown differs. Organs
that lie deep are seen by a lower frequency: wavelength, speckle and attenuation scale with the depth, so all lengths
below are those of a picture about 40 mm deep, and only the spacing that is stored is the organ's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from llnm.case import UltrasoundImage
from llnm.errors import InputError
from llnm.simulate.plane import AIR, BONE, FLUID, MUSCLE, TISSUE, Plane, empty_plane, scan_convert
from llnm.simulate.scene import ECHO_DB
from llnm.simulate.speckle import Scanner, received_db, scattered_field
from llnm.simulate.views import SPACING_RANGE_MM, Window, _frame, _rephotograph

_DEPTH_MM = (34.0, 44.0)
_WIDTH_MM = (36.0, 48.0)
_ECHOIC = -20.0  # dB above which tissue sets the gain
_TISSUE_GREY = (0.32, 0.5)
_SPREAD_DB = 4.0

PHANTOM = "phantom"
"""No organ: layers and bodies of any kind, to fit with what looks like ultrasound and like nothing else."""


def simulate_other_organ(organ: str, rng: np.random.Generator, randomise: bool = False) -> UltrasoundImage:
    """One B-mode frame of `organ` (one of ORGANS, or PHANTOM), pixels 0-1 in steps of 1/255.

    Deep organs are mostly seen with a curved or sector probe, the others with a linear one. `randomise` draws every
    tissue's echo strength, the gain, the blur and the speckle far beyond real scanners, as `simulate_view` does.
    Raises InputError for an organ that is not known.
    """
    if organ not in _PAINTERS:
        raise InputError(f"organ: {organ!r} is not known; choose from {', '.join(_PAINTERS)}")
    painter, magnification, curved_share = _PAINTERS[organ]
    scale = float(rng.uniform(*magnification))
    spacing = round(float(rng.uniform(*SPACING_RANGE_MM)), 4)
    window = Window(0.0, float(rng.uniform(*_WIDTH_MM)), float(rng.uniform(*_DEPTH_MM)), spacing)
    scanner = Scanner.sample(rng, randomise)
    # The probe's surface is an arc about the origin of the beams; a straight one has it infinitely far away.
    curved = rng.random() < curved_share
    angle = float(rng.uniform(0.45, 0.7)) if curved else 0.0
    radius = float(rng.uniform(2.0, 6.0) if organ == "heart" else rng.uniform(14.0, 26.0)) if curved else 0.0
    plane = empty_plane(window, angle, radius, rng, _SPREAD_DB if randomise else 0.0)
    painter(plane)
    step = (window.spacing_mm, float(plane.texture.across[1] - plane.texture.across[0]))
    field = scattered_field((10 ** (plane.echo / 20)).astype(np.complex64), step, scanner, rng)
    level = received_db(field, plane.attenuation, step, scanner, rng)
    echoic = plane.echo > _ECHOIC
    level -= np.median(level[echoic])
    middle = scanner.gland_grey if randomise else rng.uniform(*_TISSUE_GREY)
    grey = np.clip(middle + level / scanner.dynamic_range_db, 0.0, 1.0) ** scanner.gamma
    pixels = scan_convert(grey.astype(np.float32), window, angle, radius)
    if randomise:
        pixels = _rephotograph(pixels, rng)
    framed, _ = _frame(pixels, window, rng)
    size = round(spacing * scale, 4)
    return UltrasoundImage((np.round(framed * 255) / 255).astype(np.float32), None, (size, size), "simulated")


def _wall(plane: Plane, thickness: tuple[float, float] = (4.0, 8.0)) -> float:
    """Skin, fat and muscle of the abdominal wall; gives the depth at which it ends."""
    depth = plane.uniform(*thickness)
    fat, end = plane.surface(depth * plane.uniform(0.3, 0.6), 0.25), plane.surface(depth, 0.3)
    stripes = np.clip(plane.texture.field(0.2, 4.0, layered=True) - 0.5, 0, 1.5)
    plane.fill(plane.band(-50.0, end), ECHO_DB["muscle"] + 8.0 * stripes, MUSCLE)
    plane.fill(plane.band(-50.0, fat), ECHO_DB["fat"] + 9.0 * stripes, TISSUE)
    plane.fill(plane.band(-50.0, 0.6), ECHO_DB["skin"], TISSUE)
    for boundary in (fat, end):
        plane.line(plane.y - boundary, ECHO_DB["fascia"], 0.2)
    return depth


def _liver(plane: Plane) -> None:
    """Even parenchyma, hepatic veins without walls, portal branches with bright ones, often the diaphragm."""
    end = _wall(plane)
    plane.fill(plane.band(end, 99.0), plane.grain(1.0, 0.8), TISSUE)
    for _ in range(int(plane.rng.integers(3, 9))):
        portal = plane.rng.random() < 0.5
        plane.vessel(
            plane.uniform(-1, 1) * plane.width,
            plane.uniform(end + 3, plane.depth - 3),
            plane.uniform(0.4, 1.6),
            plane.uniform(-1.4, 1.4),
            plane.uniform(0.5, 14.0),
            ECHO_DB["fascia"] - 3 if portal else None,
        )
    if plane.rng.random() < 0.6:
        x, radius = plane.uniform(-12, 12), plane.uniform(26, 40)
        diaphragm = np.hypot(plane.x - x, plane.y - plane.depth * plane.uniform(0.8, 0.95) + radius) - radius
        plane.fill(-diaphragm, ECHO_DB["trachea"] + 3.0 * plane.texture.field(0.8, 2.0), AIR)
        plane.line(diaphragm, ECHO_DB["fascia"] + 6, 0.35)


def _kidney(plane: Plane) -> None:
    """Reniform cortex below liver, dark pyramids around a bright sinus."""
    end = _wall(plane)
    plane.fill(plane.band(end, 99.0), plane.grain(1.0, 0.8), TISSUE)
    x, y, tilt = plane.uniform(-4, 4), end + plane.uniform(10.0, 13.0), plane.uniform(-0.4, 0.4)
    wide, tall = plane.uniform(16.0, 20.0), plane.uniform(7.5, 9.0)
    kidney = plane.ellipse(x, y, wide, tall, tilt, 0.2)
    plane.fill(kidney, plane.uniform(-4.0, -1.0) + plane.grain(0.8, 0.6), TISSUE)
    plane.line(kidney, ECHO_DB["fascia"] - 1, 0.25)
    number = int(plane.rng.integers(8, 12))
    for index in range(number):
        turn = 2 * math.pi * (index + plane.uniform(-0.15, 0.15)) / number
        u, v = 0.68 * wide * math.cos(turn), 0.66 * tall * math.sin(turn)
        px, py = x + u * math.cos(tilt) - v * math.sin(tilt), y + u * math.sin(tilt) + v * math.cos(tilt)
        plane.fill(plane.ellipse(px, py, plane.uniform(1.5, 2.2), plane.uniform(1.2, 1.8), 0.0, 0.15), -11.0, TISSUE)
    sinus = plane.ellipse(x, y, 0.5 * wide, 0.36 * tall, tilt, 0.8)
    plane.fill(sinus, 7.0 + 2.5 * plane.texture.field(0.6, 1.2), TISSUE)
    for _ in range(int(plane.rng.integers(0, 4))):
        near = x + plane.uniform(-0.3, 0.3) * wide
        plane.fill(plane.ellipse(near, y + plane.uniform(-1, 1), 1.4, 0.7, tilt, 0.1), ECHO_DB["fluid"], FLUID)


def _bladder(plane: Plane) -> None:
    """A large anechoic bladder with a bright wall, enhancement and an organ behind it."""
    end = _wall(plane)
    wide, tall = plane.uniform(11.0, 17.0), plane.uniform(6.0, 10.0)
    y = end + tall + plane.uniform(0.5, 2.0)
    behind = plane.ellipse(plane.uniform(-4, 4), y + tall + 5.0, plane.uniform(8, 12), plane.uniform(4, 6), 0.0, 0.3)
    plane.fill(behind, -3.0 + plane.grain(1.2, 1.0), TISSUE)
    plane.line(behind, 3.0, 0.3, 0.6)
    shape = plane.ellipse(plane.uniform(-3, 3), y, wide, tall, plane.uniform(-0.15, 0.15), 0.5)
    plane.fill(shape - 0.9, ECHO_DB["muscle"] + 3.0, MUSCLE)
    haze = 16.0 * np.exp(-np.maximum(plane.y - end - 1.0, 0.0) / 2.0)  # reverberation of the wall
    plane.fill(shape, ECHO_DB["fluid"] + haze, FLUID)
    plane.line(shape, ECHO_DB["fascia"] - 4, 0.3)


def _heart(plane: Plane) -> None:
    """Four chambers seen from the apex: blood, walls of muscle, valves, pericardium."""
    end = plane.uniform(3.0, 5.0)
    plane.echo[...] += plane.grain(2.0, 1.0)
    x, y, tilt = plane.uniform(-2, 2), end + plane.uniform(14.0, 16.0), plane.uniform(-0.15, 0.15)
    outer = plane.ellipse(x, y, plane.uniform(12.0, 15.0), plane.uniform(14.0, 16.0), tilt, 0.4)
    plane.fill(outer, ECHO_DB["muscle"] + 4.0 + plane.grain(1.0, 1.0), MUSCLE)
    plane.line(outer, ECHO_DB["fascia"] - 2, 0.4)
    blood = ECHO_DB["vessel"] + 6.0 + 2.0 * plane.texture.field(1.5, 1.5)
    septum, valve = plane.uniform(0.8, 1.4), y + plane.uniform(2.0, 5.0)
    for side, wide, top in ((1, plane.uniform(4.2, 5.2), 9.0), (-1, plane.uniform(3.2, 4.2), 7.5)):
        ventricle = plane.ellipse(x + side * (septum + wide), valve - top, wide, top, 0.05 * side, 0.3)
        atrium = plane.ellipse(x + side * (septum + wide), valve + 5.5, wide, 4.6, 0.0, 0.3)
        plane.fill(ventricle, blood, FLUID)
        plane.fill(atrium, blood, FLUID)
        cusp = np.where(np.abs(plane.x - x - side * (septum + wide)) < 0.8 * wide, plane.y - valve + 0.3, 9.0)
        bend = plane.uniform(0.2, 0.6) * np.abs(plane.x - x - side * (septum + wide))
        plane.line(cusp.astype(np.float32) + bend.astype(np.float32), 4.0, 0.3, 0.9)
    plane.line(plane.band(-50.0, end), ECHO_DB["fascia"], 0.4, 0.5)


def _muscle(plane: Plane) -> None:
    """A limb: fat, muscles with slanted bright fibres between fasciae, the surface of a bone."""
    skin = plane.uniform(1.0, 1.6)
    depths = np.cumsum([plane.uniform(3.0, 7.0), plane.uniform(6.0, 12.0), plane.uniform(6.0, 12.0)])
    slope = plane.uniform(-0.12, 0.12)
    borders = [plane.surface(float(depth), 0.35, slope * index) for index, depth in enumerate(depths)]
    for top, bottom in zip(borders, [*borders[1:], borders[-1] + 99.0], strict=True):
        pitch, lean = plane.uniform(0.9, 1.6), plane.uniform(-0.4, 0.4)
        phase = (plane.y - lean * plane.x + 0.25 * plane.texture.field(1.5, 4.0)) * 2 * math.pi / pitch
        fibres = np.clip(np.cos(phase) - 0.55, 0, 1) * (0.5 + 0.5 * plane.texture.field(1.0, 3.0) ** 2)
        plane.fill(plane.band(top, bottom), ECHO_DB["muscle"] - 2.0 + 18.0 * np.clip(fibres, 0, 1), MUSCLE)
        plane.line(plane.y - top, ECHO_DB["fascia"] + 2, 0.3)
    lobules = np.clip(plane.texture.field(0.5, 3.0, layered=True) - 0.9, 0, 1.5)
    plane.fill(plane.band(-50.0, borders[0] - 0.2), ECHO_DB["fat"] - 3.0 + 12.0 * lobules, TISSUE)
    plane.fill(plane.band(-50.0, skin), ECHO_DB["skin"], TISSUE)
    if plane.rng.random() < 0.7:
        bone = plane.ellipse(plane.uniform(-8, 8), plane.depth + 6, plane.uniform(12, 25), plane.uniform(8, 13))
        plane.fill(bone, ECHO_DB["fluid"], BONE)
        plane.line(bone, ECHO_DB["fascia"] + 8, 0.4)


def _breast(plane: Plane) -> None:
    """Dark fat lobules between bright ligaments, a plate of glandular tissue, pectoral muscle, ribs."""
    muscle = plane.surface(plane.uniform(18.0, 26.0), 0.6)
    top = plane.surface(plane.uniform(4.0, 8.0), 1.2)
    bottom = np.minimum(top + np.abs(plane.surface(plane.uniform(6.0, 12.0), 2.0)), muscle - 1.5)
    stripes = np.clip(plane.texture.field(0.5, 1.6) - 0.4, 0, 1.5)
    plane.echo[...] = ECHO_DB["fat"] - 4.0 + plane.grain(0.8, 0.8)
    for _ in range(int(plane.rng.integers(9, 16))):
        lobule = plane.ellipse(
            plane.uniform(-1, 1) * plane.width,
            plane.uniform(2, 24),
            plane.uniform(3, 7),
            plane.uniform(1.5, 3.5),
            plane.uniform(-0.3, 0.3),
            0.3,
        )
        plane.line(lobule, 5.0, 0.28, 0.8)
    plane.fill(plane.band(top, bottom), 3.0 + 4.0 * stripes + plane.grain(1.5, 1.2), TISSUE)
    for _ in range(int(plane.rng.integers(2, 7))):
        duct = plane.ellipse(
            plane.uniform(-1, 1) * plane.width, float(top.mean()) + 4, plane.uniform(1, 3), 0.5, 0.1, 0.2
        )
        plane.fill(duct, ECHO_DB["hypoechoic"] - 4, TISSUE)
    fibres = np.clip(plane.texture.field(0.25, 5.0, layered=True) - 0.3, 0, 1.5)
    plane.fill(plane.band(muscle, 99.0), ECHO_DB["muscle"] + 8.0 * fibres, MUSCLE)
    plane.line(plane.y - muscle, ECHO_DB["fascia"], 0.3)
    plane.fill(plane.band(-50.0, 1.4), ECHO_DB["skin"] + 2, TISSUE)
    rib, gap = float(muscle.mean()) + plane.uniform(4.0, 6.0), plane.uniform(14.0, 20.0)
    start = plane.uniform(-0.5, 0.5) * gap
    pleura = plane.surface(rib + 5.0, 0.2)
    plane.fill(plane.band(pleura, 99.0), ECHO_DB["trachea"] - 4.0, AIR)
    plane.line(plane.y - pleura, ECHO_DB["fascia"] + 4, 0.3)
    for index in (-1, 0, 1):
        bone = plane.ellipse(start + index * gap, rib + 2.0, plane.uniform(4, 6), 2.2, 0.0, 0.1)
        plane.fill(bone, ECHO_DB["hypoechoic"] - 6, BONE)
        plane.line(bone, ECHO_DB["fascia"], 0.3, 0.8)


def _lung(plane: Plane) -> None:
    """Chest wall, ribs with shadows, the pleura, and below it only its echoes (A lines) and comet tails (B lines)."""
    pleura_depth = plane.uniform(7.0, 13.0)
    pleura = plane.surface(pleura_depth, 0.15)
    stripes = np.clip(plane.texture.field(0.25, 4.0, layered=True) - 0.4, 0, 1.5)
    plane.fill(plane.band(-50.0, pleura), ECHO_DB["muscle"] + 8.0 * stripes, MUSCLE)
    plane.fill(plane.band(-50.0, pleura_depth * 0.35), ECHO_DB["fat"] + 8.0 * stripes, TISSUE)
    plane.fill(plane.band(-50.0, 0.9), ECHO_DB["skin"], TISSUE)
    below = plane.y - pleura
    air = ECHO_DB["trachea"] - 6.0 - 0.35 * below + 2.0 * plane.texture.field(0.6, 2.5)
    plane.fill(-below, air, TISSUE)
    for order in (2, 3, 4):
        plane.line(plane.y - order * pleura, 2.0 - 4.0 * order, 0.4)
    for _ in range(int(plane.rng.integers(0, 4))):
        x, spread = plane.uniform(-1, 1) * plane.width, plane.uniform(0.4, 1.2)
        tail = np.exp(-(((plane.x - x) / (spread + 0.03 * np.maximum(below, 0))) ** 2)) * (below > 0)
        plane.echo[...] += 14.0 * tail
    plane.line(below, ECHO_DB["fascia"] + 6, 0.35)
    gap, start = plane.uniform(16.0, 22.0), plane.uniform(-8.0, 8.0)
    for index in (-1, 0, 1):
        rib = plane.ellipse(start + index * gap, pleura_depth - 1.5, plane.uniform(4.0, 5.5), 2.2, 0.0, 0.1)
        plane.fill(rib, ECHO_DB["hypoechoic"], 12.0)
        plane.line(rib, ECHO_DB["fascia"] + 4, 0.35, np.clip((pleura_depth - 1.0 - plane.y) / 2, 0, 1))


def _eye(plane: Plane) -> None:
    """The globe: cornea, lens, dark vitreous, bright retina, orbital fat with the dark optic nerve."""
    radius, x, y = plane.uniform(10.5, 12.5), plane.uniform(-4, 4), plane.uniform(13.5, 15.5)
    plane.echo[...] = 3.0 + plane.grain(2.5, 1.5)
    lid = plane.surface(y - radius + plane.uniform(0.2, 1.0), 0.1)
    plane.fill(plane.band(-50.0, lid), ECHO_DB["fat"] + 2 * plane.texture.field(0.3, 2.0), TISSUE)
    nerve_x = x + plane.uniform(-3, 3)
    nerve = np.where(plane.y > y, np.abs(plane.x - nerve_x - 0.1 * (plane.y - y)) - 1.6, 9.0)
    plane.fill(nerve, ECHO_DB["markedly hypoechoic"] - 4, TISSUE)
    globe = plane.ellipse(x, y, radius * plane.uniform(1.0, 1.06), radius, 0.0, 0.1)
    haze = plane.uniform(0.0, 6.0) * np.clip(plane.texture.field(1.0, 2.0), 0, 2)
    plane.fill(globe, ECHO_DB["fluid"] + haze, FLUID)
    plane.line(globe, ECHO_DB["fascia"] - 2, 0.4)
    lens = plane.ellipse(x, y - radius + 4.0, 4.6, 2.0)
    facing = (np.abs(lens) < 1.5) * np.clip(1 - ((plane.x - x) / 3.5) ** 2, 0, 1)
    plane.line(lens, ECHO_DB["fascia"], 0.25, facing)
    iris = np.where(np.abs(plane.x - x) > 3.0, plane.y - y + radius - 2.6, 9.0)
    plane.line(np.where(globe < 0, iris, 9.0).astype(np.float32), 2.0, 0.4)


def _phantom(plane: Plane) -> None:
    """No organ at all: a few wavy layers, then bodies, vessels and cysts anywhere."""
    depth = 0.0
    while depth < plane.depth:
        top, depth = plane.surface(depth, 0.5, plane.uniform(-0.1, 0.1)), depth + plane.uniform(2.0, 16.0)
        grain = plane.texture.field(plane.uniform(0.2, 1.5), plane.uniform(0.4, 5.0), layered=plane.rng.random() < 0.5)
        plane.fill(plane.band(top, 99.0), plane.uniform(-12.0, 5.0) + plane.uniform(0.5, 4.0) * grain, TISSUE)
        if plane.rng.random() < 0.6:
            plane.line(plane.y - top, plane.uniform(0.0, ECHO_DB["fascia"]), plane.uniform(0.15, 0.4))
    for _ in range(int(plane.rng.integers(0, 7))):
        x, y = plane.uniform(-1, 1) * plane.width, plane.uniform(0.1, 1.0) * plane.depth
        wide, tall = plane.uniform(1.5, 14.0), plane.uniform(1.5, 8.0)
        body = plane.ellipse(x, y, wide, tall, plane.uniform(-0.8, 0.8), plane.uniform(0.0, 0.6))
        if plane.rng.random() < 0.35:
            plane.fill(body, ECHO_DB["fluid"] + plane.uniform(0.0, 12.0), FLUID)
        else:
            plane.fill(body, plane.uniform(-12.0, 6.0) + plane.grain(1.5, 1.0), plane.uniform(0.5, 2.5))
        if plane.rng.random() < 0.6:
            plane.line(body, plane.uniform(0.0, ECHO_DB["fascia"]), 0.3, 0.9)


# Painter, by how much deeper than 40 mm the organ is seen, and how often with a curved or sector probe.
_PAINTERS: Mapping[str, tuple[Callable[[Plane], None], tuple[float, float], float]] = {
    "liver": (_liver, (2.5, 4.0), 0.7),
    "kidney": (_kidney, (2.5, 3.5), 0.7),
    "bladder": (_bladder, (2.5, 3.5), 0.7),
    "heart": (_heart, (3.0, 4.5), 1.0),
    "muscle": (_muscle, (1.0, 1.5), 0.0),
    "breast": (_breast, (0.9, 1.3), 0.0),
    "lung": (_lung, (1.0, 2.0), 0.3),
    "eye": (_eye, (0.9, 1.1), 0.0),
    PHANTOM: (_phantom, (0.9, 4.0), 0.4),
}
ORGANS = tuple(name for name in _PAINTERS if name != PHANTOM)
