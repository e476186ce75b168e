"""The paper's published risk model as an atlas: coloured points of a web page, mapped to the template.

Comes in: the page (`risk_page.html`), which draws one ball a point and says neither unit nor label. Goes out: an
`Atlas` of the method `published`, whose `about` says what had to be assumed, and a table of the points.

Its risk is relative, 0-1, read from the colours' hue. It has no interval and no count of patients, and since the
points lie on the gland's surface, the inside is blank.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import cKDTree

from llnm.atlas.colours import values_of
from llnm.atlas.model import Atlas, Template
from llnm.atlas.template import ISTHMUS, PYRAMIDAL, label_gland
from llnm.errors import InputError

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.uint8]
# A point is a colour and then a place; the camera has a place too.
_POINT = re.compile(r"THREE\.Color\(([^)]*)\)|(?<!camera)\.position\.set\(([^)]*)\)")
_FEWEST_POINTS = 200
# The points are at most 6 of 180 units apart: 2 mm voxels of the template leave no hole between them.
_FILL_MM = 2.0
_SPREAD_MM, _REACH_MM, _DEPTH_MM, _NEIGHBOURS = 1.0, 6.0, 3.0, 16
_PARTS = {"left lobe": range(1, 13), "right lobe": range(13, 25), "isthmus": (ISTHMUS,), "pyramidal lobe": (PYRAMIDAL,)}
ORIENTATION = (
    "x of the page runs to the patient's left, y to the head, z to the front. Checked: the isthmus lies in front of "
    "the lobes and below their middle; with that, three.js's right-handed axes leave only x to the left; and the "
    "paper's reading (hottest in the upper middle of the left lobe, then upper right lobe) then holds. Each axis of "
    "the page is scaled to 38-218, so its proportions are not those of a thyroid."
)


@dataclass(frozen=True)
class PublishedPoints:
    """What the page holds, point by point.

    `position` (n, 3): as in the page, no unit. `value` (n,): relative risk 0-1 by hue. `distance` (n,): of the point's
    colour from the map's, Euclidean in RGB 0-1.
    """

    position: Floats
    value: Floats
    distance: Floats


def read_page(path: Path) -> PublishedPoints:
    """The points of a page; raises InputError that names what is missing or wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is no UTF-8 text; give the published page as it was saved") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    if "</html>" not in text[-1000:].lower():
        raise InputError(f"{path}: does not end as a page does (</html>), so it is cut off or no page; save it anew")
    found = _POINT.findall(text)
    colours = [colour for colour, _ in found if colour]
    positions = [position for _, position in found if position]
    for what, numbers in (("THREE.Color(...)", colours), ("position.set(...)", positions)):
        if not numbers:
            raise InputError(f"{path}: holds no {what} of points; give the published 3D page (risk_page.html)")
    # Colour, position, colour, position, to the end.
    paired = len(found) % 2 == 0 and all(bool(colour) == (n % 2 == 0) for n, (colour, _) in enumerate(found))
    if not paired:
        raise InputError(
            f"{path}: {len(colours)} colours and {len(positions)} positions do not make pairs; save the page anew"
        )
    colour, position = _numbers(colours, path, "colour"), _numbers(positions, path, "position")
    if len(colour) < _FEWEST_POINTS:
        raise InputError(f"{path}: {len(colour)} points are no gland ({_FEWEST_POINTS} at least); save the page anew")
    if colour.min() < 0 or colour.max() > 1:
        raise InputError(f"{path}: colours must be numbers from 0 to 1; save the page anew")
    value, distance = values_of(colour)
    if np.isnan(value).any() or np.median(distance) > 0.15:
        raise InputError(f"{path}: its colours are not of the map YlOrRd; no risk can be read from them")
    return PublishedPoints(position, value, distance)


def import_page(path: Path, template: Template) -> tuple[Atlas, PublishedPoints]:
    """The page as an atlas on `template`, and its points; raises InputError where the page is something else.

    Left lobe, right lobe, isthmus and pyramidal lobe are told apart as in any template (`label_gland`), and each is
    moved to the template's by the affine map that makes means and covariances of the two shapes equal and keeps height
    height. A voxel up to 3 mm below the surface takes the mean of the points nearest to it (Gaussian, 1 mm). It is
    blank where none is within 6 mm, and so is the inside.
    """
    points = read_page(path)
    placed, parts = _placed(points.position, template, path)
    gland = template.labels > 0
    depth = ndimage.distance_transform_edt(gland, sampling=template.spacing_mm)
    inside = np.argwhere(gland & (depth <= _DEPTH_MM))
    found = cKDTree(placed).query(template.position(inside), k=_NEIGHBOURS)
    distance, nearest = np.asarray(found[0]), np.asarray(found[1])
    # Relative to the nearest point, since the two surfaces are not the same everywhere.
    weight = np.exp(-0.5 * (distance**2 - distance[:, :1] ** 2) / _SPREAD_MM**2)
    mean = (weight * points.value[nearest]).sum(axis=1) / weight.sum(axis=1)
    mean[distance[:, 0] > _REACH_MM] = np.nan
    blank = np.full(template.labels.shape, np.nan, np.float32)
    risk = blank.copy()
    risk[tuple(inside.T)] = mean
    off = points.distance
    about = {
        "source": path.name,
        "points": len(points.value),
        "points_by_part": parts,
        "orientation": ORIENTATION,
        "values": "relative risk by the hue of YlOrRd; light and shade, which the page adds, do not move the hue",
        "colour_distance": {
            "unit": "Euclidean in RGB, each 0-1, from the map's colour of the same hue",
            **{name: round(float(np.percentile(off, share)), 4) for name, share in _SHARES.items()},
        },
        "mapping": "each part by mean and covariance to the template's; Gaussian mean of 1 mm, 3 mm deep",
        "surface_only": "the points lie on the surface, so the inside of the gland is blank",
        "patients": None,
        "interval": None,
    }
    return Atlas(template, risk, blank, blank.copy(), blank.copy(), "published", about), points


_SHARES: Mapping[str, float] = {"median": 50, "95 %": 95, "largest": 100}


def points_table(points: PublishedPoints) -> str:
    """The points as CSV: position in the page, relative risk, and how far the colour is from the map."""
    rows = np.column_stack([points.position, points.value, points.distance])
    lines = [",".join(f"{number:.5g}" for number in row) for row in rows]
    return "\n".join(["x,y,z,relative_risk,colour_distance", *lines]) + "\n"


def _numbers(triples: list[str], path: Path, what: str) -> Floats:
    try:
        numbers = np.array([[float(part) for part in triple.split(",")] for triple in triples])
    except ValueError:
        numbers = np.empty((0, 0))
    if numbers.ndim != 2 or numbers.shape[1] != 3 or not np.isfinite(numbers).all():
        raise InputError(f"{path}: a {what} is not three finite numbers; save the page anew")
    return numbers


def _placed(position: Floats, template: Template, path: Path) -> tuple[Floats, dict[str, Any]]:
    """RAS mm of the points in the template, and how many are of each part."""
    gland = template.position(np.argwhere(template.labels > 0))
    low, high = gland.min(axis=0), gland.max(axis=0)
    ras = position[:, [0, 2, 1]] * (-1, 1, 1)
    extent = np.ptp(ras, axis=0)
    if extent.min() <= 0:
        raise InputError(f"{path}: its points lie in a plane, which is no gland; save the page anew")
    # Axis by axis to the template's size: the page has no unit, and the same extent on each axis.
    ras = low + (ras - ras.min(axis=0)) / extent * (high - low)
    labels, affine = _filled(ras, path)
    shape = Template(labels, affine, {}, "")
    found = labels[tuple(np.round(shape.index(ras)).astype(int).T)]
    _check_orientation(shape, path)
    counts = {}
    for name, members in _PARTS.items():
        here = np.isin(found, members)
        counts[name] = int(here.sum())
        source = shape.position(np.argwhere(np.isin(labels, members)))
        target = template.position(np.argwhere(np.isin(template.labels, members)))
        if here.any() and len(target) > 3 and len(source) > 3:
            ras[here] = _moved(ras[here], source, target)
    return ras, counts


def _filled(ras: Floats, path: Path) -> tuple[Labels, Floats]:
    """The gland inside the points, with its regions, on a grid of its own."""
    affine = np.diag([_FILL_MM] * 3 + [1.0])
    affine[:3, 3] = ras.min(axis=0) - 4 * _FILL_MM
    index = np.round((ras - affine[:3, 3]) / _FILL_MM).astype(int)
    surface = np.zeros(index.max(axis=0) + 5, bool)
    surface[tuple(index.T)] = True
    filled = ndimage.binary_fill_holes(ndimage.binary_closing(surface, iterations=2))
    try:
        return label_gland(filled | surface), affine
    except InputError as error:
        raise InputError(f"{path}: its points are no thyroid ({error})") from error


def _check_orientation(shape: Template, path: Path) -> None:
    """The isthmus joins the lobes in front and below their middle; else the page's axes are not as assumed."""
    isthmus = shape.position(np.argwhere(shape.labels == ISTHMUS))
    lobes = shape.position(np.argwhere((shape.labels > 0) & (shape.labels < ISTHMUS)))
    if not len(isthmus):
        raise InputError(f"{path}: no isthmus joins its lobes, so its orientation cannot be told; save the page anew")
    # Forwards and upwards, mm.
    _, forwards, upwards = isthmus.mean(axis=0) - lobes.mean(axis=0)
    if forwards <= 0 or upwards >= 0:
        raise InputError(
            f"{path}: its middle is not in front of its sides and below theirs: it is no thyroid, or its axes are not "
            "x to the left, y to the head, z to the front; give the published page as it was saved"
        )


def _moved(points: Floats, source: Floats, target: Floats) -> Floats:
    """`points` by the affine map that gives `source` the mean and covariance of `target`; height stays height.

    Cholesky factors in the order height, depth, across make the map triangular: height is only scaled, depth may lean
    with height, across with both.
    """
    order = [2, 1, 0]
    start, end = (np.linalg.cholesky(np.cov(shape[:, order].T) + 1e-6 * np.eye(3)) for shape in (source, target))
    moved = (points - source.mean(axis=0))[:, order] @ np.linalg.solve(start.T, end.T)
    return np.asarray(moved[:, order] + target.mean(axis=0))
