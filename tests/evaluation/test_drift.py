"""Drift between two sites: by hand, against statsmodels, how often chance alone alarms, and the published cohorts."""

import json

import numpy as np
import openpyxl
import pandas as pd
import pytest
import typer
from scipy import special
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import confint_proportions_2indep
from typer.testing import CliRunner

from llnm.cli.drift import drift
from llnm.errors import InputError
from llnm.evaluation.drift import compare_sites, holm, stability_index


def patients(n, rng, shift=0.0):
    """Calibrated scores with labels, a number, a category with a rare value and gaps."""
    score = special.expit(rng.normal(shift, 1.5, n))
    return pd.DataFrame(
        {
            "score": score,
            "label": (rng.random(n) < score).astype(int),
            "age": rng.normal(45, 13, n).round(),
            "sex": rng.choice(["F", "M"], n, p=[0.75, 0.25]),
            "margin": rng.choice(["smooth", "lobulated", "spiculated"], n, p=[0.6, 0.35, 0.05]),
            "size": np.where(rng.random(n) < 0.1, np.nan, rng.gamma(2, 5, n)),
        }
    )


INPUTS = ("age", "sex", "margin", "size")


def column(found, name):
    return next(one for one in found.columns if one.column == name)


# The figures.


def test_stability_index_by_hand():
    # Shares .5, .3, .2 and .4, .4, .2: (-.1) ln .8 + .1 ln(4/3) + 0.
    assert stability_index([50, 30, 20], [80, 80, 40]) == pytest.approx(0.0223144 + 0.0287682, abs=1e-6)
    assert stability_index([50, 30, 20], [80, 80, 40]) == pytest.approx(stability_index([80, 80, 40], [50, 30, 20]))
    # An empty bin holds half a row of 100: (.005 - .5) ln(.005/.5) + (1 - .5) ln 2.
    assert stability_index([50, 50], [0, 100]) == pytest.approx(-0.495 * np.log(0.01) + 0.5 * np.log(2))
    assert stability_index([50, 50, 0], [500, 500, 0]) == 0


def test_bins_are_the_reference_deciles_and_values_beyond_them_count():
    reference = pd.DataFrame({"score": np.full(100, 0.5), "size": np.arange(1, 101)})
    new = pd.DataFrame({"score": np.full(100, 0.5), "size": np.arange(1, 101) * 10})  # millimetres, not centimetres
    found = column(compare_sites(reference, new, "score", ["size"]), "size")
    assert [before for _, before, _ in found.bins] == [10] * 10
    assert [now for *_, now in found.bins] == [1] * 9 + [91]
    by_hand = 9 * (0.01 - 0.1) * np.log(0.1) + (0.91 - 0.1) * np.log(9.1)
    assert found.psi == pytest.approx(by_hand)
    assert found.verdict == "alarm"


@pytest.mark.parametrize("new", [np.zeros(50), np.ones(50)])
def test_a_number_with_a_heap_at_one_end_is_still_divided(new):
    heap = np.concatenate([np.full(185, 1.0), np.linspace(0, 0.9, 15)])
    reference = pd.DataFrame({"score": np.full(200, 0.3), "share": heap})
    found = compare_sites(reference, pd.DataFrame({"score": np.full(50, 0.3), "share": new}), "score", ["share"])
    assert column(found, "share").verdict == ("none" if new.all() else "alarm")
    assert column(found, "score").verdict == "none"  # one value only


def test_holm_agrees_with_statsmodels():
    p = np.random.default_rng(0).random(12) ** 3
    np.testing.assert_allclose(holm(list(p)), multipletests(p, method="holm")[1])
    assert holm([]) == []


def test_differences_agree_with_other_implementations():
    rng = np.random.default_rng(1)
    reference, new = patients(300, rng), patients(200, rng)
    new["age"] += 6.5
    found = compare_sites(reference, new, "score", INPUTS)
    age = column(found, "age").difference
    assert age.value == pytest.approx((new["age"].mean() - reference["age"].mean()) / 13, rel=0.05)
    drawn = [
        (new["age"].sample(200, replace=True, random_state=i).mean() - b.mean()) / b.std()
        for i in range(400)
        for b in [reference["age"].sample(300, replace=True, random_state=1000 + i)]
    ]
    assert [age.low, age.high] == pytest.approx(list(np.quantile(drawn, [0.025, 0.975])), abs=0.05)

    sex = column(found, "sex")
    counts = [(table["sex"] == sex.difference_of).sum() for table in (new, reference)]
    low, high = confint_proportions_2indep(counts[0], 200, counts[1], 300, method="newcomb", compare="diff")
    assert [sex.difference.low, sex.difference.high] == pytest.approx([low, high], abs=1e-6)


def test_observed_over_expected_and_its_interval():
    rng = np.random.default_rng(2)
    reference, new = patients(800, rng), patients(600, rng)
    figures = compare_sites(reference, new, "score", label="label").calibration
    ratio = figures.new["observed_expected"]
    assert ratio.value == pytest.approx(new["label"].sum() / new["score"].sum())
    draws = [new.iloc[rng.integers(600, size=600)] for _ in range(1500)]
    by_draws = np.quantile([draw["label"].sum() / draw["score"].sum() for draw in draws], [0.025, 0.975])
    assert [ratio.low, ratio.high] == pytest.approx(list(by_draws), abs=0.01)
    assert figures.change.value == pytest.approx(ratio.value / figures.reference["observed_expected"].value)
    assert figures.patients == 600
    assert figures.new["prevalence"].value == pytest.approx(new["label"].mean())


# What chance does, and what a drift does.


@pytest.mark.parametrize(("n", "m", "pairs"), [(100, 100, 300), (1000, 1000, 300), (2000, 60, 100)])
def test_patients_of_one_distribution_rarely_alarm(n, m, pairs):
    rng = np.random.default_rng(n)
    verdicts = [compare_sites(patients(n, rng), patients(m, rng), "score").verdict for _ in range(pairs)]
    assert verdicts.count("alarm") <= 0.05 * pairs
    assert verdicts.count("none") >= 0.9 * pairs


def test_many_columns_do_not_alarm_more_often():
    rng = np.random.default_rng(5)
    found = [compare_sites(patients(100, rng), patients(100, rng), "score", INPUTS) for _ in range(100)]
    assert sum(one.verdict == "alarm" for one in found) <= 0.05 * 100
    assert sum(one.verdict == "none" for one in found) >= 0.88 * 100
    # By the plain rule most of them would have drifted.
    assert np.mean([one.columns[0].psi > 0.1 for one in found]) > 0.7


def test_a_calibrated_site_rarely_alarms():
    rng = np.random.default_rng(6)
    found = [compare_sites(patients(150, rng), patients(150, rng), "score", label="label") for _ in range(100)]
    assert sum(one.calibration.verdict == "alarm" for one in found) <= 0.08 * 100


@pytest.mark.parametrize("n", [100, 1000])
def test_a_shift_of_the_score_is_found(n):
    rng = np.random.default_rng(7)
    found = compare_sites(patients(n, rng), patients(n, rng, shift=1.8), "score", INPUTS)
    assert found.verdict == column(found, "score").verdict == "alarm"
    assert column(found, "score").difference.low > 0.5
    assert [one.verdict for one in found.columns[1:]] == ["none"] * 4
    assert len(found.suggestions) == 1
    assert "get labels, then recalibrate with: llnm calibrate" in found.suggestions[0]


def test_a_small_shift_of_many_patients_is_to_be_watched():
    rng = np.random.default_rng(8)
    found = compare_sites(patients(4000, rng), patients(4000, rng, shift=0.6), "score")
    assert (found.verdict, column(found, "score").p < 1e-6) == ("watch", True)


def test_a_shift_that_the_labels_follow_needs_no_recalibration():
    rng = np.random.default_rng(9)
    found = compare_sites(patients(2000, rng), patients(2000, rng, shift=1.8), "score", label="label")
    assert (column(found, "score").verdict, found.calibration.verdict) == ("alarm", "none")
    assert "no need to recalibrate" in found.suggestions[0]


def test_scores_that_say_too_little_alarm_without_labels_of_the_reference():
    rng = np.random.default_rng(10)
    new = patients(500, rng)
    new["score"] = special.expit(special.logit(new["score"]) - 1)
    found = compare_sites(patients(500, rng).drop(columns="label"), new, "score", label="label")
    assert (found.calibration.verdict, found.calibration.reference) == ("alarm", None)
    assert found.calibration.new["observed_expected"].low > 1
    assert "recalibrate with: llnm calibrate new --label label --score score" in found.suggestions[0]


def test_a_new_category_is_watched_and_a_vanished_one_is_named():
    rng = np.random.default_rng(11)
    reference, new = patients(400, rng), patients(400, rng)
    new.loc[:1, "sex"] = "f"
    found = column(compare_sites(reference, new, "score", INPUTS), "sex")
    assert (found.verdict, found.new_categories, found.vanished_categories) == ("watch", ("f",), ())
    new["margin"] = new["margin"].replace({"lobulated": "smooth"})
    found = compare_sites(reference, new, "score", INPUTS)
    margin = column(found, "margin")
    assert (margin.verdict, margin.new_categories, margin.vanished_categories) == ("alarm", (), ("lobulated",))
    assert (margin.difference_of, margin.difference.high < -0.25) == ("lobulated", True) or margin.difference.low > 0.25
    advice = " ".join(found.suggestions)
    assert "check the input column sex: values that the reference never had: f" in advice
    assert "check the input column margin: PSI" in advice


def test_values_that_go_missing_are_a_drift():
    rng = np.random.default_rng(12)
    reference, new = patients(300, rng), patients(300, rng)
    new.loc[rng.random(300) < 0.5, "size"] = np.nan
    found = compare_sites(reference, new, "score", INPUTS)
    size = column(found, "size")
    assert (size.verdict, size.missing_p < 1e-6, size.p > 0.05) == ("alarm", True, True)
    assert size.missing_new == pytest.approx(0.55, abs=0.08)
    assert size.bins[-1][0] == "missing"
    assert "missing in" in found.suggestions[0]
    # The same where nothing at all is left.
    new["size"], new["sex"] = np.nan, None
    found = compare_sites(reference, new, "score", INPUTS)
    assert [column(found, name).verdict for name in ("size", "sex")] == ["alarm", "alarm"]
    assert column(found, "size").p is column(found, "sex").difference.value is None


def test_the_same_table_does_not_drift_however_its_numbers_are_written():
    rng = np.random.default_rng(13)
    reference = patients(200, rng).assign(grade=rng.integers(1, 6, 200))
    new = reference.assign(grade=reference["grade"].map("{:.1f}".format), age=reference["age"].astype(str))
    found = compare_sites(reference, new, "score", [*INPUTS, "grade"], label="label")
    assert {one.psi for one in found.columns} == {0}
    assert column(found, "grade").kind == "categories"
    assert found.calibration.change.value == 1
    assert found.verdict == "none"


def test_of_a_patient_with_several_rows_the_first_is_compared():
    rng = np.random.default_rng(14)
    once = patients(120, rng).assign(patient_id=range(120))
    new = patients(120, rng).assign(patient_id=range(120))
    thrice = pd.concat([new] * 3, ignore_index=True).assign(view=lambda rows: rows.index // 120)
    thrice["score"] = np.clip(thrice["score"] + 1e-6 * thrice["view"], 0, 1)  # not the same rows again
    first, again = (compare_sites(once, table, "score", INPUTS, label="label") for table in (new, thrice))
    assert again.columns == first.columns
    assert any("not compared: 240" in note for note in again.notes)
    # Three looks at the same patients make no interval narrower.
    one, three = (found.calibration.new["observed_expected"] for found in (first, again))
    assert [three.low, three.high] == pytest.approx([one.low, one.high], rel=1e-4)


def test_tables_that_cannot_be_used_are_refused_by_name():
    rng = np.random.default_rng(15)
    table = patients(100, rng)
    for reference, new, inputs, names in (
        (table, table.drop(columns="age"), ["age"], "new: has no column 'age'"),
        (table.head(0), table, [], "reference: has no rows"),
        (table, table.assign(score=table["score"] * 100), [], "new: score: no probability of 0 to 1"),
        (table.assign(name=[f"P{i}" for i in range(100)]), table.assign(name="P"), ["name"], "100 different texts"),
        (table.assign(size=None), table, ["size"], "reference: size: is empty"),
    ):
        with pytest.raises(InputError, match=names):
            compare_sites(reference, new, "score", inputs)
    with pytest.raises(InputError, match="new: label: 0 patients with the condition"):
        compare_sites(table, table.assign(label=0), "score", label="label")


def test_single_cells_that_cannot_be_used_are_noted():
    rng = np.random.default_rng(16)
    reference, new = patients(100, rng), patients(100, rng).astype({"age": object, "label": object})
    new.loc[3, "score"], new.loc[4, "age"], new.loc[5, "label"] = 1.5, "old", None
    found = compare_sites(reference, new, "score", INPUTS, label="label")
    notes = "\n".join(found.notes)
    assert "new: score: no probability of 0 to 1: 1 row set aside (row 5)" in notes
    assert "new: age: cells that are no number count as missing: 1" in notes
    assert "new: label: rows without label or score are left out of the calibration: 1" in notes
    assert found.calibration.patients == 98


# The published cohorts.


@pytest.fixture(scope="module")
def published(data):
    """Scores and labels of the validation set and of the external set."""
    book = openpyxl.load_workbook(data / "published" / "source_data.xlsx", read_only=True, data_only=True)
    rows = list(book["Figure 3c"].iter_rows(min_row=4, min_col=9, max_col=12, values_only=True))
    table = pd.DataFrame(rows, dtype=float)
    return [table[[i, i + 1]].dropna().set_axis(["score", "label"], axis=1) for i in (0, 2)]


def test_the_external_set_alarms_for_its_calibration(published):
    validation, external = published
    assert (len(validation), len(external)) == (5923, 9836)
    for reference in (validation, validation[["score"]]):
        found = compare_sites(reference, external, "score", label="label")
        assert found.verdict == found.calibration.verdict == "alarm"
        figures = found.calibration.new
        assert figures["calibration_slope"].value == pytest.approx(0.67, abs=0.005)
        assert figures["calibration_intercept"].value == pytest.approx(1.20, abs=0.005)
        assert figures["auc"].value == pytest.approx(0.944, abs=0.0005)
        assert figures["observed_expected"].value == pytest.approx(1.247, abs=0.001)
        assert "recalibrate with: llnm calibrate" in found.suggestions[0]


def test_halves_of_the_validation_set_do_not_alarm(published):
    validation = published[0]
    verdicts = []
    for seed in range(20):
        shuffled = validation.sample(frac=1, random_state=seed)
        half = len(shuffled) // 2
        found = compare_sites(shuffled[:half], shuffled[half:], "score", label="label")
        assert found.columns[0].verdict == "none"
        verdicts.append(found.calibration.verdict)
    assert verdicts.count("alarm") <= 2
    # Its own calibration is not perfect either, which is no drift but worth knowing.
    assert verdicts.count("watch") >= 18


# The command.


@pytest.fixture
def run(tmp_path):
    """Write two tables and run the command on them; gives its result, and what was written if it went well."""
    app = typer.Typer()
    app.command()(drift)

    def call(reference, new, *arguments):
        for name, table in (("reference", reference), ("new", new)):
            table.to_csv(tmp_path / f"{name}.csv", index=False)
        places = [str(tmp_path / "reference.csv"), str(tmp_path / "new.csv"), "--out", str(tmp_path / "out")]
        result = CliRunner().invoke(app, [*places, "--score", "score", *arguments])
        if result.exit_code:
            return result, None, None
        record = json.loads((tmp_path / "out" / "drift.json").read_text(encoding="utf-8"))
        return result, pd.read_csv(tmp_path / "out" / "drift.csv"), record

    return call


def test_the_command_writes_what_it_found(run):
    rng = np.random.default_rng(17)
    reference, new = patients(300, rng), patients(300, rng, shift=1.8)
    new.loc[:9, "sex"] = "unknown"
    arguments = [part for name in INPUTS for part in ("--input", name)]
    result, table, record = run(reference, new, "--label", "label", *arguments)
    assert result.exit_code == 0
    assert list(table["column"]) == ["score", *INPUTS]
    assert table["new_categories"].fillna("")[2] == "unknown"
    assert record["verdict"] == "alarm"
    found = compare_sites(reference, new, "score", INPUTS, label="label")
    assert list(table["psi"]) == pytest.approx([one.psi for one in found.columns])
    assert record["calibration"]["new"]["auc"]["value"] == pytest.approx(found.calibration.new["auc"].value)
    assert "Research use only" in record["notice"]
    told = " ".join(result.output.split())
    assert "check the input column sex" in told
    assert "Drift: alarm" in told


def test_the_command_does_without_labels_and_with_those_of_the_new_site_alone(run):
    rng = np.random.default_rng(18)
    reference, new = patients(200, rng).drop(columns="label"), patients(200, rng)
    new["label"] = np.where(new["label"] == 1, "yes", "no")
    assert run(reference, new)[2]["calibration"] is None
    _, _, record = run(reference, new, "--label", "label", "--positive", "yes")
    assert record["calibration"]["reference"] is None
    assert record["calibration"]["verdict"] == "none"


def test_the_command_names_what_it_cannot_use(run):
    table = patients(50, np.random.default_rng(19))
    for new, arguments, name in (
        (table.drop(columns="score"), (), "new.csv: has no column 'score'"),
        (table, ("--input", "weight"), "reference.csv: has no column 'weight'"),
        (table.drop(columns="label"), ("--label", "label"), "new.csv: has no column 'label'"),
        (table.assign(score=table["score"] * 100), (), "new.csv: score: no probability"),
        (table.assign(label="yes"), ("--label", "label"), "new.csv: label: holds yes"),
    ):
        error = run(table, new, *arguments)[0].exception
        assert isinstance(error, InputError)
        assert name in str(error)
