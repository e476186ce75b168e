"""A cohort is checked as a whole, predicted patient by patient, and goes on where it was interrupted."""

import json

import pandas as pd
import pytest

from llnm.atlas.planted import planted_places
from llnm.atlas.risk import risk_atlas
from llnm.atlas.template import thyroid_template
from llnm.cohort import fingerprint, problems, read_table, rows
from llnm.cohort.run import HowToPredict, flat, run_cohort
from llnm.errors import InputError


@pytest.fixture
def a_cohort(cohort, tmp_path):
    """The two simulated patients and one whose image is missing, beside a link to the files."""
    table = pd.read_csv(cohort, dtype=str, keep_default_na=False)
    for folder in ("images", "masks", "reports"):
        (tmp_path / folder).symlink_to(cohort.parent / folder)
    broken = table.iloc[[0]].assign(patient_id="broken", transverse="images/none.png")
    path = tmp_path / "cohort.csv"
    pd.concat([table.iloc[[0]], broken, table.iloc[[1]]]).to_csv(path, index=False)
    return path


def test_every_patient_is_predicted_and_a_bad_one_is_listed_with_its_reason(llnm, a_cohort, patient_files, tmp_path):
    out = tmp_path / "out"
    code, text, err = llnm("cohort", "run", a_cohort, "--out", out)
    assert code == 0, err
    assert "2 patients predicted" in text
    results = pd.read_parquet(out / "results.parquet")
    table = read_table(a_cohort)
    assert results["patient"].tolist() == [table.at[0, "patient_id"], table.at[2, "patient_id"]]
    assert results["llnm"].astype(int).tolist() == [int(table.at[row, "llnm"]) for row in (0, 2)]
    wrong = pd.read_csv(out / "errors.csv")
    assert wrong[["row", "patient_id", "kind"]].to_numpy().tolist() == [[3, "broken", "input"]]
    assert "none.png" in wrong.at[0, "reason"]
    names = ("transverse", "longitudinal", "report", "age", "sex")
    options = [word for name in names for word in (f"--{name}", patient_files[name])]
    for name, value in patient_files.items():
        if name.endswith(("_mask", "_spacing_mm")):
            options += [f"--{name.replace('_', '-').removesuffix('-mm')}", value]
    llnm("predict", *options, "--out", tmp_path / "alone")
    alone = json.loads((tmp_path / "alone" / "result.json").read_text())
    assert results.at[0, "risk_probability"] == pytest.approx(alone["risk"]["probability"], abs=1e-6)
    assert results.at[0, "risk_interval_low"] == pytest.approx(alone["risk"]["interval"][0], abs=1e-6)


def test_an_interrupted_run_takes_over_what_is_finished_and_nothing_that_changed(a_cohort, tmp_path, monkeypatch):
    import llnm.cohort.run as module

    predicted, real = [], module.predict_row

    def interrupted(cells, folder, how):
        if len(predicted) == 1:
            raise KeyboardInterrupt
        predicted.append(cells["patient_id"])
        return real(cells, folder, how)

    out, how = tmp_path / "out", HowToPredict()
    monkeypatch.setattr(module, "predict_row", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_cohort(a_cohort, out, how)
    assert not (out / "results.parquet").exists()
    predicted.clear()
    monkeypatch.setattr(module, "predict_row", lambda *job: predicted.append(job[0]["patient_id"]) or real(*job))
    found = run_cohort(a_cohort, out, how, resume=True)
    assert (found.predicted, found.taken_over, found.failed) == (2, 1, 1)
    first = read_table(a_cohort).at[0, "patient_id"]
    assert first not in predicted
    predicted.clear()
    run_cohort(a_cohort, out, HowToPredict(threshold=0.3), resume=True)
    assert first in predicted


def test_dask_gives_what_one_process_gives(a_cohort, tmp_path):
    one = run_cohort(a_cohort, tmp_path / "one", HowToPredict())
    two = run_cohort(a_cohort, tmp_path / "two", HowToPredict(), workers=2)
    assert one == two
    tables = [pd.read_parquet(tmp_path / name / "results.parquet").drop(columns="created") for name in ("one", "two")]
    pd.testing.assert_frame_equal(*tables, atol=1e-6)


def test_all_that_is_wrong_with_a_table_is_named_at_once(llnm, tmp_path):
    (tmp_path / "cohort.csv").write_text(
        "patient_id,transverse,longitudinal,report,age,sex,llnm,side,node_count,transverse_spacing_mm\n"
        "A,,,,40,F,,,,\n"
        "B,x.png,,r.txt,200,X,2,up,1.5,-1\n"
        "C,cohort.csv,,,,,,,,\n",
        encoding="utf-8",
    )
    found = problems(read_table(tmp_path / "cohort.csv"), tmp_path)
    assert [(problem.row, problem.column) for problem in found] == [
        (2, "transverse"),
        *(
            (3, name)
            for name in ("transverse", "transverse_spacing_mm", "report", "age", "sex", "llnm", "side", "node_count")
        ),
    ]
    code, out, err = llnm("cohort", "check", tmp_path / "cohort.csv")
    assert code == 2
    assert "9 problems in 2 of 3 rows" in err
    assert out.count("\n") == 9
    assert "row 3, patient B: sex" in out


def test_a_sound_table_has_no_problem(llnm, cohort):
    code, out, _ = llnm("cohort", "check", cohort)
    assert code == 0
    assert "nothing wrong" in out


def test_a_row_is_known_by_the_content_of_its_files(tmp_path):
    (tmp_path / "a.png").write_bytes(b"1")
    cells = {"patient_id": "A", "transverse": "a.png", "longitudinal": "", "report": "", "age": "", "sex": ""}
    before = fingerprint(cells, tmp_path)
    assert fingerprint(cells, tmp_path) == before
    assert fingerprint(cells, tmp_path, "other weights") != before
    (tmp_path / "a.png").write_bytes(b"2")
    assert fingerprint(cells, tmp_path) != before


def test_nested_results_lie_flat():
    nested = {"a": {"b": 1, "c": {"d": None}}, "interval": [0.1, 0.2], "warnings": ["x", "y"], "weights": [{"n": 1}]}
    assert flat(nested) == {
        "a_b": 1,
        "a_c_d": None,
        "interval_low": 0.1,
        "interval_high": 0.2,
        "warnings": "x; y",
        "weights": '{"n": 1}',
    }


def test_a_cohort_of_which_nobody_can_be_predicted_still_has_both_files(llnm, tmp_path):
    (tmp_path / "cohort.csv").write_text("patient_id,transverse,longitudinal,report,age,sex\nA,x.png,,,40,F\n")
    code, out, _ = llnm("cohort", "run", tmp_path / "cohort.csv", "--out", tmp_path / "out")
    assert code == 0
    assert "0 patients predicted" in out
    assert len(pd.read_parquet(tmp_path / "out" / "results.parquet")) == 0
    assert len(pd.read_csv(tmp_path / "out" / "errors.csv")) == 1


def test_rows_are_texts():
    assert rows(pd.DataFrame({"a": ["1"], 2: ["b"]})) == [{"a": "1", "2": "b"}]


def test_a_scheduler_that_does_not_answer_is_named(a_cohort, tmp_path):
    with pytest.raises(InputError, match="no scheduler answers at tcp://127.0.0.1:9"):
        run_cohort(a_cohort, tmp_path / "out", HowToPredict(), dask="tcp://127.0.0.1:9")


def test_a_run_with_an_atlas_gives_each_row_its_place_and_says_who_has_none(llnm, cohort, a_cohort, tmp_path):
    table = read_table(a_cohort)
    table.loc[2, "side"] = ""
    table.to_csv(a_cohort, index=False)
    template = thyroid_template()
    risk_atlas(template, *planted_places(template, 300, seed=1)).save(tmp_path / "atlas")
    code, _, err = llnm("cohort", "run", a_cohort, "--atlas", tmp_path / "atlas", "--out", tmp_path / "out")
    assert code == 0, err
    placed, unknown = pd.read_parquet(tmp_path / "out" / "results.parquet").to_dict("records")
    assert placed["location_region"].startswith(f"{table.at[0, 'side']} lobe")
    assert 0 < placed["location_atlas_interval_low"] < placed["location_atlas_probability"] < 1
    assert (placed["location_place_ras_mm_x"] > 0) == (table.at[0, "side"] == "right")
    assert pd.isna(unknown["location_region"]) and "side is empty" in unknown["warnings"]
    code, _, err = llnm("cohort", "run", a_cohort, "--atlas", tmp_path, "--out", tmp_path / "other")
    assert code == 2 and "atlas.json" in err
