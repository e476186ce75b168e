"""Reports say what was found, in both languages, the decisive things early."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llnm.simulate import write_report
from llnm.simulate.findings import sample_findings
from llnm.simulate.reports import compose_report, kwak_category

# Keywords a reader would look for, written down apart from the grammar: (finding, value, English, Chinese).
KEYWORDS = [
    ("nodes", "level III", ("level III",), ("Ⅲ区", "III区", "3区")),
    ("nodes", "level IV", ("level IV",), ("Ⅳ区", "IV区", "4区")),
    ("foci", "microcalcification", ("microcalcif", "punctate"), ("微钙化", "点状强回声")),
    ("echogenicity", "markedly hypoechoic", ("markedly hypo", "very hypo"), ("极低回声", "显著低回声")),
    ("margin", "spiculated", ("spiculated",), ("毛刺",)),
    ("margin", "ill-defined", ("ill-defined", "indistinct"), ("不清", "模糊")),
    ("side", "left", ("left",), ("左",)),
    ("third", "upper", ("upper", "superior"), ("上部", "上极", "上1/3")),
    ("family_history", True, ("family history of", "family history: positive"), ("有甲状腺癌家族史", "癌阳性")),
    ("taller", True, ("taller",), ("比>1", "比大于1")),
]


def base():
    return replace(sample_findings(np.random.default_rng(1)), nodes="none", family_history=False, margin="smooth")


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize(("name", "value", "english", "chinese"), KEYWORDS)
def test_every_wording_of_a_report_names_the_finding(language, name, value, english, chinese):
    findings = replace(base(), **{name: value})
    for seed in range(40):
        report = write_report(findings, np.random.default_rng(seed), language).lower()
        assert any(word.lower() in report for word in (english if language == "en" else chinese)), report


@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_report_claims_a_suspicious_node_that_is_not_there(language):
    for seed in range(60):
        report = write_report(base(), np.random.default_rng(seed), language)
        assert not any(word in report for word in ("level I", "metasta", "区", "转移", "异常淋巴结伴"))


# Nodes and side are in every report, and the words of nodes are those of other findings too.
@pytest.mark.parametrize("detailed", [True, False])
@pytest.mark.parametrize(
    ("name", "value", "english", "chinese"), [row for row in KEYWORDS if row[0] not in ("nodes", "side")]
)
def test_a_report_is_said_to_state_what_its_words_state_and_nothing_else(detailed, name, value, english, chinese):
    name = "shape" if name == "taller" else name
    for seed in range(30):
        findings = replace(sample_findings(np.random.default_rng(seed)), nodes="none")
        for language, words in (("en", english), ("zh", chinese)):
            report = compose_report(findings, np.random.default_rng(seed), language, detailed)
            text = report.text.lower().replace("no family history of", "")
            assert (report.stated.get(name) == str(value)) == any(word.lower() in text for word in words), report


def test_a_brief_report_leaves_the_description_of_the_nodule_out():
    stated = compose_report(base(), np.random.default_rng(0), "en", detailed=False).stated
    assert (
        {"side", "third", "nodes", "diffuse"} <= set(stated) <= {"side", "third", "nodes", "diffuse", "family_history"}
    )


def test_wording_varies_and_the_generator_decides_it():
    reports = {write_report(base(), np.random.default_rng(seed), "en") for seed in range(60)}
    assert len(reports) > 50
    assert write_report(base(), np.random.default_rng(5), "zh") == write_report(base(), np.random.default_rng(5), "zh")


def test_languages_do_not_mix():
    for seed in range(40):
        findings = sample_findings(np.random.default_rng(seed))
        assert write_report(findings, np.random.default_rng(seed), "en").isascii()
        assert not write_report(findings, np.random.default_rng(seed), "zh").isascii()


def test_kwak_categories_count_the_five_suspicious_features():
    benign = replace(base(), composition="cystic", echogenicity="isoechoic", margin="smooth", foci="none", taller=False)
    assert kwak_category(benign) == "3"
    assert kwak_category(replace(benign, composition="solid")) == "4A"
    assert kwak_category(replace(benign, composition="solid", taller=True)) == "4B"
    worst = replace(benign, composition="solid", echogenicity="hypoechoic", margin="spiculated", taller=True)
    assert kwak_category(worst) == "4C"
    assert kwak_category(replace(worst, foci="microcalcification")) == "5"
