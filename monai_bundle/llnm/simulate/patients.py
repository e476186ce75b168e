"""Whole simulated patients: anatomy, findings, risk and label, then the two views and the report.

Comes in: a seed and the risk model. Goes out: `Truth` (fast, no picture) or `SimulatedPatient` with its `Case`. The
same seed gives the same patient; another risk model changes only the probability, the label and the nodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import logit

from llnm.case import PLANES, Case, Mask, Plane
from llnm.simulate.anatomy import Anatomy, Measurements, measure, sample_anatomy
from llnm.simulate.findings import Findings, Side, Subtype, sample_findings
from llnm.simulate.nodes import Nodes, sample_nodes
from llnm.simulate.phrases import Language
from llnm.simulate.reports import write_report
from llnm.simulate.risk import RiskModel, probability, values
from llnm.simulate.views import render_view

_STREAMS = {"truth": 0, "label": 1, "report": 2, "transverse": 3, "longitudinal": 4, "nodes": 5}
_SHARE_ENGLISH = 0.5
# The other reports are brief, so that what they leave out can be told from the images alone.
_SHARE_DETAILED = 0.25


@dataclass(frozen=True)
class Truth:
    """All that decides the risk of one patient.

    `terms`: the logit of every effect, its mean taken off. `detailed`: whether the report describes the nodule.
    `nodes`: the metastatic lateral nodes, None without LLNM.
    """

    seed: int
    findings: Findings
    anatomy: Anatomy
    measured: Measurements
    terms: Mapping[str, float]
    true_probability: float
    llnm: bool
    nodes: Nodes | None
    detailed: bool
    language: Language


@dataclass(frozen=True)
class SimulatedPatient:
    """A case with its truth. `truth` maps the risk model's inputs (mm, years, 0/1) and `term_<effect>` to numbers."""

    case: Case
    llnm: bool
    true_probability: float
    subtype: Subtype
    side: Side
    nodes: Nodes | None
    truth: Mapping[str, float]
    carotid_masks: Mapping[Plane, Mask]


def sample_truth(seed: int, model: RiskModel | None = None) -> Truth:
    """Findings, anatomy, probability, label and nodes of one patient in a few milliseconds, without a picture."""
    model = model or RiskModel()
    rng = _stream(seed, "truth")
    drawn = sample_findings(rng)
    anatomy = sample_anatomy(drawn, rng)
    measured = measure(anatomy)
    findings = replace(drawn, size_mm=measured.size_mm, taller=measured.taller)
    terms = model.terms(findings, measured)
    chance = probability(terms)
    llnm = bool(_stream(seed, "label").random() < chance)
    # The first two draws of the report's stream, which goes on with the wording.
    english, detailed = _stream(seed, "report").random(2) < (_SHARE_ENGLISH, _SHARE_DETAILED)
    return Truth(
        seed=seed,
        findings=findings,
        anatomy=anatomy,
        measured=measured,
        terms=terms,
        true_probability=chance,
        llnm=llnm,
        nodes=sample_nodes(logit(chance), _stream(seed, "nodes")) if llnm else None,
        detailed=bool(detailed),
        language="en" if english else "zh",
    )


def report_of(truth: Truth) -> str:
    """The patient's report."""
    rng = _stream(truth.seed, "report")
    rng.random(2)
    return write_report(truth.findings, rng, truth.language, truth.detailed)


def simulate_patient(seed: int, model: RiskModel | None = None) -> SimulatedPatient:
    """One patient with both views (spacing, nodule and gland masks), report, age and sex."""
    truth = sample_truth(seed, model)
    rendered = {plane: render_view(truth.anatomy, truth.findings, plane, _stream(seed, plane)) for plane in PLANES}
    findings = truth.findings
    case = Case(
        views={plane: result.view for plane, result in rendered.items()},
        report=report_of(truth),
        age=float(findings.age),
        sex=findings.sex,
        patient=f"simulated-{seed}",
    )
    return SimulatedPatient(
        case=case,
        llnm=truth.llnm,
        true_probability=truth.true_probability,
        subtype=findings.subtype,
        side=findings.side,
        nodes=truth.nodes,
        truth=_inputs(truth),
        carotid_masks={plane: result.carotid for plane, result in rendered.items() if result.carotid is not None},
    )


def _inputs(truth: Truth) -> dict[str, float]:
    findings, measured = truth.findings, truth.measured
    return {
        **values(findings, measured),
        "capsule_distance_mm": measured.capsule_distance_mm,
        "width_mm": measured.width_mm,
        "height_mm": measured.height_mm,
        "length_mm": measured.length_mm,
        "age": float(findings.age),
        **{f"term_{effect}": term for effect, term in truth.terms.items()},
    }


def _stream(seed: int, purpose: str) -> np.random.Generator:
    return np.random.default_rng([seed, _STREAMS[purpose]])
