"""An atlas on disk: what is written comes back, in the place where other tools see it."""

import json

import numpy as np
import pytest
import SimpleITK

from llnm.atlas import Atlas, Template
from llnm.atlas.mesh import write_mesh
from llnm.errors import InputError


@pytest.fixture
def atlas():
    rng = np.random.default_rng(0)
    affine = np.array([[-0.5, 0, 0, 10], [0, 0.8, 0, -4], [0, 0, 2.0, -30], [0, 0, 0, 1]])
    labels = rng.integers(0, 3, (5, 6, 7)).astype(np.uint8)
    risk, low, high, count = (rng.random(labels.shape).astype(np.float32) for _ in range(4))
    risk[labels == 0] = np.nan
    template = Template(labels, affine, {1: "left lobe", 2: "right lobe"}, "drawn by lot")
    return Atlas(template, risk, low, high, count, "beta", {"patients": 12})


def test_an_atlas_comes_back_as_it_was_saved(atlas, tmp_path):
    atlas.save(tmp_path / "atlas")
    found = Atlas.load(tmp_path / "atlas")
    assert np.array_equal(found.template.labels, atlas.template.labels)
    assert np.allclose(found.template.affine, atlas.template.affine, atol=1e-6)
    for name in ("risk", "low", "high", "count"):
        assert np.array_equal(getattr(found, name), getattr(atlas, name), equal_nan=True), name
    assert (found.method, found.about, found.template.regions) == ("beta", {"patients": 12}, atlas.template.regions)
    assert sorted(path.name for path in (tmp_path / "atlas").iterdir()) == sorted(
        ["atlas.json", *(f"{name}.nii.gz" for name in ("risk", "low", "high", "count", "labels"))]
    )


def test_another_tool_finds_a_voxel_at_its_ras_position(atlas, tmp_path):
    atlas.save(tmp_path)
    image = SimpleITK.ReadImage(str(tmp_path / "risk.nii.gz"))
    x, y, z = atlas.template.position((1, 2, 3))
    assert np.allclose(image.TransformIndexToPhysicalPoint((1, 2, 3)), (-x, -y, z), atol=1e-4)
    assert np.allclose(atlas.template.index((x, y, z)), (1, 2, 3))
    assert image[1, 2, 3] == pytest.approx(-1.0 if np.isnan(atlas.risk[1, 2, 3]) else float(atlas.risk[1, 2, 3]))


def test_a_folder_that_does_not_fit_is_refused_by_name(atlas, tmp_path):
    with pytest.raises(InputError, match="atlas.json: is no atlas"):
        Atlas.load(tmp_path)
    atlas.save(tmp_path)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.zeros((2, 2, 2), np.float32)), str(tmp_path / "low.nii.gz"))
    with pytest.raises(InputError, match=r"low.nii.gz: its grid"):
        Atlas.load(tmp_path)
    (tmp_path / "low.nii.gz").write_bytes(b"no volume")
    with pytest.raises(InputError, match=r"low.nii.gz: cannot be read"):
        Atlas.load(tmp_path)
    stored = json.loads((tmp_path / "atlas.json").read_text(encoding="utf-8"))
    (tmp_path / "atlas.json").write_text(json.dumps(stored | {"regions": []}), encoding="utf-8")
    with pytest.raises(InputError, match="is no atlas"):
        Atlas.load(tmp_path)


@pytest.mark.parametrize("turn", [1, -1])
def test_the_mesh_shows_its_outside_on_any_grid(turn, tmp_path):
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkIOXML import vtkXMLPolyDataReader

    labels = np.zeros((30, 30, 30), np.uint8)
    labels[5:25, 6:24, 7:25] = 1
    blank = np.full(labels.shape, np.nan, np.float32)
    template = Template(labels, np.diag([turn, 1.0, 1.0, 1.0]), {1: "left lobe"}, "a box")
    write_mesh(tmp_path / "template.vtp", Atlas(template, blank, blank, blank, blank, "beta"))
    reader = vtkXMLPolyDataReader()
    reader.SetFileName(str(tmp_path / "template.vtp"))
    reader.Update()
    points = vtk_to_numpy(reader.GetOutput().GetPoints().GetData()).astype(float)
    corners = points[vtk_to_numpy(reader.GetOutput().GetPolys().GetConnectivityArray()).reshape(-1, 3)]
    # The enclosed volume is positive where every triangle turns counter-clockwise seen from outside (Gauss).
    volume = np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6
    assert volume == pytest.approx(20 * 18 * 18, rel=0.05)
