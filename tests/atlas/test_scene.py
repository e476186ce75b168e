"""The Slicer scene: everything it names is there, in one place, and in the right one."""

import json
from xml.etree import ElementTree

import numpy as np
import pytest
import SimpleITK
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkFiltersCore import vtkAppendPolyData, vtkTriangleFilter
from vtkmodules.vtkIOXML import vtkXMLPolyDataReader

from llnm.atlas import Atlas, Template
from llnm.atlas.colours import colours_of
from llnm.atlas.marker import marker_at
from llnm.atlas.scene import write_scene
from llnm.atlas.template import thyroid_template

TEMPLATE = thyroid_template()
GLAND = TEMPLATE.position(np.argwhere(TEMPLATE.labels > 0))
PLACE = (-17.0, -4.0, 15.0)
NASTY = "</MRML><Model id=\"x\"/> & 'a'"


@pytest.fixture(scope="module")
def atlas():
    """Risk that grows to the patient's left; nothing known of the right lobe's lower third."""
    x = TEMPLATE.position(np.moveaxis(np.indices(TEMPLATE.labels.shape), 0, -1))[..., 0]
    lower = [n for n, name in TEMPLATE.regions.items() if name.startswith("right lobe, lower")]
    blank = (TEMPLATE.labels == 0) | np.isin(TEMPLATE.labels, lower)
    risk = np.where(blank, np.nan, 0.3 - x / 100).astype(np.float32)
    return Atlas(TEMPLATE, risk, risk - 0.05, risk + 0.05, np.where(blank, 0, 5).astype(np.float32), "beta")


def nodes(scene):
    return {node.get("id"): node for node in ElementTree.parse(scene).getroot()}


def model(path):
    reader = vtkXMLPolyDataReader()
    reader.SetFileName(str(path))
    reader.Update()
    return reader.GetOutput()


def test_every_file_and_node_that_is_named_exists(atlas, tmp_path):
    scene = write_scene(atlas, tmp_path, marker_at(atlas, PLACE))
    found = nodes(scene)
    files = {node.get("fileName") for node in found.values()} - {None}
    assert files | {"atlas.mrml"} == {path.name for path in tmp_path.iterdir()}
    for node in found.values():
        pairs = [pair.split(":") for pair in (node.get("references") or "").split(";") if pair]
        for _, name in [*pairs, ("colour", node.get("colorNodeID"))]:
            assert name is None or name in found
        assert node.get("id") in {f"vtkMRML{node.tag}Node{end}" for end in ("Red", "Green", "Yellow", *range(10))} or (
            node.tag in {"Volume", "VolumeDisplay"} and node.get("id").startswith(f"vtkMRMLScalar{node.tag}Node")
        )


def test_volumes_lie_on_the_template_s_grid_and_the_display_hides_blanks(atlas, tmp_path):
    found = nodes(write_scene(atlas, tmp_path))
    volumes = [name for name in ("risk", "low", "high", "labels") if (tmp_path / f"{name}.nii.gz").exists()]
    assert len(volumes) == 4
    for name in volumes:
        image = SimpleITK.ReadImage(str(tmp_path / f"{name}.nii.gz"))
        assert image.GetSize() == TEMPLATE.labels.shape
        x, y, z = TEMPLATE.position((1, 2, 3))
        assert np.allclose(image.TransformIndexToPhysicalPoint((1, 2, 3)), (-x, -y, z), atol=1e-4), name
    display = found["vtkMRMLScalarVolumeDisplayNode1"]
    values = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "risk.nii.gz")))
    assert display.get("applyThreshold") == "1"
    shown = (values >= float(display.get("lowerThreshold"))) & (values <= float(display.get("upperThreshold")))
    assert shown.sum() == np.isfinite(atlas.risk).sum()
    top = float(display.get("level")) + float(display.get("window")) / 2
    assert top == pytest.approx(values.max(), abs=1e-5)


def test_models_are_the_gland_in_two_parts_with_the_risk_of_the_place(atlas, tmp_path):
    found = nodes(write_scene(atlas, tmp_path))
    known, blank = model(tmp_path / "gland.vtp"), model(tmp_path / "no_evidence.vtp")
    points = vtk_to_numpy(known.GetPoints().GetData())
    for part in (known, blank):
        assert part.GetFieldData().GetAbstractArray("SPACE").GetValue(0) == "RAS"
    everything = np.vstack([points, vtk_to_numpy(blank.GetPoints().GetData())])
    assert np.abs(everything.min(axis=0) - GLAND.min(axis=0)).max() < 1.5
    assert np.abs(everything.max(axis=0) - GLAND.max(axis=0)).max() < 1.5
    # Blank: on the right (x above 0) and low.
    assert vtk_to_numpy(blank.GetPoints().GetData())[:, 0].min() > 0 and blank.GetBounds()[5] < 0
    risk = vtk_to_numpy(known.GetPointData().GetScalars())
    assert np.abs(risk - (0.3 - points[:, 0] / 100)).max() < 0.02
    display = found["vtkMRMLModelDisplayNode1"]
    assert display.get("activeScalarName") == known.GetPointData().GetScalars().GetName() == "risk"
    low, high = map(float, display.get("scalarRange").split())
    assert low == 0 and high == pytest.approx(np.nanmax(atlas.risk), abs=1e-5)
    # Seen from outside, triangles run counter-clockwise: closed, they enclose the gland's volume and not minus that.
    whole = vtkAppendPolyData()
    for part in (known, blank):
        whole.AddInputData(part)
    triangles = vtkTriangleFilter()
    triangles.SetInputConnection(whole.GetOutputPort())
    triangles.Update()
    surface = triangles.GetOutput()
    corners = vtk_to_numpy(surface.GetPoints().GetData())[vtk_to_numpy(surface.GetPolys().GetConnectivityArray())]
    a, b, c = corners.reshape(-1, 3, 3).transpose(1, 0, 2).astype(float)
    volume = (a * np.cross(b, c)).sum() / 6
    assert volume == pytest.approx((TEMPLATE.labels > 0).sum(), rel=0.1)
    normals = vtk_to_numpy(surface.GetPointData().GetNormals())
    facing = normals[vtk_to_numpy(surface.GetPolys().GetConnectivityArray())].reshape(-1, 3, 3).sum(axis=1)
    assert ((facing * np.cross(b - a, c - a)).sum(axis=1) > 0).mean() > 0.99


def test_colours_and_region_names_can_be_read(atlas, tmp_path):
    write_scene(atlas, tmp_path)
    rows = [line.split() for line in (tmp_path / "risk.ctbl").read_text(encoding="utf-8").splitlines()[1:]]
    assert len(rows) == 256 and [int(row[0]) for row in rows] == list(range(256))
    assert [int(part) for part in rows[128][2:]] == [*np.round(255 * colours_of(128 / 255)).astype(int), 255]
    named = {}
    for line in (tmp_path / "regions.ctbl").read_text(encoding="utf-8").splitlines()[1:]:
        number, name, *shade = line.split()
        assert len(shade) == 4
        named[int(number)] = name.replace("_", " ")
    assert named == {0: "outside", **TEMPLATE.regions}


def test_the_nodule_is_a_locked_point_with_its_numbers(atlas, tmp_path):
    write_scene(atlas, tmp_path, marker_at(atlas, PLACE, name=NASTY))
    (markup,) = json.loads((tmp_path / "nodule.mrk.json").read_text(encoding="utf-8"))["markups"]
    (point,) = markup["controlPoints"]
    assert (markup["coordinateSystem"], markup["coordinateUnits"], point["position"]) == ("RAS", "mm", list(PLACE))
    assert point["label"] == f"{NASTY}: 47% (42% to 52%)" and "left lobe, upper third" in point["description"]
    found = nodes(tmp_path / "atlas.mrml")
    assert found["vtkMRMLMarkupsFiducialNode1"].get("name") == NASTY and "x" not in found


def test_a_blank_or_relative_atlas_has_the_scene_that_it_can_have(tmp_path):
    nothing = np.full(TEMPLATE.labels.shape, np.nan, np.float32)
    write_scene(Atlas(TEMPLATE, *[nothing] * 4, "published"), tmp_path)
    assert not (tmp_path / "gland.vtp").exists() and not (tmp_path / "low.nii.gz").exists()
    assert model(tmp_path / "no_evidence.vtp").GetNumberOfCells() > 1000
    assert "no probability" in (tmp_path / "atlas.mrml").read_text(encoding="utf-8")
    names = {**TEMPLATE.regions, 1: "two\nlines # and\ttabs"}
    odd = Template(TEMPLATE.labels, TEMPLATE.affine, names, "odd")
    write_scene(Atlas(odd, *[nothing] * 4, "published"), tmp_path / "odd")
    assert "\n1 two_lines_#_and_tabs " in (tmp_path / "odd" / "regions.ctbl").read_text(encoding="utf-8")


def test_the_command_writes_a_scene_or_says_why_not(atlas, tmp_path, llnm):
    atlas.save(tmp_path / "atlas")
    code, out, _ = llnm("atlas", "scene", tmp_path / "atlas", "--out", tmp_path / "scene", "--place=-17,-4,15")
    assert code == 0 and "atlas.mrml" in out and (tmp_path / "scene" / "nodule.mrk.json").exists()
    code, _, err = llnm("atlas", "scene", tmp_path / "atlas", "--out", tmp_path / "other", "--place=-17,-4,150")
    assert code == 2 and "outside the gland" in err and not (tmp_path / "other").exists()
    code, _, err = llnm("atlas", "scene", tmp_path / "atlas", "--out", tmp_path / "atlas")
    assert code == 2 and "would be written over" in err
