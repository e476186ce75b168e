"""The atlas as a page: one HTML file to turn, cut and ask in a browser, without a network.

Comes in: an `Atlas` and, if wanted, a patient's `Marker`. Goes out: HTML text. `templates/atlas.html` gets words that
are ready to print, every one escaped; the scripts get the voxels and the surface as one block of JSON.

Drawn by WebGL without a library: plotly's surface of the same gland turned at 3 frames a second where this runs at 30
and more (software rendering, two busy cores).
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from llnm import NOTICE, __version__
from llnm.atlas.colours import NO_EVIDENCE, YLORRD, colours_of
from llnm.atlas.marker import Marker
from llnm.atlas.model import REGIONS_TABLE, Atlas
from llnm.atlas.surface import Grid, grid_of, surface_of
from llnm.errors import InputError
from llnm.files import write_text
from llnm.html import page_template

Context = dict[str, Any]
# One byte a voxel and volume: 255 is blank, else 254 steps.
_BLANK, _STEPS = 255, 254
_SLICE_PIXELS = 300
METHODS = {
    "beta": "probability of metastasis, smoothed counts with a Beta prior",
    "class means": "difference of the class means, scaled to 0-1: a relative risk, not a probability",
    "sum": "equation 15 of the paper, scaled to 0-1: a relative risk, not a probability",
    "published": "colours of the paper's published page, 0-1: a relative risk, not a probability",
}


def write_page(atlas: Atlas, path: Path, marker: Marker | None = None, counted: Sequence[Context] = ()) -> None:
    """Write the page; raises InputError where the atlas cannot be drawn or the file not be written."""
    write_text(path, render_page(atlas, marker, counted))


def read_regions(folder: Path) -> list[Context]:
    """Rows of the `regions.csv` that `llnm atlas build` writes: name, probability, low, high, patients, hot.

    Empty where an atlas has no such file; raises InputError where it cannot be read.
    """
    path = folder / REGIONS_TABLE
    if not path.exists():
        return []
    try:
        table = pd.read_csv(path).astype(object).replace(np.nan, None)
        rows = table[["name", "probability", "low", "high", "patients", "hot"]].to_dict("records")
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: is no table of regions ({error}); build the atlas again") from error
    return [{str(name): value for name, value in row.items()} for row in rows]


def render_page(atlas: Atlas, marker: Marker | None = None, counted: Sequence[Context] = ()) -> str:
    """The page: scripts, styles and data inside, nothing from outside, which its content policy also forbids.

    `counted`: the regions' risks as patients were counted (`read_regions`); without, means over voxels stand. Raises
    InputError for an atlas without gland or whose grid is not along the axes of the body.
    """
    grid = grid_of(atlas)
    top = _top(grid.risk)
    return page_template("llnm.atlas", "atlas.html").render(
        notice=NOTICE,
        version=__version__,
        summary=_summary(atlas),
        notes=_notes(atlas, grid),
        probability=atlas.is_probability,
        scale=_scale(atlas, top),
        marker=marker and _marker_words(marker),
        regions=_counted(counted, atlas) if counted else _averaged(atlas, top),
        counted=bool(counted),
        facts=_facts(atlas),
        ramp=YLORRD,
        no_evidence=NO_EVIDENCE,
        data=_data(atlas, grid, top, marker),
    )


def _data(atlas: Atlas, grid: Grid, top: float, marker: Marker | None) -> Context:
    vertices, triangles = surface_of(grid)
    volumes = (grid.around(grid.risk), grid.low, grid.high)
    gland = grid.origin + grid.spacing * np.argwhere(grid.labels)
    low, high = gland.min(axis=0), gland.max(axis=0)
    middle = _centres(grid)
    start = (marker.position - grid.origin) / grid.spacing if marker else middle[_hottest(grid)]
    names = {label: atlas.template.regions.get(label, f"region {label}") for label in middle}
    return {
        "shape": grid.labels.shape,
        "origin": grid.origin.tolist(),
        "spacing": grid.spacing.tolist(),
        "voxels": _packed(np.stack([grid.labels, *map(_bytes, volumes)]).transpose(0, 3, 2, 1)),
        "surface": {"vertices": _packed(vertices), "triangles": _packed(triangles)},
        "ramp": YLORRD,
        "grey": NO_EVIDENCE,
        "top": top,
        "probability": atlas.is_probability,
        "short": _scale(atlas, top)["short"],
        "regions": names,
        "centres": {label: index.tolist() for label, index in middle.items()},
        "centre": ((low + high) / 2).tolist(),
        "half": ((high - low) / 2).tolist(),
        "radius": float(np.linalg.norm(high - low) / 2),
        "pixels": _SLICE_PIXELS / float((np.array(grid.labels.shape) * grid.spacing).max()),
        "start": np.clip(np.round(start), 0, np.array(grid.labels.shape) - 1).astype(int).tolist(),
        "place": marker and marker.position.tolist(),
    }


def _bytes(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Values 0-1 in 254 steps, blanks 255."""
    return np.where(np.isnan(values), _BLANK, np.round(np.clip(np.nan_to_num(values), 0, 1) * _STEPS)).astype(np.uint8)


def _packed(values: npt.NDArray[Any]) -> str:
    return base64.b64encode(zlib.compress(np.ascontiguousarray(values).tobytes(), 9)).decode("ascii")


def _top(risk: npt.NDArray[np.float32]) -> float:
    """Where the colour scale ends: the largest risk, rounded up to a fifth."""
    highest = float(np.nanmax(risk)) if np.isfinite(risk).any() else 1.0
    return float(np.clip(np.ceil(highest * 5 - 1e-6) / 5, 0.2, 1.0))


def _scale(atlas: Atlas, top: float) -> Context:
    title, short, factor, unit = "Relative risk (0-1, no unit)", "Relative risk", 1, ""
    if atlas.is_probability:
        title, short, factor, unit = "Probability of metastasis (%)", "Probability", 100, " %"
    ticks = [f"{factor * top * n / 4:.3g}{unit}" for n in range(5)]
    return {"title": title, "short": short, "ticks": ticks, "top": top, "step": 0.01}


def _averaged(atlas: Atlas, top: float) -> list[Context]:
    """Rows of the table from the voxels, highest risk first and regions without evidence last."""
    rows = []
    for label, name in atlas.template.regions.items():
        here = atlas.template.labels == label
        if not here.any():
            continue
        risk, low, high = (_mean(values[here]) for values in (atlas.risk, atlas.low, atlas.high))
        colour = None
        if risk is not None:
            colour = "#" + "".join(f"{round(255 * part):02x}" for part in colours_of(min(risk / top, 1)))
        row = {"label": label, "name": name, "risk": risk, "low": low, "high": high, "colour": colour}
        rows.append(row | {"known": _share(float(np.isfinite(atlas.risk[here]).mean()))})
    return sorted(rows, key=lambda row: (row["risk"] is None, -(row["risk"] or 0)))


def _counted(counted: Sequence[Context], atlas: Atlas) -> list[Context]:
    """Rows of the table as the patients were counted, in the order of that table."""
    labels = {name: label for label, name in atlas.template.regions.items()}
    return [
        row | {"label": labels[row["name"]], "risk": row["probability"], "hot": str(row["hot"]) == "True"}
        for row in counted
        if row["name"] in labels
    ]


def _share(part: float) -> str:
    """Whole per cent; what is more than nothing does not round to 0."""
    return "<1 %" if 0 < part < 0.01 else f"{part * 100:.0f} %"


def _mean(values: npt.NDArray[np.float32]) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else None


def _centres(grid: Grid) -> dict[int, npt.NDArray[np.int64]]:
    """Of each region the voxel nearest to its middle, as an index that lies inside it."""
    found = {}
    for label in np.unique(grid.labels[grid.labels > 0]).tolist():
        index = np.argwhere(grid.labels == label)
        found[label] = index[np.linalg.norm(index - index.mean(axis=0), axis=1).argmin()]
    return found


def _hottest(grid: Grid) -> int:
    """The label where the slices first meet: the region of highest risk, or any."""
    means = {
        label: _mean(grid.risk[grid.labels == label]) for label in np.unique(grid.labels[grid.labels > 0]).tolist()
    }
    return max(means, key=lambda label: -1.0 if means[label] is None else float(means[label] or 0))


def _marker_words(marker: Marker) -> Context:
    ends = (("right", "left"), ("front", "back"), ("up", "down"))
    unit = "\N{NO-BREAK SPACE}mm"
    parts = [f"{abs(mm):.0f}{unit} {pair[int(mm < 0)]}" for mm, pair in zip(marker.position, ends, strict=True)]
    return vars(marker) | {"position": ", ".join(parts)}


def _summary(atlas: Atlas) -> str:
    """What the atlas shows, and of whom where it says so."""
    about = atlas.about
    parts = [METHODS.get(atlas.method, atlas.method)]
    if isinstance(about.get("patients"), int):
        parts.append(f"{about['patients']:,} patients")
    if isinstance(about.get("cohort"), str):
        parts.append(about["cohort"])
    return "; ".join(parts)


def _notes(atlas: Atlas, grid: Grid) -> list[str]:
    notes = []
    known = float(np.isfinite(grid.risk[grid.labels > 0]).mean())
    if not known:
        notes.append("No voxel of this atlas has evidence: it says nothing about risk.")
    elif known < 0.05:
        notes.append(f"Only {_share(known)} of the gland has evidence; nothing is known of the rest.")
    if not atlas.is_probability:
        notes.append("Relative risk orders places; it is no probability of metastasis.")
    return notes


def _facts(atlas: Atlas) -> list[tuple[str, str]]:
    rows = [("Method", METHODS.get(atlas.method, atlas.method)), ("Template", atlas.template.source)]
    return rows + [(str(name).replace("_", " ").capitalize(), _plain(value)) for name, value in atlas.about.items()]


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {_plain(part)}" for name, part in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(_plain(part) for part in value) or "none"
    if isinstance(value, bool) or value is None:
        return {None: "not stated", True: "yes", False: "no"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)
