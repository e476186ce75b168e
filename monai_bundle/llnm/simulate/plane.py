"""The plane that tissues are painted on, along straight or fanned-out beams, and its way to the screen.

Comes in: the window that is shown and the probe's geometry. Goes out: an empty `Plane` with methods to paint on, and,
from what `speckle` makes of it, the picture. Lengths in mm, echoes in dB relative to a normal thyroid, attenuations in
dB/mm (there and back).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import map_coordinates

from llnm.simulate.scene import ECHO_DB
from llnm.simulate.texture import Texture
from llnm.simulate.views import Window

Array = npt.NDArray[np.float32]

_BEAMS = 260
TISSUE, FLUID, MUSCLE, BONE, AIR = 0.8, 0.1, 1.0, 3.5, 2.0
"""Attenuations, dB/mm there and back."""


@dataclass(frozen=True)
class Plane:
    """What is painted on: maps of echo (dB), attenuation (dB/mm) at the points x, y (mm), rows along the beams."""

    x: Array
    y: Array
    echo: Array
    attenuation: Array
    texture: Texture
    rng: np.random.Generator
    spread_db: float = 0.0
    """Standard deviation of what is added to the echo of every tissue: 0 keeps them as they are."""

    @property
    def width(self) -> float:
        """Half the width of the picture."""
        return float(self.x.max())

    @property
    def depth(self) -> float:
        """Largest depth."""
        return float(self.y.max())

    def uniform(self, low: float, high: float) -> float:
        """A random number."""
        return float(self.rng.uniform(low, high))

    def grain(self, coarse_db: float, fine_db: float) -> Array:
        """Unevenness of a parenchyma, dB."""
        return coarse_db * self.texture.field(1.6, 1.8) + fine_db * self.texture.field(0.45, 0.6)

    def fill(self, level: Array, echo: Array | float, attenuation: float) -> None:
        """Tissue where `level` (mm) is negative."""
        inside = level < 0
        self.echo[inside] = np.broadcast_to(echo, inside.shape)[inside] + self.rng.normal(0.0, self.spread_db)
        self.attenuation[inside] = attenuation

    def line(self, level: Array, height_db: float, width_mm: float, strength: Array | float = 1.0) -> None:
        """An interface along the zero of `level`."""
        near = strength * np.exp(-((level / width_mm) ** 2))
        self.echo[...] += near * np.maximum(height_db - self.echo, 0.0)

    def ellipse(self, x: float, y: float, wide: float, tall: float, tilt: float = 0.0, wavy: float = 0.0) -> Array:
        """Level of an ellipse, mm, with an uneven outline of `wavy` mm."""
        u, v = self.x - x, self.y - y
        u, v = u * math.cos(tilt) + v * math.sin(tilt), v * math.cos(tilt) - u * math.sin(tilt)
        level = min(wide, tall) * (np.hypot(u / wide, v / tall) - 1.0)
        return level + wavy * self.texture.field(2.5, 2.5) if wavy else level

    def band(self, top: Array | float, bottom: Array | float) -> Array:
        """Level of what lies between two depths."""
        return np.maximum(top - self.y, self.y - bottom)

    def surface(self, depth: float, roughness: float, slope: float = 0.0) -> Array:
        """Depth of a layer's wavy boundary, (1, beam)."""
        across = self.texture.across
        return (depth + roughness * self.texture.line(9.0) + slope * across)[None, :].astype(np.float32)

    def vessel(self, x: float, y: float, radius: float, angle: float, length: float, wall_db: float | None) -> None:
        """A vessel cut lengthwise or across: anechoic, with bright walls where `wall_db` says how bright."""
        u, v = self.x - x, self.y - y
        along, aside = u * math.cos(angle) + v * math.sin(angle), v * math.cos(angle) - u * math.sin(angle)
        aside = aside + 0.02 * along**2 * self.uniform(-1, 1)
        level = np.hypot(np.maximum(np.abs(along) - length / 2, 0.0), aside) - radius * (1 - 0.015 * along)
        self.fill(level, ECHO_DB["vessel"] + 10.0 * np.exp(np.minimum(level, 0) / 0.5), FLUID)
        if wall_db is not None:
            self.line(level - 0.15, wall_db, 0.3)


def empty_plane(window: Window, angle: float, radius: float, rng: np.random.Generator, spread_db: float) -> Plane:
    """An empty plane on the beam grid; `angle` is half the sector's opening in radians, 0 for a linear probe."""
    depth = window.rows()
    if angle == 0.0:
        across = np.linspace(-window.width / 2, window.width / 2, _BEAMS).astype(np.float32)
        x, y = (
            np.broadcast_to(across[None, :], (len(depth), _BEAMS)),
            np.broadcast_to(depth[:, None], (len(depth), _BEAMS)),
        )
    else:
        beams = np.linspace(-angle, angle, _BEAMS).astype(np.float32)
        across = beams * (radius + window.depth / 2)
        x = (radius + depth[:, None]) * np.sin(beams)[None, :]
        y = (radius + depth[:, None]) * np.cos(beams)[None, :] - radius
    texture = Texture(depth, across, rng)
    shape = x.shape
    echo, attenuation = np.full(shape, ECHO_DB["connective"], np.float32), np.full(shape, TISSUE, np.float32)
    return Plane(x.astype(np.float32), y.astype(np.float32), echo, attenuation, texture, rng, spread_db)


def scan_convert(grey: Array, window: Window, angle: float, radius: float) -> Array:
    """From beams to pixels by linear interpolation, black where no beam goes."""
    rows, spacing = window.rows(), window.spacing_mm
    if angle == 0.0:
        columns = np.linspace(0, grey.shape[1] - 1, window.shape[1])
        points = np.stack(np.meshgrid(np.arange(len(rows)), columns, indexing="ij"))
        return map_coordinates(grey, points, order=1, mode="nearest")
    reach = (radius + window.depth) * math.sin(angle)
    x = np.arange(-reach, reach, spacing)[None, :]
    top = radius * math.cos(angle) - radius  # the surface's outer ends stand higher than its middle is deep
    y = np.arange(top, window.depth, spacing)[:, None]
    distance, beam = np.hypot(x, y + radius), np.arctan2(x, y + radius)
    points = np.stack(
        [(distance - radius) / spacing - 0.5, (beam / angle + 1) / 2 * (grey.shape[1] - 1) + 0.0 * distance]
    )
    return map_coordinates(grey, points, order=1, mode="constant", cval=0.0)
