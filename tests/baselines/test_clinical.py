"""The clinical model on real tables, against scikit-learn and known truths."""

import numpy as np
import pandas as pd
import pytest
from scipy import special
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from llnm.baselines import ClinicalModel, cross_fitted_scores, fit_clinical
from llnm.errors import InputError

COLUMNS = ["Age", "Gender", "Size_of_US"]


@pytest.fixture(scope="module")
def cohorts(data):
    """The two central-node cohorts."""
    return {name: pd.read_csv(data / "tabular" / f"central_lnm_cohort_{name}.csv") for name in "ab"}


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_it_carries_from_one_real_cohort_to_the_other(cohorts, order):
    fitted, tested = (cohorts[name] for name in order)
    model = fit_clinical(fitted, fitted["Label"].to_numpy() == 1, COLUMNS)
    x = {name: cohorts[name][COLUMNS].to_numpy(float) for name in order}
    mean, deviation = x[order[0]].mean(axis=0), x[order[0]].std(axis=0)
    theirs = LogisticRegression(max_iter=1000).fit((x[order[0]] - mean) / deviation, fitted["Label"])
    expected = theirs.predict_proba((x[order[1]] - mean) / deviation)[:, 1]
    assert np.allclose(model(tested), expected, atol=2e-3)
    # Measured: 0.756 from a to b, 0.787 from b to a; a model that learnt nothing gives 0.5.
    assert roc_auc_score(tested["Label"], model(tested)) > 0.6


def test_the_command_scores_the_other_cohort_for_evaluate(llnm, data, tmp_path):
    a, b = (data / "tabular" / f"central_lnm_cohort_{name}.csv" for name in "ab")
    columns = [word for name in COLUMNS for word in ("--column", name)]
    options = ("--label", "Label", *columns, "--keep", "Y_pred", "--out", tmp_path / "fit")
    code, _, err = llnm("baseline", a, *options, "--test", b)
    assert code == 0, err
    scores = tmp_path / "fit" / "scores.csv"
    code, _, err = llnm(
        "evaluate", scores, "--label", "Label", "--score", "score", "--compare", "Y_pred", "--out", tmp_path
    )
    assert code == 0, err
    loaded = ClinicalModel.load(tmp_path / "fit" / "model.json")
    assert np.allclose(loaded(pd.read_csv(b)), pd.read_csv(scores)["score"])


def test_lateral_metastasis_is_told_from_none_in_a_real_table(llnm, data, tmp_path):
    table = pd.read_csv(data / "tabular" / "differentiated_thyroid_cancer.csv", sep=";")
    table = table[table["N"].isin(["N0", "N1b"])]
    table.to_csv(tmp_path / "n.csv", index=False)
    columns = [word for name in ("Age", "Gender", "Focality", "T") for word in ("--column", name)]
    options = ("--label", "N", "--positive", "N1b", *columns, "--out", tmp_path / "out")
    code, _, err = llnm("baseline", tmp_path / "n.csv", *options)
    assert code == 0, err
    scores = pd.read_csv(tmp_path / "out" / "scores.csv")
    assert scores["N"].sum() == (table["N"] == "N1b").sum()
    assert roc_auc_score(scores["N"], scores["score"]) > 0.75


def simulated(n=4000, seed=0):
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({"age": rng.normal(50, 10, n), "sex": rng.choice(["F", "M"], n, p=[0.7, 0.3])})
    label = rng.random(n) < special.expit(-0.5 + 0.08 * (table["age"] - 50) + 0.9 * (table["sex"] == "M"))
    return table, label.to_numpy()


def test_it_finds_the_effects_that_made_the_data():
    table, label = simulated(20000)
    age, sex = fit_clinical(table, label, ["age", "sex"]).predictors
    assert age.weights[0] / age.deviation == pytest.approx(0.08, abs=0.008)
    assert sex.categories[0] == "F"
    assert sex.weights[0] == pytest.approx(0.9, abs=0.1)


def test_what_it_has_not_seen_counts_as_missing_and_not_as_a_category():
    table, label = simulated()
    model = fit_clinical(table, label, ["age", "sex"])
    odd = pd.DataFrame({"age": [50.0, 50.0, None], "sex": ["X", None, "F"]})
    unknown, empty, no_age = model(odd)
    assert unknown == empty
    assert np.isfinite(no_age)


def test_cross_fitted_scores_of_noise_are_worth_nothing():
    rng = np.random.default_rng(1)
    table = pd.DataFrame(rng.normal(size=(300, 8)), columns=[f"x{i}" for i in range(8)])
    label = rng.random(300) < 0.5
    own = fit_clinical(table, label, list(table))(table)
    assert roc_auc_score(label, own) > 0.58
    assert roc_auc_score(label, cross_fitted_scores(table, label, list(table))) < 0.58


@pytest.mark.parametrize(
    ("columns", "message"),
    [(["height"], "no such column"), (["same"], "in every row"), (["name"], "different texts"), (["none"], "is empty")],
)
def test_a_column_that_cannot_be_used_is_named(columns, message):
    table = pd.DataFrame({"same": 1, "name": [f"P{i}" for i in range(40)], "none": [None] * 40})
    with pytest.raises(InputError, match=message):
        fit_clinical(table, np.arange(40) % 2 == 0, columns)
