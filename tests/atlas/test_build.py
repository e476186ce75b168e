"""From a cohort on disk to an atlas and a patient's place in it, as a user does it."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkIOXML import vtkXMLPolyDataReader

from llnm.atlas import Atlas
from llnm.atlas.build import build_atlas
from llnm.atlas.locate import at_place, at_position, location_fields
from llnm.atlas.marker import marker_of_result
from llnm.atlas.mesh import write_mesh
from llnm.atlas.model import read_volume
from llnm.atlas.place import PlaneMasks, place_of, place_patient
from llnm.atlas.planted import PlantedRisk, planted_places
from llnm.atlas.risk import risk_atlas
from llnm.atlas.template import lobe_mask, thyroid_template
from llnm.errors import InputError
from llnm.imaging import load_mask
from llnm.simulate import sample_truth
from llnm.simulate.anatomy import sample_anatomy
from llnm.simulate.findings import sample_findings
from llnm.simulate.planted import template_position, write_planted_cohort

PATIENTS = 8


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    return write_planted_cohort(PATIENTS, 5, tmp_path_factory.mktemp("planted") / "cohort")


@pytest.fixture(scope="module")
def built(planted, tmp_path_factory):
    out = tmp_path_factory.mktemp("built") / "atlas"
    return build_atlas(planted, out), out


@pytest.fixture(scope="module")
def template():
    return thyroid_template()


@pytest.fixture(scope="module")
def atlas(template):
    return risk_atlas(template, *planted_places(template, 1500, seed=1))


def masks_of(cohort, number):
    """The masks of one patient of a planted cohort, and the row."""
    row = pd.read_csv(cohort, dtype=str).iloc[number]
    views = {}
    for plane in ("transverse", "longitudinal"):
        shape = Image.open(cohort.parent / row[plane]).size[::-1]
        nodule, gland = (load_mask(cohort.parent / row[f"{plane}_{name}_mask"], shape) for name in ("nodule", "gland"))
        views[plane] = PlaneMasks(nodule, gland, (0.2, 0.2))
    return views, row


def test_a_cohort_becomes_an_atlas_folder_that_other_tools_read(built):
    found, out = built
    atlas = Atlas.load(out)
    assert found.placed == PATIENTS and found.failed == 0
    assert atlas.method == "beta" and atlas.about["patients"] == PATIENTS
    assert atlas.about["registration_mean_dice"] > 0.99
    assert json.loads((out / "atlas.json").read_text())["notice"].startswith("Research use only")
    values, affine = read_volume(out / "risk.nrrd")
    assert np.array_equal(values, atlas.risk, equal_nan=True) and np.allclose(affine, atlas.template.affine, atol=1e-4)
    assert (out / "errors.csv").read_text().splitlines() == ["row,patient_id,kind,reason"]
    patients = pd.read_csv(out / "registration.csv")
    assert (patients.transverse_folding == 0).all() and (patients.longitudinal_folding == 0).all()
    for name in ("regions.csv", "capsule_distance.csv", "registration.csv"):
        assert pd.read_csv(out / name).note.str.contains("not a medical device").all()


def test_nodules_are_found_where_they_were_simulated(built, planted, template):
    """The true place is the nodule's share of its lobe; a third of the views cut the lobe off."""
    found = pd.read_csv(built[1] / "registration.csv")[["x_mm", "y_mm", "z_mm"]].to_numpy()
    true = []
    for number in range(PATIENTS):
        rng = np.random.default_rng([5, number])
        true.append(template_position(sample_anatomy(sample_findings(rng), rng), template))
    missed = found - np.array(true)
    assert np.sqrt((missed**2).mean(axis=0)).max() < 2.5
    sides = pd.read_csv(planted).side
    assert (np.where(found[:, 0] < 0, "left", "right") == sides).all()


def test_true_places_of_simulated_patients_lie_in_the_gland(template):
    inside = template.position(np.argwhere(template.labels > 0))
    for seed in range(25):
        truth = sample_truth(seed)
        place = template_position(truth.anatomy, template)
        assert np.linalg.norm(inside - place, axis=1).min() < 3.0
        lobe = template.position(np.argwhere(lobe_mask(template, truth.findings.side)))
        third = (place[2] - lobe[:, 2].min()) / np.ptp(lobe[:, 2])
        assert {"lower": third < 0.42, "middle": 0.3 < third < 0.7, "upper": third > 0.58}[truth.findings.third]


def test_an_interrupted_build_goes_on_and_gives_the_same(built, planted, tmp_path):
    def stop(done, whole):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_atlas(planted, tmp_path / "a", progress=stop)
    assert not (tmp_path / "a" / "atlas.json").exists()
    for file in sorted((built[1] / "patients").iterdir())[:-1]:
        (tmp_path / "a" / "patients" / file.name).write_bytes(file.read_bytes())
    again = build_atlas(planted, tmp_path / "a", resume=True)
    assert again.taken_over >= PATIENTS - 1 and again.placed == PATIENTS
    for name in ("regions.csv", "registration.csv", "risk.nii.gz"):
        assert (tmp_path / "a" / name).read_bytes() == (built[1] / name).read_bytes(), name


def test_who_cannot_be_placed_is_named_and_not_averaged_in(planted, tmp_path, llnm):
    table = pd.read_csv(planted, dtype=str, keep_default_na=False)
    for column in table.columns[table.iloc[0].astype(str).str.startswith("masks/")]:
        table[column] = str(planted.parent) + "/" + table[column]
    table.loc[1, "side"] = ""
    table.loc[2, "side"] = "middle"
    table.loc[3, [c for c in table if c.startswith("longitudinal")]] = ""
    table.loc[4, "llnm"] = ""
    table.loc[5, "transverse_gland_mask"] = "nowhere.png"
    (tmp_path / "text.png").write_text("no image")
    table.loc[6, "longitudinal_nodule_mask"] = str(tmp_path / "text.png")
    table = table.iloc[1:7]
    table.to_csv(tmp_path / "cohort.csv", index=False)
    code, _, err = llnm("atlas", "build", tmp_path / "cohort.csv", "--out", tmp_path / "a")
    assert code == 2 and "none of 6 patients could be placed" in err and "errors.csv" in err
    reasons = pd.read_csv(tmp_path / "a" / "errors.csv")
    assert list(reasons.row) == [2, 3, 4, 5, 6, 7] and (reasons.kind == "input").all()
    for reason, words in zip(
        reasons.reason,
        ("side: it is not known", "side: 'middle'", "longitudinal: no view", "llnm:", "nowhere.png", "text.png"),
        strict=True,
    ):
        assert words in reason
    assert not (tmp_path / "a" / "atlas.json").exists()


def test_an_empty_table_is_refused(planted, tmp_path, llnm):
    (tmp_path / "cohort.csv").write_text(planted.read_text().splitlines()[0] + "\n")
    code, _, err = llnm("atlas", "build", tmp_path / "cohort.csv", "--out", tmp_path / "a")
    assert code == 2 and "none of 0 patients" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--method", "mean"), "method: 'mean'"),
        (("--template", "nothing.nii.gz"), "nothing.nii.gz: cannot be read"),
    ],
)
def test_options_that_cannot_be_are_refused(planted, tmp_path, llnm, arguments, words):
    code, _, err = llnm("atlas", "build", planted, "--out", tmp_path / "a", *arguments)
    assert code == 2 and words in err


def test_views_that_contradict_each_other_are_refused(planted, template):
    views, row = masks_of(planted, 0)
    gland = views["transverse"].gland
    shallow, deep = (np.zeros(views[plane].gland.shape, bool) for plane in ("transverse", "longitudinal"))
    for drawn, plane, place in ((shallow, "transverse", 0), (deep, "longitudinal", -1)):
        column = int(np.median(np.nonzero(views[plane].gland)[1]))
        edge = np.flatnonzero(views[plane].gland[:, column])[place]
        drawn[edge - 2 : edge + 3, column - 2 : column + 3] = True
    odd = {
        "transverse": PlaneMasks(shallow, gland, (0.2, 0.2)),
        "longitudinal": PlaneMasks(deep, views["longitudinal"].gland, (0.2, 0.2)),
    }
    with pytest.raises(InputError, match="different depths"):
        place_patient(odd, row.side, template)


def test_two_views_make_the_place_that_their_densities_say(planted, template):
    views, row = masks_of(planted, 0)
    place = place_patient(views, row.side, template)
    assert place.weights.sum() == pytest.approx(1, abs=1e-4)
    assert (template.labels[tuple(place.voxels.T)] > 0).all()
    assert np.allclose(place.weights @ template.position(place.voxels), place.centre_mm, atol=0.05)
    assert 1.2 <= place.blur_mm[2] < 6 and place.blur_mm[1] < 1.2, "depth is told twice"
    missing = {"transverse": views["transverse"]}
    with pytest.raises(InputError, match="longitudinal: no view"):
        place_patient(missing, row.side, template)
    bare = views | {"transverse": PlaneMasks(views["transverse"].nodule, None, None)}
    with pytest.raises(InputError, match="transverse: no gland mask"):
        place_patient(bare, row.side, template)


def test_a_place_says_region_risk_interval_and_percentile(atlas, template):
    hot, cold = (
        at_position(tuple(template.position(np.argwhere(template.labels == n).mean(axis=0))), atlas) for n in (2, 22)
    )
    assert (hot.region, cold.region) == ("left lobe, upper third, lateral", "right lobe, lower third, lateral")
    assert hot.risk > 0.6 and cold.risk < 0.5 and hot.percentile > 85 and cold.percentile < 50
    assert hot.interval[0] < hot.risk < hot.interval[1]
    true = PlantedRisk().at(template, hot.place_mm)
    assert hot.interval[0] - 0.1 < true < hot.interval[1] + 0.1
    places, _ = planted_places(template, 5, seed=9)
    for place in places:
        found = at_place(place, atlas)
        values = atlas.risk[tuple(place.voxels.T)]
        known = np.isfinite(values)
        assert found.risk == pytest.approx(np.average(values[known], weights=place.weights[known]), abs=1e-5)
        assert 0 < found.region_share <= 1 and found.patients > 3
    with pytest.raises(InputError, match="outside the gland"):
        at_position((80.0, 0.0, 0.0), atlas)


def test_a_blank_place_gives_no_risk_and_a_relative_one_no_probability(template):
    voxel = np.argwhere(template.labels == 2)[100]
    density = np.zeros(template.labels.shape)
    density[tuple(voxel)] = 1.0
    place = place_of(template, density)
    empty = risk_atlas(template, [place], [True])
    found = at_place(place, empty)
    assert found.risk is None and found.percentile is None and found.evidence == 0
    relative = risk_atlas(template, *planted_places(template, 300, seed=1), "class means")
    found = at_place(place, relative)
    assert found.interval is None and not found.is_probability
    assert found.in_result["region"] == template.regions[2]
    assert found.in_result["atlas_probability"] is None and found.in_result["atlas_interval"] is None
    np.testing.assert_allclose(found.in_result["place_ras_mm"], template.position(voxel), atol=1e-3)


def test_atlas_risk_and_compare_answer_in_json(built, planted, atlas, tmp_path, llnm):
    atlas.save(tmp_path / "known")
    code, out, _ = llnm("atlas", "risk", tmp_path / "known", "--position=-20,-5,19")
    assert code == 0 and json.loads(out)["region"] == "left lobe, upper third, lateral"
    views, row = masks_of(planted, 0)
    masks = [
        part
        for plane in views
        for name in ("nodule", "gland")
        for part in (f"--{plane}-{name}-mask", planted.parent / row[f"{plane}_{name}_mask"])
    ]
    code, out, _ = llnm(
        "atlas",
        "risk",
        tmp_path / "known",
        *masks,
        "--side",
        row.side,
        "--spacing",
        "0.2",
        "--out",
        tmp_path / "r.json",
    )
    answer = json.loads(out)
    assert code == 0 and answer == json.loads((tmp_path / "r.json").read_text())
    placed = pd.read_csv(built[1] / "registration.csv").iloc[0]
    assert answer["place_ras_mm"] == pytest.approx([placed.x_mm, placed.y_mm, placed.z_mm], abs=0.01)
    assert 0 <= answer["risk"] <= 1 and "research use only" in answer["notice"].lower()
    for wrong, words in (
        ((), "either --position or the masks"),
        (("--position", "0,0,0", *masks), "either --position or the masks"),
        (("--position", "1,2"), "X,Y,Z"),
        (masks, "side: it is not known"),
        ((*masks[:2], "--side", "left"), "gland mask of both planes"),
    ):
        code, _, err = llnm("atlas", "risk", tmp_path / "known", *wrong)
        assert code == 2 and words in err
    code, out, _ = llnm("atlas", "compare", tmp_path / "known", tmp_path / "known", "--out", tmp_path / "d.nrrd")
    assert code == 0 and json.loads(out)["correlation"] == pytest.approx(1)
    assert np.nanmax(np.abs(read_volume(tmp_path / "d.nrrd")[0])) == 0
    code, _, err = llnm("atlas", "compare", tmp_path / "known", tmp_path / "known", "--out", tmp_path / "d.png")
    assert code == 2 and "neither NIfTI nor NRRD" in err


def test_predict_and_its_report_show_the_atlas(planted, atlas, tmp_path, llnm):
    atlas.save(tmp_path / "known")
    _, row = masks_of(planted, 0)
    options = [
        part
        for name in row.index
        if str(row[name]).startswith("masks/")
        for part in (f"--{name.replace('_', '-')}", planted.parent / row[name])
    ]
    arguments = ("predict", *options, "--spacing", "0.2", "--atlas", tmp_path / "known", "--out", tmp_path / "p")
    code, _, err = llnm(*arguments)
    assert code == 2 and "side: it is not known" in err
    code, out, _ = llnm(*arguments, "--side", row.side)
    assert code == 0 and "Atlas, " in out
    location = json.loads((tmp_path / "p" / "result.json").read_text())["location"]
    assert location["region"].startswith(f"{row.side} lobe")
    x, _, _ = location["place_ras_mm"]
    assert x > 0 if row.side == "right" else x < 0
    assert marker_of_result(atlas, {"location": location}).remark.startswith("The result itself says")
    low, high = location["atlas_interval"]
    assert low < location["atlas_probability"] < high
    page = (tmp_path / "p" / "report.html").read_text()
    assert location["region"] in page and f"{location['atlas_probability']:.0%}".rstrip("%") in page


def test_a_patient_who_cannot_be_placed_is_a_warning(atlas):
    fields, warnings = location_fields({}, "left", atlas)
    assert fields == {} and "could not be placed" in warnings[0] and "transverse" in warnings[0]
    with pytest.raises(InputError, match="side"):
        location_fields({}, None, atlas)


def test_the_mesh_lies_on_the_gland_and_carries_its_risk(atlas, tmp_path):
    write_mesh(tmp_path / "t.vtp", atlas)
    reader = vtkXMLPolyDataReader()
    reader.SetFileName(str(tmp_path / "t.vtp"))
    reader.Update()
    mesh = reader.GetOutput()
    points = vtk_to_numpy(mesh.GetPoints().GetData())
    inside = atlas.template.position(np.argwhere(atlas.template.labels > 0))
    assert np.allclose(points.min(0), inside.min(0), atol=1.1) and np.allclose(points.max(0), inside.max(0), atol=1.1)
    assert mesh.GetNumberOfPolys() > 1000 and mesh.GetFieldData().GetAbstractArray("SPACE").GetValue(0) == "RAS"
    risk = vtk_to_numpy(mesh.GetPointData().GetArray("risk"))
    near = np.round(atlas.template.index(points)).astype(int)
    held = atlas.template.labels[tuple(near.T)] > 0
    assert held.mean() > 0.3
    assert np.array_equal(risk[held], atlas.risk[tuple(near[held].T)], equal_nan=True)
