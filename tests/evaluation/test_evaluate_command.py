"""`llnm evaluate`, `calibrate` and `classes` as a user runs them, and the page they leave."""

import json
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from published_data import cohort_table, published_figures
from scipy import special

import llnm as package
from llnm.evaluation import Plan, check_scores, evaluate
from llnm.pipeline import Calibration

NAMES = (
    *("n", "positives", "threshold", "counts", "auc", "sensitivity", "specificity", "accuracy", "npv", "ppv"),
    *("average_precision", "brier", "ece", "calibration_slope", "calibration_intercept"),
)


class Page(HTMLParser):
    """The text of a page, its open tags and what it refers to."""

    def __init__(self, text):
        super().__init__()
        self.words, self.outside, self.scripts = [], [], 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.scripts += tag == "script"
        links = [value for name, value in attrs if name in ("src", "href", "xlink:href")]
        self.outside += [link for link in links if not link.startswith("#")]

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def a_table(tmp_path_factory):
    """400 patients of two centres, whose model is overconfident, and a weaker model beside it."""
    rng = np.random.default_rng(0)
    n = 400
    label = rng.random(n) < 0.45
    logits = 1.6 * label - 0.8 + rng.normal(0, 1, n)
    table = pd.DataFrame(
        {
            "patient_id": [f"<b>{i}</b>" for i in range(n)],
            "score": special.expit(2 * logits),
            "older": special.expit(0.5 * logits + rng.normal(0, 1, n)),
            "llnm": label.astype(int),
            "centre": rng.choice(["A", "B & <i>C</i>"], n),
        }
    )
    path = tmp_path_factory.mktemp("scores") / "scores.csv"
    table.to_csv(path, index=False)
    return path


def test_the_published_external_set_ends_in_its_published_figures(llnm, data, tmp_path):
    cohort_table(data, "external").to_csv(tmp_path / "external.csv", index=False)
    published_figures(data, "external").to_csv(tmp_path / "published.csv", index=False)
    arguments = ("--label", "llnm", "--score", "score", "--published", tmp_path / "published.csv", "--paper")
    code, out, err = llnm("evaluate", tmp_path / "external.csv", *arguments, "--out", tmp_path / "out")
    assert code == 0, err
    assert "25-75 % range of the draws, not 95 %" in " ".join(out.split())
    record = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert set(NAMES) <= set(record)
    assert record["counts"] == {"tp": 4216, "tn": 4116, "fp": 230, "fn": 1274}
    assert [record["auc"][key] for key in ("value", "low", "high")] == pytest.approx([0.944, 0.940, 0.948], abs=0.001)
    impact = pd.read_csv(tmp_path / "out" / "clinical_impact_paper.csv")
    assert list(impact) == ["cutoffs", "Accept LLN FNA", "False negative LLNM"]


def test_everything_asked_for_stands_in_the_folder_and_on_the_page(llnm, a_table, tmp_path):
    arguments = ("--label", "llnm", "--score", "score", "--subgroup", "centre", "--compare", "older")
    code, _, err = llnm("evaluate", a_table, *arguments, "--threshold", "youden", "--out", tmp_path)
    assert code == 0, err
    record = json.loads((tmp_path / "metrics.json").read_text())
    assert "chosen on these very patients" in record["threshold_origin"]
    assert record["comparisons"]["older"]["areas"]["difference"]["value"] > 0
    assert {row["group"] for row in record["subgroups"]} == {"A", "B & <i>C</i>"}
    for name in ("roc", "reliability", "decision_curve", "clinical_impact", "subgroups", "gaps", "recalibration"):
        assert len(pd.read_csv(tmp_path / f"{name}.csv")) > 0
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page(html)
    assert (page.scripts, page.outside) == (0, [])
    assert "B & <i>C</i>" in page.text
    assert "<i>C</i>" not in html
    for words in ("not a medical device", "TRIPOD+AI", "CLAIM", "open: to be filled in by the authors", "DeLong"):
        assert words in page.text
    assert f"AUC {record['auc']['value']:.3f}" in page.text


def test_the_same_seed_gives_the_same_files(llnm, a_table, tmp_path):
    places = [tmp_path / parent / "out" for parent in ("one", "two")]
    for place in places:
        llnm("evaluate", a_table, "--label", "llnm", "--score", "score", "--out", place)
    for path in sorted(places[0].iterdir()):
        assert path.read_bytes() == (places[1] / path.name).read_bytes(), path.name


def test_python_gives_what_the_command_gives(llnm, a_table, tmp_path):
    llnm("evaluate", a_table, "--label", "llnm", "--score", "score", "--out", tmp_path)
    record = json.loads((tmp_path / "metrics.json").read_text())
    table = pd.read_csv(a_table)
    ours = package.evaluate(check_scores(table["score"], table["llnm"], table["patient_id"]))
    assert ours.figures["auc"].as_dict() == pytest.approx(record["auc"])


def test_a_site_is_calibrated_and_predict_reads_the_calibration(llnm, a_table, tmp_path):
    code, _, err = llnm("calibrate", a_table, "--label", "llnm", "--score", "score", "--out", tmp_path / "site.json")
    assert code == 0, err
    record = json.loads((tmp_path / "site.json").read_text())
    assert record["slope"] < 1
    assert record["cross_fitted"]["after"]["brier"] < record["cross_fitted"]["before"]["brier"]
    calibration = Calibration.from_file(tmp_path / "site.json")
    assert (calibration.slope, calibration.intercept) == (record["slope"], record["intercept"])
    assert calibration.name == "site (400 patients)"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--label", "llnm", "--score", "risk"), "no column 'risk'"),
        (("--label", "llnm", "--score", "score", "--threshold", "2"), "threshold: 2"),
        (("--label", "llnm", "--score", "score", "--threshold", "best"), "threshold: 'best' is not known"),
        (("--label", "llnm", "--score", "score", "--subgroup", "race"), "no column 'race'"),
        (("--label", "llnm", "--score", "score", "--interval", "wald"), "interval: 'wald'"),
        (("--label", "llnm", "--score", "score", "--margin", "-1", "--compare", "older"), "margin: -1"),
        (("--label", "centre", "--score", "score"), "--positive"),
    ],
)
def test_what_cannot_be_evaluated_ends_with_code_2_and_writes_nothing(llnm, a_table, tmp_path, arguments, message):
    code, _, err = llnm("evaluate", a_table, *arguments, "--out", tmp_path / "out")
    assert code == 2
    assert message in err
    assert not (tmp_path / "out").exists()


def test_ten_rows_end_in_a_report_with_a_warning(llnm, tmp_path):
    table = pd.DataFrame({"score": np.linspace(0.1, 0.9, 10), "llnm": [0, 0, 1, 0, 1, 0, 1, 1, 0, 1]})
    table.to_csv(tmp_path / "few.csv", index=False)
    code, _, err = llnm("evaluate", tmp_path / "few.csv", "--label", "llnm", "--score", "score", "--out", tmp_path)
    assert code == 0
    assert "intervals are rough" in err
    assert "intervals are rough" in Page((tmp_path / "report.html").read_text()).text


def test_a_perfect_model_has_no_calibration_line_and_says_so(tmp_path):
    found = evaluate(check_scores(np.r_[np.linspace(0, 0.4, 40), np.linspace(0.6, 1, 40)], [0] * 40 + [1] * 40), Plan())
    assert found.figures["auc"].value == 1
    assert found.figures["calibration_slope"].value is None
    assert any("no recalibration" in note for note in found.notes)


def test_stages_are_evaluated_one_against_the_rest(llnm, tmp_path):
    rng = np.random.default_rng(1)
    truth = rng.integers(3, size=300)
    chance = special.softmax(2 * np.eye(3)[truth] + rng.normal(0, 1, (300, 3)), axis=1)
    table = pd.DataFrame(chance, columns=["none", "low", "high"]).assign(stage=np.array(["none", "low", "high"])[truth])
    table.to_csv(tmp_path / "stages.csv", index=False)
    columns = [word for name in ("none", "low", "high") for word in ("--probability", name)]
    code, _, err = llnm("classes", tmp_path / "stages.csv", "--label", "stage", *columns, "--out", tmp_path / "out")
    assert code == 0, err
    rows = pd.read_csv(tmp_path / "out" / "classes.csv").set_index("class")
    assert rows.loc["mean of the classes", "auc"] == pytest.approx(rows.loc[["none", "low", "high"], "auc"].mean())


def test_of_very_many_patients_fewer_draws_say_the_same():
    rng = np.random.default_rng(2)
    label = rng.random(600_000) < 0.3
    scores = check_scores(special.expit(rng.normal(1.2 * label - 1, 1)), label)
    found = evaluate(scores)
    assert any("200 bootstrap draws" in note for note in found.notes)
    area, delong = found.figures["auc"], found.figures["auc_delong"]
    assert (area.low, area.high) == pytest.approx((delong.low, delong.high), abs=3e-4)
    assert area.value == pytest.approx(delong.value, abs=1e-10)
    assert found.figures["calibration_slope"].value == pytest.approx(1.2, abs=0.02)
    assert len(found.curves["roc"]) <= 2000
