"""The atlas as a scene of 3D Slicer: one folder with everything that the scene names.

Comes in: an `Atlas` and, if wanted, a patient's `Marker`. Goes out: `atlas.mrml` with the volumes (NIfTI), the gland
coloured by risk and its part without evidence (VTP), the colours, and the nodule (markups). Slicer opens the `.mrml`;
other tools open the files beside it. The XML is written from `templates/scene.mrml`: it needs neither Slicer nor VTK.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from llnm import NOTICE
from llnm.atlas.colours import NO_EVIDENCE, colours_of
from llnm.atlas.marker import Marker
from llnm.atlas.model import BLANK, Atlas, write_volume
from llnm.atlas.surface import grid_of, surface_of
from llnm.errors import MissingExtraError
from llnm.files import whole_file, write_text
from llnm.html import page_template

SCENE = "atlas.mrml"
_COLOURS = 256
# What Slicer demands at the head of a markups file; it is a name and is not fetched.
_MARKUPS = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)
_TITLES = {"risk": "Risk", "low": "Risk, low end of the 95 % interval", "high": "Risk, high end of the 95 % interval"}


def write_scene(atlas: Atlas, folder: Path, marker: Marker | None = None) -> Path:
    """Write the scene's folder and give the path of `atlas.mrml`, which is written last.

    Raises InputError where the atlas cannot be drawn or a file not be written, MissingExtraError without VTK.
    """
    grid = grid_of(atlas)
    vertices, triangles = surface_of(grid)
    models = _write_models(folder, vertices, triangles)
    volumes = [name for name in _TITLES if name == "risk" or np.isfinite(getattr(atlas, name)).any()]
    for name in volumes:
        values = getattr(atlas, name)
        write_volume(folder / f"{name}.nii.gz", np.where(np.isnan(values), BLANK, values), atlas.template.affine)
    write_volume(folder / "labels.nii.gz", atlas.template.labels, atlas.template.affine)
    shades = colours_of(np.arange(_COLOURS) / (_COLOURS - 1))
    write_text(folder / "risk.ctbl", _colour_table([(n, f"{n}", *shade) for n, shade in enumerate(shades)]))
    write_text(folder / "regions.ctbl", _colour_table(_region_colours(atlas)))
    if marker is not None:
        write_text(folder / "nodule.mrk.json", json.dumps(_markups(atlas, marker), indent=2))
    words = "probability of metastasis" if atlas.is_probability else "relative risk, 0-1, no probability"
    text = page_template("llnm.atlas", "scene.mrml").render(
        notice=NOTICE,
        units=words,
        top=_top(atlas),
        volumes=[(name, _TITLES[name]) for name in volumes],
        models=models,
        grey=" ".join(f"{int(NO_EVIDENCE[n : n + 2], 16) / 255:.3f}" for n in (1, 3, 5)),
        marker=marker,
    )
    write_text(folder / SCENE, text)
    return folder / SCENE


def _top(atlas: Atlas) -> float:
    """Where the colours end: at the largest risk of the atlas, or 1 without any."""
    return float(np.nanmax(atlas.risk)) if np.isfinite(atlas.risk).any() else 1.0


def _write_models(
    folder: Path, vertices: npt.NDArray[np.float32], triangles: npt.NDArray[np.uint32]
) -> list[tuple[str, str]]:
    """Write what there is of the two models; gives (file name, title) of each.

    They are two since a colour table has no colour for "not a number": a triangle is blank where a corner is.
    """
    known = vertices[:, 7] >= 0.5
    risk = vertices[:, 6] / np.maximum(vertices[:, 7], 1e-3)
    whole = known[triangles].all(axis=1)
    models = []
    for name, title, part in (("gland", "Gland, risk", whole), ("no_evidence", "Gland, no evidence", ~whole)):
        if part.any():
            scalars = risk if name == "gland" else None
            _write_vtp(folder / f"{name}.vtp", vertices[:, :6], triangles[part], scalars)
            models.append((name, title))
    return models


def _write_vtp(
    path: Path, vertices: npt.NDArray[Any], triangles: npt.NDArray[Any], risk: npt.NDArray[Any] | None
) -> None:
    """Write a model in RAS millimetres, and say so in the way that Slicer reads (field data `SPACE`)."""
    try:
        from vtkmodules.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray
        from vtkmodules.vtkCommonCore import vtkPoints, vtkStringArray
        from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkPolyData
        from vtkmodules.vtkIOXML import vtkXMLPolyDataWriter
    except ImportError as error:
        raise MissingExtraError("vtk", "atlas") from error
    used, corners = np.unique(triangles, return_inverse=True)
    model, points, cells, space = vtkPolyData(), vtkPoints(), vtkCellArray(), vtkStringArray()
    points.SetData(numpy_to_vtk(np.ascontiguousarray(vertices[used, :3]), deep=True))
    size = np.full((len(triangles), 1), 3)
    listed = np.hstack([size, corners.reshape(-1, 3)]).astype(np.int64).ravel()
    cells.SetCells(len(triangles), numpy_to_vtkIdTypeArray(listed, deep=True))
    model.SetPoints(points)
    model.SetPolys(cells)
    normals = numpy_to_vtk(np.ascontiguousarray(vertices[used, 3:]), deep=True)
    normals.SetName("Normals")
    model.GetPointData().SetNormals(normals)
    if risk is not None:
        scalars = numpy_to_vtk(np.ascontiguousarray(risk[used], np.float32), deep=True)
        scalars.SetName("risk")
        model.GetPointData().SetScalars(scalars)
    space.SetName("SPACE")
    space.InsertNextValue("RAS")
    model.GetFieldData().AddArray(space)
    with whole_file(path) as temporary:
        writer = vtkXMLPolyDataWriter()
        writer.SetFileName(str(temporary))
        writer.SetInputData(model)
        if not writer.Write():
            raise OSError(0, "VTK could not write it")


def _colour_table(rows: list[tuple[Any, ...]]) -> str:
    """Slicer's text format: number, name with `_` for blanks, red, green, blue, opacity (0-255)."""
    lines = ["# Color table file"]
    for number, name, red, green, blue in rows:
        shade = " ".join(f"{round(255 * part)}" for part in (red, green, blue))
        lines.append(f"{number} {'_'.join(str(name).split())} {shade} {0 if name == 'outside' else 255}")
    return "\n".join(lines) + "\n"


def _region_colours(atlas: Atlas) -> list[tuple[Any, ...]]:
    """A colour for each region, far from its neighbours' (golden-angle hues)."""
    from colorsys import hsv_to_rgb

    rows: list[tuple[Any, ...]] = [(0, "outside", 0.0, 0.0, 0.0)]
    for n, (label, name) in enumerate(sorted(atlas.template.regions.items())):
        rows.append((label, name, *hsv_to_rgb(n * 0.618 % 1, 0.55, 0.9)))
    return rows


def _markups(atlas: Atlas, marker: Marker) -> dict[str, Any]:
    value = "no evidence"
    if marker.risk is not None:
        value = f"{marker.risk:.0%}" if atlas.is_probability else f"{marker.risk:.2f} (relative)"
    if marker.low is not None and marker.high is not None:
        value += f" ({marker.low:.0%} to {marker.high:.0%})"
    point = {
        "id": "1",
        "label": f"{marker.name}: {value}",
        "description": f"{marker.region}. {marker.remark} {NOTICE}",
        "position": [round(float(mm), 4) for mm in marker.position],
        "selected": True,
        "locked": True,
        "visibility": True,
        "positionStatus": "defined",
    }
    return {
        "@schema": _MARKUPS,
        "markups": [
            {
                "type": "Fiducial",
                "coordinateSystem": "RAS",
                "coordinateUnits": "mm",
                "locked": True,
                "labelFormat": "%N",
                "controlPoints": [point],
            }
        ],
    }
