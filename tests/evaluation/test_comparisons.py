"""Two models, subgroups, more than two classes, and published figures."""

import numpy as np
import pandas as pd
import pytest
from published_data import COHORTS, cohort_table, published_figures
from scipy import special, stats
from sklearn import metrics
from statsmodels.stats.contingency_tables import mcnemar

from llnm.errors import InputError
from llnm.evaluation import check_scores
from llnm.evaluation.classes import MEAN, class_table
from llnm.evaluation.delong import delong_test
from llnm.evaluation.paired import compare_models, permutation_test, rate_differences
from llnm.evaluation.published import compare_with_published, read_published
from llnm.evaluation.scores import Scores
from llnm.evaluation.subgroups import UNKNOWN, group_names, subgroup_table


def two_models(n=600, seed=0, second=1.0):
    """A model and another whose signal is `second` times as strong, on the same patients."""
    rng = np.random.default_rng(seed)
    label = rng.random(n) < 0.4
    shared = rng.normal(0, 0.7, n)
    one, other = (special.expit(k * 1.4 * label + shared + rng.normal(0, 0.7, n) - 0.5) for k in (1.0, second))
    return check_scores(one, label), other


def test_a_worse_model_is_found_worse_by_every_test():
    scores, other = two_models(1200, second=0.5)
    found = compare_models(scores, other, 0.5)
    assert found.areas.p < 1e-4
    assert found.permutation_p < 0.01
    assert found.mcnemar.p < 0.05
    assert found.differences["auc"].low > 0
    assert found.non_inferiority.shown


def test_tests_of_equal_models_reject_as_often_as_they_may():
    p = []
    for seed in range(200):
        scores, other = two_models(150, seed)
        second = Scores(other, scores.label, scores.patient)
        areas = delong_test(scores.score, other, scores.label, scores.patient)
        p.append((areas.p, permutation_test(scores, second, 99, seed)))
    rejected = (np.array(p) <= 0.05).mean(axis=0)
    assert (rejected >= 0.01).all()
    assert (rejected <= 0.09).all()


def test_mcnemar_counts_who_is_right_alone():
    scores, other = two_models()
    right = [(model >= 0.5) == scores.label for model in (scores.score, other)]
    table = [[int((a & b).sum()) for b in (right[1], ~right[1])] for a in (right[0], ~right[0])]
    found = compare_models(scores, other, 0.5, resamples=10).mcnemar
    assert (found.first_alone, found.second_alone) == (table[0][1], table[1][0])
    assert found.p == pytest.approx(mcnemar(table, exact=True).pvalue)


def test_the_paired_interval_is_delongs_and_far_narrower_than_an_unpaired_one():
    scores, other = two_models(1500, second=0.9)
    second = Scores(other, scores.label, scores.patient)
    drawn = rate_differences(scores, second, 0.5, resamples=2000)["auc"]
    delong = compare_models(scores, other, 0.5, resamples=10).areas.difference
    assert (drawn.low, drawn.high) == pytest.approx((delong.low, delong.high), abs=0.004)


def test_non_inferiority_needs_the_bound_not_the_value():
    scores, other = two_models(200, seed=3)
    tight, wide = (
        compare_models(scores, other, 0.5, margin=margin, resamples=10).non_inferiority for margin in (0.001, 0.3)
    )
    assert not tight.shown
    assert wide.shown
    assert wide.p < 0.025 < tight.p


def test_rows_without_both_scores_are_left_out_of_both_and_named():
    scores, other = two_models()
    other[:7] = np.nan
    found = compare_models(scores, other, 0.5, resamples=50)
    assert "7 rows without a usable score of both models" in found.notes[0]
    assert found.areas.first == pytest.approx(metrics.roc_auc_score(scores.label[7:], scores.score[7:]))


def test_patients_with_several_rows_get_no_mcnemar():
    scores, other = two_models()
    clustered = Scores(scores.score, scores.label, np.arange(600) // 2)
    found = compare_models(clustered, other, 0.5, resamples=50)
    assert found.mcnemar is None
    assert "no McNemar" in found.notes[0]


# Subgroups.


def with_column(name, values, n=4000, fair=True, seed=0):
    rng = np.random.default_rng(seed)
    label, column = rng.random(n) < 0.4, np.array(values)[rng.integers(len(values), size=n)]
    strength = np.where(fair | (column == values[0]), 2.0, 0.7)
    score = special.expit(strength * label + rng.normal(0, 1, n) - 1)
    return check_scores(score, label, None, pd.DataFrame({name: column}))


def test_subgroups_are_measured_on_their_own_patients():
    scores = with_column("sex", ["F", "M"])
    rows, _ = subgroup_table(scores, ["sex"], 0.5, resamples=100)
    for row in rows.to_dict("records"):
        own = (scores.table["sex"] == row["group"]).to_numpy()
        assert row["patients"] == own.sum()
        assert row["auc"] == pytest.approx(metrics.roc_auc_score(scores.label[own], scores.score[own]))
        called = scores.score[own] >= 0.5
        assert row["sensitivity"] == pytest.approx(metrics.recall_score(scores.label[own], called))


def test_an_unfair_model_has_a_gap_and_a_fair_one_a_gap_of_chance():
    for fair, largest, least in ((True, 1, 0.03), (False, 0.01, 0)):
        _, gaps = subgroup_table(with_column("centre", ["A", "B", "C"], fair=fair), ["centre"], 0.5, resamples=200)
        area = gaps.set_index("figure").loc["auc"]
        assert least <= area["p"] <= largest
        if not fair:
            assert area["highest"] == "A"
            assert area["gap"] > 0.1


def test_a_subgroup_too_small_to_compare_is_shown_and_makes_no_gap():
    scores = with_column("centre", ["A", "B"])
    centre = scores.table["centre"].to_numpy().copy()
    centre[:6] = "tiny"
    scores = check_scores(scores.score, scores.label, None, pd.DataFrame({"centre": centre}))
    rows, gaps = subgroup_table(scores, ["centre"], 0.5, resamples=50)
    assert set(rows["group"]) == {"A", "B", "tiny"}
    assert not set(gaps["highest"]) & {"tiny"}


def test_ages_are_cut_at_55_sizes_at_the_limits_of_t_stages_and_other_numbers_into_quarters():
    ages = group_names(pd.Series([20, 54.9, 55, 80, None], name="age"))
    assert ages.tolist() == ["below 55", "below 55", "55 or more", "55 or more", UNKNOWN]
    sizes = group_names(pd.Series([9, 10, 19, 20, 40], name="size_mm"))
    assert sizes.nunique() == 4
    assert sizes[1] == sizes[2]
    other = group_names(pd.Series(np.arange(100.0), name="volume"))
    assert other.value_counts().tolist() == [25] * 4
    grades = group_names(pd.Series([3, 4, 5, None] * 5, name="ti_rads"))
    assert set(grades) == {"3.0", "4.0", "5.0", UNKNOWN} or set(grades) == {"3", "4", "5", UNKNOWN}


def test_an_unknown_column_is_named():
    with pytest.raises(InputError, match="no column is called 'race'"):
        subgroup_table(with_column("sex", ["F", "M"]), ["race"], 0.5)


# Classes.


def staged(n=900, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.integers(3, size=n)
    logits = 1.5 * np.eye(3)[truth] + rng.normal(0, 1, (n, 3))
    names = ["none", "low", "high"]
    return pd.DataFrame(special.softmax(logits, axis=1), columns=names), pd.Series(np.array(names)[truth])


def test_classes_and_their_mean_are_scikit_learns_one_against_rest():
    chance, label = staged()
    table = class_table(chance, label, resamples=300).set_index("class")
    code = label.map({name: i for i, name in enumerate(chance)})
    assert table.loc[MEAN, "auc"] == pytest.approx(
        metrics.roc_auc_score(code, chance, multi_class="ovr", average="macro")
    )
    called = chance.to_numpy().argmax(axis=1)
    recall = metrics.recall_score(code, called, average=None)
    assert table.loc[list(chance), "sensitivity"].tolist() == pytest.approx(recall.tolist())
    assert table.loc[MEAN, "ppv"] == pytest.approx(metrics.precision_score(code, called, average="macro"))
    assert table.loc["low", "rows"] == (label == "low").sum()


def test_the_mean_over_classes_has_the_interval_of_whole_patients():
    """Its standard error must be that of repeated studies, not that of independent classes."""
    values = [
        class_table(*staged(300, seed), resamples=2).set_index("class").loc[MEAN, "accuracy"] for seed in range(60)
    ]
    row = class_table(*staged(300, 99), resamples=800).set_index("class").loc[MEAN]
    width = (row["accuracy_high"] - row["accuracy_low"]) / (2 * stats.norm.ppf(0.975))
    assert width == pytest.approx(np.std(values), rel=0.3)


def test_rows_that_are_no_probabilities_are_refused():
    chance, label = staged(50)
    for broken, message in ((chance * 2, "do not add up"), (chance.drop(columns="low"), "add up|no column")):
        with pytest.raises(InputError, match=message):
            class_table(broken, label)
    with pytest.raises(InputError, match="no column holds the probability of 'other'"):
        class_table(chance, label.replace("low", "other"))


# Published figures.


@pytest.mark.parametrize("cohort", COHORTS)
def test_published_values_reproduce_and_the_areas_intervals_are_quartiles(data, cohort):
    table = cohort_table(data, cohort)
    scores = check_scores(table["score"], table["llnm"])
    found = {row.figure: row for row in compare_with_published(scores, published_figures(data, cohort), 0.5)}
    assert all(row.value_reproduces for row in found.values())
    area = found.pop("auc")
    assert area.interval_reproduces is False
    assert "25-75 % range" in area.finding
    assert all(row.interval_reproduces for row in found.values()), found


def test_a_wrong_published_value_is_told_from_a_right_one(tmp_path):
    scores, _ = two_models()
    area = metrics.roc_auc_score(scores.label, scores.score)
    path = tmp_path / "published.csv"
    path.write_text(f"figure,value\nauc,{area:.2f}\nauc,{area + 0.02:.3f}\n")
    right, wrong = compare_with_published(scores, read_published(path), 0.5, resamples=50)
    assert right.value_reproduces
    assert right.interval_reproduces is None
    assert "does not reproduce" in wrong.finding


@pytest.mark.parametrize(("text", "message"), [("figure,value\nluck,1\n", "luck"), ("a,b\n1,2\n", "needs the columns")])
def test_an_unknown_published_figure_is_named(tmp_path, text, message):
    path = tmp_path / "published.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        compare_with_published(two_models()[0], read_published(path), 0.5, resamples=10)
