"""The head that says what the views show: from the views alone, and taught by readers where they said something."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from llnm.case import FINDINGS, SEEN
from llnm.cohort import problems, read_clinical
from llnm.errors import InputError
from llnm.simulate.patients import sample_truth, simulate_patient
from llnm.simulate.phrases import PHRASES
from llnm.tmdl import TMDL, TMDLOutput
from llnm.tmdl.config import VIEW_INPUTS
from llnm.training.loss import MetastasisLoss
from llnm.training.patients import patient_split, told_findings

ROW = {"patient_id": "P1", "transverse": "a.png", "longitudinal": "", "report": "", "age": "", "sex": ""}


def test_no_word_of_the_report_reaches_the_findings(some_inputs):
    network = TMDL.from_preset(size="small").eval()
    inputs = some_inputs(patients=3)
    other = inputs | {"report": torch.randn_like(inputs["report"]), "age": inputs["age"] + 20, "sex": 1 - inputs["sex"]}
    with torch.inference_mode():
        first, second = network(inputs), network(other)
    assert first.finding_logits.shape == (3, len(SEEN))
    torch.testing.assert_close(first.finding_logits, second.finding_logits)
    assert not torch.allclose(first.logits, second.logits)


def test_a_view_that_is_not_there_says_nothing_of_the_findings(some_inputs):
    network = TMDL.from_preset(size="small").eval()
    inputs = some_inputs(patients=1, views=2)
    with torch.inference_mode():
        alone = network(inputs | {"view_mask": torch.tensor([[True, False]])}).finding_logits
        first = {name: value[:, :1] if name in VIEW_INPUTS else value for name, value in inputs.items()}
        single = network(first).finding_logits
        both = network(inputs | {"view_mask": torch.tensor([[True, True]])}).finding_logits
    torch.testing.assert_close(alone, single)
    assert not torch.allclose(alone, both)


def test_what_nobody_said_teaches_nothing():
    loss = MetastasisLoss(finding_weight=2.0)
    logits = torch.randn(2, 4, requires_grad=True)
    found = TMDLOutput(torch.tensor([[0.3], [-0.2]]), torch.zeros(1), (), None, logits)
    label = torch.tensor([[1.0, -1, 1, -1, -1, -1], [0.0, -1, 0, -1, -1, -1]])
    loss(found, label).backward()
    assert (logits.grad[:, 0] != 0).all() and (logits.grad[:, 1:] == 0).all()
    plain = MetastasisLoss(finding_weight=0.0)(found, label)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits[:, 0], torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(loss(found, label) - plain, 2 * expected)
    silent = torch.cat((label[:, :2], -torch.ones(2, 4)), dim=1)
    torch.testing.assert_close(loss(found, silent), plain)


def test_findings_of_a_row_are_read_and_what_is_neither_0_nor_1_is_refused_by_name(tmp_path):
    known = read_clinical(ROW | {"microcalcification": "1", "taller_than_wide": "0"}, tmp_path).findings
    assert known == dict(zip(FINDINGS, (True, None, None, False), strict=True))
    wrong = ROW | {"markedly_hypoechoic": "perhaps"}
    with pytest.raises(InputError, match="P1: markedly_hypoechoic: 'perhaps' is not 0 or 1"):
        read_clinical(wrong, tmp_path)
    assert [problem.column for problem in problems(pd.DataFrame([wrong]), tmp_path) if problem.column in FINDINGS] == [
        "markedly_hypoechoic"
    ]


def test_simulated_readers_and_detailed_reports_say_the_same():
    """The report is written from the findings by a grammar; its words are looked up here."""
    calcified, seen = PHRASES["en"]["foci"]["microcalcification"], set()
    for seed in range(60):
        truth = sample_truth(seed)
        if truth.detailed and truth.language == "en":
            patient = simulate_patient(seed)
            nodule = patient.case.report.split("lymph node")[-1]
            said = any(words in nodule.lower() for words in calcified)
            assert said == bool(patient.truth["microcalcification"]), patient.case.report
            seen.add(said)
    assert seen == {True, False}


def test_only_findings_that_a_reader_told_of_are_noted(tmp_path):
    """A cohort whose readers say nothing of the margin leaves the network silent on it, trained further or not.

    The nearness of the capsule, which stands last, is measured and needs no reader.
    """

    def items(**cells):
        rows = [ROW | {"patient_id": f"P{number}", "llnm": str(number % 2)} | cells for number in range(10)]
        pd.DataFrame(rows).to_csv(tmp_path / "cohort.csv", index=False)
        return patient_split(tmp_path / "cohort.csv", folds=1).training

    network = told_findings(items(microcalcification="1", taller_than_wide="0"), TMDL.from_preset(size="small"))
    assert network.told.tolist() == [True, False, False, True, True]
    told_findings(items(infiltrative_margin="1"), network)
    assert network.told.tolist() == [True, True, False, True, True]
    again = TMDL.from_preset(size="small")
    again.load_state_dict(network.state_dict())
    assert again.told.tolist() == network.told.tolist()
    paper = TMDL.from_preset("paper", size="small")
    assert told_findings(items(), paper) is paper
