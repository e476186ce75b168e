"""Reader studies against published figures, statsmodels, scikit-learn, tables drawn in loops and simulated studies."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
import typer
from scipy import stats
from sklearn.metrics import cohen_kappa_score, roc_auc_score
from statsmodels.stats import inter_rater
from statsmodels.stats.proportion import proportion_confint

from llnm.cli.readers import readers as readers_command
from llnm.errors import InputError
from llnm.evaluation.delong import delong_interval
from llnm.evaluation.mrmc import compare_with_model
from llnm.evaluation.readers import (
    Columns,
    Readings,
    check_readings,
    fleiss_kappa,
    mean_cohen_kappa,
    measure_readers,
    read_readings,
)
from llnm.evaluation.scores import check_scores

COLUMNS = Columns("case", "reader", "rating", "label", "group", "model")
# How many of six psychiatrists gave each of 30 patients which of five diagnoses (Fleiss, Psychological Bulletin 1971).
DIAGNOSES = (
    "00060 03003 01401 00006 03030 20400 00402 20310 20040 00006 10050 11040 03300 10050 02031 "
    "00501 30012 51000 02040 10203 00006 01050 02013 20040 10041 05010 40002 02040 10500 00006"
)


def long_table(rating, label, groups=None, model=None):
    """One row a reading, readers r0, r1 ..., cases c0, c1 ..."""
    rows = []
    for reader, row in enumerate(rating):
        for case, value in enumerate(row):
            known = {"case": f"c{case}", "reader": f"r{reader}", "rating": value, "label": int(label[case])}
            known["group"] = groups[reader] if groups else "one"
            known["model"] = 0.5 if model is None else model[case]
            rows.append(known)
    return pd.DataFrame(rows)


def drawn_study(readers=6, cases=40, seed=0, spread=0.3):
    """Confidences of 0 to 1 in steps of 0.1, labels, and a model's scores."""
    rng = np.random.default_rng(seed)
    label = np.arange(cases) % 2 == 0
    hard = rng.normal(0, 0.7, cases)
    ability = rng.normal(1.5, spread, (readers, 1))
    rating = stats.norm.cdf(ability * (label - 0.5) + hard + rng.normal(0, 0.7, (readers, cases))).round(1)
    return rating, label, stats.norm.cdf(3 * (label - 0.5) + hard + rng.normal(0, 0.7, cases))


def test_one_reader_has_the_figures_of_scikit_learn_and_the_intervals_of_statsmodels():
    rating, label, model = drawn_study()
    study = measure_readers(check_readings(long_table(rating, label, model=model), COLUMNS), resamples=100)
    for row, reader in zip(rating, study.readers, strict=True):
        called = row >= 0.5
        hits = {"sensitivity": (called & label, label), "specificity": (~called & ~label, ~label)}
        hits["accuracy"] = (called == label, np.ones(40, dtype=bool))
        for name, (right, among) in hits.items():
            figure = reader.figures[name]
            low, high = proportion_confint(right.sum(), among.sum(), method="wilson")
            assert (figure.value, figure.low, figure.high) == pytest.approx((right.sum() / among.sum(), low, high))
            assert "Wilson" in figure.method
        assert reader.figures["auc"].value == pytest.approx(roc_auc_score(label, row))
    assert study.model.figures["auc"] == delong_interval(check_scores(model, label.astype(int)))
    assert study.model.counts["tp"] == (label & (model >= 0.5)).sum()


def test_averages_and_differences_are_those_of_the_readers_listed():
    rating, label, model = drawn_study(readers=5)
    groups = ["senior", "junior", "senior", "junior", "junior"]
    study = measure_readers(check_readings(long_table(rating, label, groups, model), COLUMNS), resamples=200)
    assert list(study.averages) == ["all", "junior", "senior"]
    senior = [reader.figures for reader in study.readers if reader.group == "senior"]
    assert len(senior) == 2
    for name, average in study.averages["senior"].items():
        assert average.value == pytest.approx(np.mean([figures[name].value for figures in senior]))
        expected = study.model.figures[name].value - average.value
        assert study.differences["senior"][name].value == pytest.approx(expected)
    expected, found = compare_with_model(rating, model, label), study.comparisons["all"]
    assert (found.random.p, found.fixed.p) == pytest.approx((expected.random.p, expected.fixed.p))
    assert found.readers.high == pytest.approx(expected.readers.high)
    assert study.areas["junior"].value == pytest.approx(study.averages["junior"]["auc"].value)


def test_the_bootstrap_draws_whole_readers_and_whole_cases():
    """Its spread is that of loops which redraw the table itself, row by row, and count again."""
    rating, label, model = drawn_study(readers=4, cases=30, seed=3)
    rng = np.random.default_rng(4)
    drawn = {"sensitivity": [], "accuracy": [], "auc": [], "less": []}
    for _ in range(1500):
        people, cases = rng.integers(4, size=4), rng.integers(30, size=30)
        truth = label[cases]
        areas, found, right = [], [], []
        for reader in people:
            row = rating[reader, cases]
            above = (row[truth][:, None] > row[~truth]).mean() + 0.5 * (row[truth][:, None] == row[~truth]).mean()
            areas.append(above)
            found.append((row[truth] >= 0.5).mean())
            right.append(((row >= 0.5) == truth).mean())
        drawn["auc"].append(np.mean(areas))
        drawn["sensitivity"].append(np.mean(found))
        drawn["accuracy"].append(np.mean(right))
        drawn["less"].append(((model[cases] >= 0.5) == truth).mean() - np.mean(right))
    study = measure_readers(check_readings(long_table(rating, label, model=model), COLUMNS), resamples=4000)
    figures = {**study.averages["all"], "less": study.differences["all"]["accuracy"]}
    for name, values in drawn.items():
        low, high = np.quantile(values, [0.025, 0.975])
        assert (figures[name].low, figures[name].high) == pytest.approx((low, high), abs=0.02), name
    assert "readers and cases" in figures["auc"].method


def test_intervals_of_averages_hold_the_truth_for_other_readers_and_cases():
    """Coverage in 150 simulated studies of 8 readers and 80 cases; readers alone or cases alone would hold less."""
    rng = np.random.default_rng(5)
    label = np.arange(80) % 2 == 0
    truth = stats.norm.cdf(0.5 / (1 + 0.2) ** 0.5)
    held = {"both": 0, "readers": 0}
    for _ in range(150):
        latent = label - 0.5 + rng.normal(0, 0.6**0.5, 80) + rng.normal(0, 0.4**0.5, (8, 80))
        decision = (latent + rng.normal(0, 0.2**0.5, (8, 2))[:, label.astype(int)] > 0).astype(float)
        readings = Readings(decision, label, tuple("abcdefgh"), ("",) * 8)
        figure = measure_readers(readings, resamples=200, seed=int(rng.integers(1000))).averages["all"]["sensitivity"]
        held["both"] += figure.low <= truth <= figure.high
        each = decision[:, label].mean(axis=1)
        alone = stats.t.interval(0.95, 7, each.mean(), stats.sem(each))
        held["readers"] += alone[0] <= truth <= alone[1]
    assert 0.9 <= held["both"] / 150 <= 0.99
    assert held["readers"] < held["both"]


def test_fleiss_kappa_of_the_psychiatric_diagnoses_is_the_published_one():
    counts = np.array([[int(digit) for digit in row] for row in DIAGNOSES.split()], dtype=float)
    assert (counts.sum(axis=1) == 6).all()
    assert fleiss_kappa(counts)[0] == pytest.approx(0.430, abs=5e-4)
    assert fleiss_kappa(counts)[0] == pytest.approx(inter_rater.fleiss_kappa(counts))


def test_kappas_of_weighted_cases_are_those_of_the_cases_written_out():
    rng = np.random.default_rng(6)
    decision = rng.random((5, 25)) < rng.random(25)
    weight = rng.multinomial(25, np.full(25, 1 / 25), size=6).astype(float)
    counts = np.stack([decision.sum(axis=0), (~decision).sum(axis=0)], axis=1).astype(float)
    for row, fleiss, cohen in zip(
        weight, fleiss_kappa(counts, weight), mean_cohen_kappa(decision, weight), strict=True
    ):
        written = np.repeat(np.arange(25), row.astype(int))
        assert fleiss == pytest.approx(inter_rater.fleiss_kappa(counts[written]))
        pairs = [
            cohen_kappa_score(decision[one, written], decision[other, written])
            for one in range(5)
            for other in range(one)
        ]
        assert cohen == pytest.approx(np.mean(pairs))


def test_agreement_is_one_between_equal_readers_and_none_where_nobody_ever_differs():
    decision = np.tile(np.arange(10) % 2 == 0, (3, 1))
    counts = np.stack([decision.sum(axis=0), (~decision).sum(axis=0)], axis=1).astype(float)
    assert (fleiss_kappa(counts)[0], mean_cohen_kappa(decision)[0]) == (1, 1)
    always = np.ones((3, 10), dtype=bool)
    assert np.isnan(mean_cohen_kappa(always)[0])
    assert np.isnan(fleiss_kappa(np.tile([3.0, 0.0], (10, 1)))[0])


def test_decisions_have_no_area_and_a_lone_reader_of_a_group_no_interval():
    rating, label, model = drawn_study(readers=4)
    table = long_table((rating >= 0.5).astype(int), label, ["senior", "junior", "junior", "junior"], model)
    readings = check_readings(table, COLUMNS)
    study = measure_readers(readings, resamples=100)
    assert "auc" not in study.averages["all"] and not study.areas and not study.comparisons
    assert "auc" in study.model.figures
    lone = study.averages["senior"]["accuracy"]
    assert lone.low is None and lone.method is None
    assert study.differences["senior"]["accuracy"].low is None
    assert "senior" not in study.agreement
    assert any("senior: only 1 readers" in warning for warning in readings.warnings)


def test_the_same_seed_gives_the_same_intervals_whatever_the_order_of_rows():
    rating, label, _ = drawn_study(readers=3)
    table = long_table(rating, label)
    one, other = (measure_readers(check_readings(table, COLUMNS), resamples=100) for _ in range(2))
    assert one.averages == other.averages
    shuffled = measure_readers(check_readings(table.sample(frac=1, random_state=1), COLUMNS), resamples=100)
    assert shuffled == one


def test_grades_need_a_threshold_that_parts_them():
    rating, label, _ = drawn_study(readers=3)
    readings = check_readings(long_table((rating * 4 + 1).round(), label), COLUMNS)
    with pytest.raises(InputError, match=r"ratings go from 1 to 5; say from which one"):
        measure_readers(readings)
    for threshold in (1, 6):
        with pytest.raises(InputError, match="does not part the ratings"):
            measure_readers(readings, threshold)
    study = measure_readers(readings, 4, resamples=100)
    assert study.readers[0].counts["tp"] == (label & ((rating[0] * 4 + 1).round() >= 4)).sum()


def changed(table, rows, **values):
    table = table.astype(object)
    for name, value in values.items():
        table.loc[rows, name] = value
    return table


@pytest.mark.parametrize(
    ("rows", "values", "message"),
    [
        ([3], {"label": 1}, "label: case 'c3' has different ones"),
        ([0], {"model": 0.9}, "model: case 'c0' has different ones"),
        ([0], {"group": "two"}, "group: reader 'r0' has different ones"),
        ([1], {"case": "c0"}, "rating: reader 'r0', case 'c0' has different ones"),
        (slice(None), {"label": 1}, "40 cases with the condition and 0 without"),
        (slice(None), {"label": "ill"}, "say which is the condition"),
        (slice(None), {"reader": "r0", "rating": 1}, "cannot be used"),
        (slice(None), {"model": 50}, "model: 40 cases have no score of 0 to 1, the first one case 'c0'"),
        (slice(None), {"group": "all"}, "stands for all readers"),
        (slice(0, 30), {"rating": "unsure"}, "rating: no number: 31 rows"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused_by_name(rows, values, message):
    rating, label, _ = drawn_study(readers=3)
    rating[0, :2] = 0.2, 0.8
    label[:2] = label[0]
    table = changed(long_table(rating, label), rows, **values)
    with pytest.raises(InputError, match=message):
        check_readings(table, COLUMNS)


def test_too_little_is_refused_by_name():
    rating, label, _ = drawn_study(readers=3)
    table = long_table(rating, label)
    with pytest.raises(InputError, match="has no column 'model'"):
        check_readings(table.drop(columns="model"), COLUMNS)
    with pytest.raises(InputError, match="has no rows"):
        check_readings(table[:0], COLUMNS)
    with pytest.raises(InputError, match="has 1 reader"):
        check_readings(table[table["reader"] == "r1"], COLUMNS)
    with pytest.raises(InputError, match=r"20 of 40 cases were not read by every reader; 'r2' lacks 20"):
        check_readings(table[(table["reader"] != "r2") | (table.index % 2 == 0)], COLUMNS)


def test_what_is_set_aside_is_named_and_counted():
    """An odd rating and a missing one cost their cases, for all readers; a reading given twice costs nothing."""
    rating, label, _ = drawn_study(readers=3)
    table = changed(long_table(rating, label), [5], rating="unsure")
    table = changed(table, [47], rating=None)
    table = pd.concat([table, table[10:11]], ignore_index=True)
    readings = check_readings(table, COLUMNS)
    named = {exclusion.reason: (exclusion.rows, exclusion.first) for exclusion in readings.excluded}
    assert named == {
        "rating: empty": (1, (49,)),
        "rating: no number": (1, (7,)),
        "the same reading again": (1, (122,)),
        "case: not read by every reader": (4, (9, 47, 87, 89)),
    }
    kept = np.array(sorted(set(range(40)) - {5, 7}, key=str))
    assert np.array_equal(readings.rating, rating[:, kept])
    assert np.array_equal(readings.label, label[kept])


def test_the_published_readers_average_to_the_published_figures(data):
    """108 readers of 200 cases with the published operating points: averages of seniors, juniors, all (Figure 3b)."""
    sheet = pd.read_excel(data / "published" / "source_data.xlsx", "Figure 3c", header=None, skiprows=3)
    points = [sheet[pair].dropna().to_numpy(float) for pair in ([0, 1], [2, 3])]
    cases = sheet[[12, 13, 15]].dropna().to_numpy(float)
    groups = ["senior"] * len(points[0]) + ["junior"] * len(points[1])
    label = cases[:, 1] == 1
    called = np.zeros((108, 200), dtype=int)
    rng = np.random.default_rng(7)
    for row, (false, found) in zip(called, np.vstack(points), strict=True):
        row[rng.choice(np.flatnonzero(label), round(100 * found), replace=False)] = 1
        row[rng.choice(np.flatnonzero(~label), round(100 * false), replace=False)] = 1
    readings = check_readings(long_table(called, label, groups, cases[:, 2]), COLUMNS)
    assert {name: len(chosen) for name, chosen in readings.groups.items()} == {"all": 108, "junior": 66, "senior": 42}
    study = measure_readers(readings, resamples=100)
    published = {"senior": (0.665, 0.685, 0.675), "junior": (0.628, 0.618, 0.623), "all": (0.642, 0.644, 0.643)}
    for name, figures in published.items():
        found = [study.averages[name][measure].value for measure in ("specificity", "sensitivity", "accuracy")]
        # They are given to three decimals.
        assert found == pytest.approx(figures, abs=5.1e-4), name
    assert study.model.figures["accuracy"].value == pytest.approx(0.875)


@pytest.fixture
def command(monkeypatch, capfd):
    """Run the command alone, as one of an application; gives what it prints."""
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(readers_command)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["llnm", *map(str, arguments)])
        app(standalone_mode=False)
        return capfd.readouterr()

    return run


NAMES = ("--case", "case", "--reader", "reader", "--rating", "rating", "--label", "label")


def test_the_command_writes_one_row_a_reader_and_all_figures(command, tmp_path):
    rating, label, model = drawn_study(readers=6)
    table = long_table(rating, label, ["senior", "junior"] * 3, model)
    changed(table, [4], rating="?").to_csv(tmp_path / "study.csv", index=False)
    options = (*NAMES, "--group", "group", "--model", "model", "--out", tmp_path / "r", "--resamples", 200)
    printed = command(tmp_path / "study.csv", *options)
    assert "rating: no number: 1 row set aside (row 6)" in printed.err
    assert "not a medical device" in " ".join(printed.out.split())
    record = json.loads((tmp_path / "r" / "readers.json").read_text(encoding="utf-8"))
    study = measure_readers(read_readings(tmp_path / "study.csv", COLUMNS), resamples=200)
    assert record["cases"] == 39
    assert record["readers"] == {"all": 6, "junior": 3, "senior": 3}
    assert record["averages"]["junior"]["auc"]["low"] == study.averages["junior"]["auc"].low
    assert record["model_minus_readers"]["all"]["auc"]["value"] == study.differences["all"]["auc"].value
    assert record["agreement"]["all"]["fleiss_kappa"]["high"] == study.agreement["all"]["fleiss_kappa"].high
    tested = record["obuchowski_rockette"]["model_minus_readers"]["all"]["random"]
    assert tested["p"] == study.comparisons["all"].random.p
    assert [exclusion["rows"] for exclusion in record["excluded"]] == [1, 5]
    rows = pd.read_csv(tmp_path / "r" / "readers.csv")
    assert rows["reader"].tolist() == [f"r{index}" for index in range(6)]
    assert (rows[["tp", "tn", "fp", "fn"]].sum(axis=1) == 39).all()
    assert rows["auc_high"].tolist() == pytest.approx([reader.figures["auc"].high for reader in study.readers])


def test_the_command_reads_parquet_without_groups_or_a_model(command, tmp_path):
    rating, label, _ = drawn_study(readers=5)
    table = long_table((rating * 4 + 1).round().astype(int), label)
    table["label"] = np.where(table["label"] == 1, "metastasis", "none")
    table.drop(columns=["group", "model"]).to_parquet(tmp_path / "study.parquet")
    options = ("--threshold", 3, "--positive", "metastasis", "--delong", "--out", tmp_path / "r", "--resamples", 100)
    command(tmp_path / "study.parquet", *NAMES, *options)
    record = json.loads((tmp_path / "r" / "readers.json").read_text(encoding="utf-8"))
    assert (record["model"], record["model_minus_readers"]) == (None, {})
    assert list(record["averages"]) == ["all"]
    average = record["averages"]["all"]["auc"]["value"]
    assert record["obuchowski_rockette"]["areas"]["all"]["value"] == pytest.approx(average)
    assert record["settings"]["covariance"] == "delong"
    assert average == pytest.approx(np.mean([roc_auc_score(label, (row * 4 + 1).round()) for row in rating]))


def test_the_command_refuses_a_missing_column_by_name(command, tmp_path):
    rating, label, _ = drawn_study(readers=3)
    long_table(rating, label).to_csv(tmp_path / "study.csv", index=False)
    with pytest.raises(InputError, match=r"study.csv: has no column 'level'"):
        command(tmp_path / "study.csv", *NAMES, "--group", "level", "--out", tmp_path / "r")
    assert not (tmp_path / "r").exists()
