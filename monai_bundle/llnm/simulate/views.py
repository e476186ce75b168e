"""One ultrasound view of a simulated neck, with the masks of nodule, gland and carotid.

Comes in: anatomy, findings and a random generator. Goes out: a `llnm.case.View` with square pixels of known size
(mm), as a scanner would store it: sometimes with a black border and tick marks, never with text.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llnm.case import Mask, Plane, UltrasoundImage, View
from llnm.simulate.anatomy import Anatomy, Grid, sample_anatomy
from llnm.simulate.findings import Findings, sample_findings
from llnm.simulate.scene import ECHO_DB, build_scene, random_echoes
from llnm.simulate.speckle import Scanner, received_db, scattered_field

Array = npt.NDArray[np.float32]

SPACING_RANGE_MM = (0.06, 0.12)
COLUMN_RANGE = (400, 640)
_BEAM_MM = 0.16
_MAXIMUM_DEPTH_MM = 46.0
_NODULE_MARGIN_MM = 3.0


@dataclass(frozen=True)
class Window:
    """The rectangle of the plane that is shown: (mm) start across, width and depth from the skin; `spacing_mm`."""

    start: float
    width: float
    depth: float
    spacing_mm: float

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of the scan area."""
        return round(self.depth / self.spacing_mm), round(self.width / self.spacing_mm)

    def rows(self) -> Array:
        """Depth of every pixel row (mm)."""
        return ((np.arange(self.shape[0]) + 0.5) * self.spacing_mm).astype(np.float32)

    def columns(self) -> Array:
        """Position across of every pixel column (mm)."""
        return (self.start + (np.arange(self.shape[1]) + 0.5) * self.spacing_mm).astype(np.float32)


@dataclass(frozen=True)
class RenderedView:
    """A view with its carotid mask (None where the plane misses it), its window and the offset of the scan area."""

    view: View
    carotid: Mask | None
    window: Window
    offset: tuple[int, int]


def simulate_view(rng: np.random.Generator, plane: Plane, randomise: bool = False) -> View:
    """One view of a nodule of any kind with nodule and gland masks, for the training of segmentation networks.

    `randomise` draws every tissue's echo strength, the gain, the blur and the speckle far beyond real scanners.
    """
    findings = sample_findings(rng, any_nodule=True)
    anatomy = sample_anatomy(findings, rng)
    return render_view(anatomy, findings, plane, rng, randomise).view


def render_view(
    anatomy: Anatomy, findings: Findings, plane: Plane, rng: np.random.Generator, randomise: bool = False
) -> RenderedView:
    """The picture of the plane through the nodule's centre, pixels 0-1 in steps of 1/255."""
    window = sample_window(anatomy, plane, rng)
    scanner = Scanner.sample(rng, randomise)
    pixels = _scan(anatomy, findings, plane, window, scanner, rng, randomise)
    if randomise:
        pixels = _rephotograph(pixels, rng)
    grid = Grid.of(plane, anatomy.nodule.centre, window.rows(), window.columns())
    nodule = anatomy.nodule_level(grid)
    masks = {
        "nodule": nodule < 0,
        "gland": anatomy.gland_level(grid, nodule) < 0,
        "carotid": anatomy.carotid_level(grid) < 0,
    }
    framed, offset = _frame(pixels, window, rng)
    size = framed.shape
    placed = {name: _place(np.broadcast_to(mask, pixels.shape), size, offset) for name, mask in masks.items()}
    carotid = placed.pop("carotid")
    image = UltrasoundImage(
        pixels=(np.round(framed * 255) / 255).astype(np.float32),
        spacing_mm=(window.spacing_mm, window.spacing_mm),
        spacing_source="simulated",
    )
    view = View(plane, image, {"nodule": placed["nodule"], "gland": placed["gland"]})
    return RenderedView(view, carotid if carotid.any() else None, window, offset)


def sample_window(anatomy: Anatomy, plane: Plane, rng: np.random.Generator) -> Window:
    """What a sonographer would show of a plane: all of the nodule, and as much of the lobe as the probe is wide."""
    spacing = round(float(rng.uniform(*SPACING_RANGE_MM)), 4)
    width = float(np.clip(rng.uniform(36.0, 48.0), COLUMN_RANGE[0] * spacing, COLUMN_RANGE[1] * spacing))
    nodule = anatomy.nodule
    if plane == "transverse":
        reach, centre = 1.25 * nodule.semi[0] + _NODULE_MARGIN_MM, nodule.centre[0]
        start = rng.uniform(-9.0, 3.0) if anatomy.side > 0 else -rng.uniform(-9.0, 3.0) - width
    else:
        reach, centre = 1.25 * nodule.semi[2] + 3 * _NODULE_MARGIN_MM, -nodule.centre[2]
        start = centre - width * rng.uniform(0.3, 0.7)
    start = float(
        np.clip(start, min(centre + reach - width, centre - width / 2), max(centre - reach, centre - width / 2))
    )
    bottom = max(anatomy.lobe_centre[1] + anatomy.lobe_semi[1], nodule.centre[1] + 1.25 * nodule.semi[1])
    depth = min(bottom + rng.uniform(4.0, 14.0), max(_MAXIMUM_DEPTH_MM, bottom + 3.0))
    return Window(start, width, depth, spacing)


def _scan(
    anatomy: Anatomy,
    findings: Findings,
    plane: Plane,
    window: Window,
    scanner: Scanner,
    rng: np.random.Generator,
    randomise: bool,
) -> Array:
    """Speckle image of the window, (row, column) in 0-1."""
    beams = np.linspace(window.start, window.start + window.width, round(window.width / _BEAM_MM)).astype(np.float32)
    grid = Grid.of(plane, anatomy.nodule.centre, window.rows(), beams)
    echoes = random_echoes(rng) if randomise else ECHO_DB
    scene = build_scene(anatomy, findings, plane, grid, echoes, rng)
    amplitude = (10 ** (scene.echo_db / 20)).astype(np.complex64)
    steps = (window.spacing_mm, float(beams[1] - beams[0]))
    field = scattered_field(amplitude + scene.bright, steps, scanner, rng)
    level = received_db(field, scene.attenuation, steps, scanner, rng)
    level -= np.median(level[scene.gland]) if scene.gland.any() else 0.0
    level = _to_columns(level, beams, window.columns())
    grey = np.clip(scanner.gland_grey + level / scanner.dynamic_range_db, 0.0, 1.0)
    return (grey**scanner.gamma).astype(np.float32)


def _to_columns(level: Array, beams: Array, columns: Array) -> Array:
    """Scan conversion of a linear probe: linear interpolation between beams."""
    position = (columns - beams[0]) / (beams[1] - beams[0])
    left = np.clip(np.floor(position).astype(int), 0, len(beams) - 2)
    share = np.clip(position - left, 0.0, 1.0).astype(np.float32)
    return level[:, left] * (1 - share) + level[:, left + 1] * share


def _rephotograph(pixels: Array, rng: np.random.Generator) -> Array:
    """Uneven light, haze and inverted contrast ranges, as in photographs of a screen."""
    rows, columns = np.linspace(-1, 1, pixels.shape[0])[:, None], np.linspace(-1, 1, pixels.shape[1])[None, :]
    light = 1.0 + rng.normal(0, 0.12) * rows + rng.normal(0, 0.12) * columns
    low, high = rng.uniform(0.0, 0.2), rng.uniform(0.7, 1.0)
    return np.clip((low + (high - low) * pixels) * light, 0.0, 1.0).astype(np.float32)


def _frame(pixels: Array, window: Window, rng: np.random.Generator) -> tuple[Array, tuple[int, int]]:
    """Add what surrounds the scan area: nothing, or a black border with centimetre ticks."""
    if rng.random() < 0.35:
        return pixels, (0, 0)
    top, bottom = int(rng.integers(4, 40)), int(rng.integers(4, 40))
    left, right = int(rng.integers(8, 50)), int(rng.integers(8, 50))
    canvas = np.full((pixels.shape[0] + top + bottom, pixels.shape[1] + left + right), rng.uniform(0, 0.06), np.float32)
    canvas[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    if rng.random() < 0.7:
        column = left - 6 if rng.random() < 0.5 else left + pixels.shape[1] + 4
        for tick in range(math.floor(window.depth / 5.0) + 1):
            row = top + min(round(5.0 * tick / window.spacing_mm), pixels.shape[0] - 1)
            canvas[row, column - (2 if tick % 2 == 0 else 0) : column + 2] = 0.8
    return canvas, (top, left)


def _place(mask: Mask, size: tuple[int, ...], offset: tuple[int, int]) -> Mask:
    canvas = np.zeros(size, bool)
    canvas[offset[0] : offset[0] + mask.shape[0], offset[1] : offset[1] + mask.shape[1]] = mask
    return canvas
