"""The encoder that ships: small, free of traces, and its vectors tell findings apart in both languages."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from llnm.simulate import write_report
from llnm.simulate.findings import SUSPICIOUS_NODES, sample_findings
from llnm.simulate.reports import reports as simulated_reports
from llnm.text import ReportEncoder
from llnm.training.report_encoder import build_tokenizer, main

SHIPPED = Path(__file__).parents[2] / "monai_bundle/thyroid_llnm_prediction/models/report_encoder"

FINDINGS = {
    "suspicious node": lambda findings: findings.nodes in SUSPICIOUS_NODES,
    "microcalcification": lambda findings: findings.foci == "microcalcification",
    "markedly hypoechoic": lambda findings: findings.echogenicity == "markedly hypoechoic",
    "infiltrative margin": lambda findings: findings.margin in ("ill-defined", "spiculated"),
}


@pytest.fixture(scope="module")
def encoder():
    return ReportEncoder.from_folder(SHIPPED)


@pytest.fixture(scope="module")
def reports(encoder):
    """For each language: findings of 700 patients and the mean vector of each report."""
    found = {}
    for language in ("en", "zh"):
        findings = [sample_findings(np.random.default_rng([77, seed])) for seed in range(700)]
        texts = [write_report(each, np.random.default_rng([78, seed]), language) for seed, each in enumerate(findings)]
        vectors, mask = encoder.encode(texts)
        found[language] = findings, (vectors.sum(dim=1) / mask.sum(dim=1, keepdim=True)).numpy().astype(float)
    return found


def held_back_accuracy(vectors, labels):
    """Ridge classifier in closed form, fitted on 500 reports, tested on the others (balanced accuracy)."""
    train, test = slice(0, 500), slice(500, None)
    mean = vectors[train].mean(axis=0)
    x = vectors - mean
    y = np.where(labels, 1.0, -1.0)
    weights = np.linalg.solve(
        x[train].T @ x[train] + 0.05 * np.eye(x.shape[1]), x[train].T @ (y - y[train].mean())[train]
    )
    guess = x[test] @ weights + y[train].mean() > 0
    truth = labels[test]
    return (guess[truth].mean() + (~guess[~truth]).mean()) / 2


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("name", FINDINGS)
def test_mean_vectors_tell_findings_apart_on_held_back_reports(reports, language, name):
    findings, vectors = reports[language]
    labels = np.array([FINDINGS[name](each) for each in findings])
    assert held_back_accuracy(vectors, labels) > (0.95 if name == "suspicious node" else 0.88)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_lymph_node_remark_lies_within_the_first_fifty_tokens_of_most_reports(encoder, language):
    inside = 0
    for seed in range(200):
        report = write_report(sample_findings(np.random.default_rng(seed)), np.random.default_rng(seed), language)
        text = "".join(encoder.tokens(report)).replace("##", "")
        inside += any(word in text for word in ("lymph", "neck", "nodes", "淋巴结"))
    assert inside > 0.9 * 200


def test_a_vector_depends_on_its_neighbours(encoder):
    vectors, _ = encoder.encode(["no calcification", "coarse calcification"])
    place = encoder.tokens("no calcification").index("calcification")
    assert encoder.tokens("coarse calcification")[place] == "calcification"
    assert (vectors[0, place] - vectors[1, place]).norm() > 0.05 * vectors[0, place].norm()


def test_every_ascii_sign_and_every_sign_of_the_grammar_is_known(encoder):
    ascii_signs = "".join(chr(code) for code in range(33, 127))
    assert encoder.unknown_share(" ".join(ascii_signs)) == 0.0
    assert encoder.unknown_share(ascii_signs) == 0.0
    assert encoder.unknown_share("qzxjv 0123456789") == 0.0
    for report in itertools.islice(simulated_reports(np.random.default_rng(987)), 200):
        assert encoder.unknown_share(report.text) == 0.0


def test_words_outside_the_grammar_are_read_in_few_pieces(encoder):
    assert encoder.tokens("hypoechogenic nodules") == ["[CLS]", "hypoecho", "##genic", "nodule", "##s", "[SEP]"]
    assert len(encoder.tokens("irregularly calcified metastatic lymphadenopathy")) < 25


def test_the_folder_is_small_and_tells_nothing_of_the_machine_that_made_it():
    assert (SHIPPED / "model.safetensors").stat().st_size < 10_000_000
    config = json.loads((SHIPPED / "config.json").read_text(encoding="utf-8"))
    assert not any(name.startswith("_") for name in config)
    for name in ("config.json", "tokenizer.json", "README.md"):
        assert not re.search(r"/(work|home|tmp|root|Users)\b", (SHIPPED / name).read_text(encoding="utf-8"))


def test_the_card_states_how_it_was_made():
    card = (SHIPPED / "README.md").read_text(encoding="utf-8")
    assert re.search(r"--sentences \d+ --steps \d+ --seed \d+", card)
    assert float(re.search(r"guessed right \| ([\d.]+)%", card)[1]) > 70


def test_the_training_command_writes_a_folder_that_loads_and_refuses_one_in_use(tmp_path, capsys):
    arguments = ["--out", str(tmp_path / "encoder"), "--sentences", "60", "--steps", "2", "--seed", "3"]
    assert main(arguments) == 0
    vectors, mask = ReportEncoder.from_folder(tmp_path / "encoder").encode(["hypoechoic nodule", "低回声结节"])
    assert mask.any(dim=1).all()
    assert torch.isfinite(vectors).all()
    assert main(arguments) == 2
    assert "not an empty folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["encoder"]


def test_the_tokenizer_is_the_same_for_the_same_reports():
    reports = [report.text for report in itertools.islice(simulated_reports(np.random.default_rng(1)), 100)]
    assert build_tokenizer(reports).to_str() == build_tokenizer(reports).to_str()
