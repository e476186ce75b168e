"""Whole simulated patients: anatomy, findings, risk and label, then the two views and the report.

Comes in: a seed and the causes that act. Goes out: `Truth` (fast, no picture) or `SimulatedPatient` with its `Case`.
The same seed gives the same patient; switching causes off changes only the probability and the label.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from llnm.case import PLANES, Case, Mask, Plane
from llnm.simulate import risk
from llnm.simulate.anatomy import Anatomy, Measurements, measure, sample_anatomy
from llnm.simulate.findings import Findings, Side, Subtype, sample_findings
from llnm.simulate.phrases import Language
from llnm.simulate.reports import write_report
from llnm.simulate.views import render_view

_STREAMS = {"truth": 0, "label": 1, "report": 2, "transverse": 3, "longitudinal": 4}
_SHARE_ENGLISH = 0.5


@dataclass(frozen=True)
class Truth:
    """All that decides the risk of one patient. `terms` holds the logit of every cause, its mean still in it."""

    seed: int
    findings: Findings
    anatomy: Anatomy
    measured: Measurements
    terms: Mapping[str, float]
    true_probability: float
    llnm: bool


@dataclass(frozen=True)
class SimulatedPatient:
    """A case with its truth. `truth` maps the risk model's inputs (mm, years, 0/1) and `term_<cause>` to numbers."""

    case: Case
    llnm: bool
    true_probability: float
    subtype: Subtype
    side: Side
    truth: Mapping[str, float]
    carotid_masks: Mapping[Plane, Mask]


def sample_truth(seed: int, causes: frozenset[str] = risk.ALL_CAUSES) -> Truth:
    """Findings, anatomy, probability and label of one patient in a few milliseconds, without a picture.

    Raises InputError for a cause that the risk model does not know.
    """
    causes = risk.check_causes(causes)
    rng = _stream(seed, "truth")
    drawn = sample_findings(rng)
    anatomy = sample_anatomy(drawn, rng)
    measured = measure(anatomy)
    findings = replace(drawn, size_mm=measured.size_mm, taller=measured.taller)
    terms = risk.terms(findings, measured)
    probability = risk.probability(terms, causes)
    llnm = bool(_stream(seed, "label").random() < probability)
    return Truth(seed, findings, anatomy, measured, terms, probability, llnm)


def simulate_patient(seed: int, causes: frozenset[str] = risk.ALL_CAUSES) -> SimulatedPatient:
    """One patient with both views (spacing, nodule and gland masks), report, age and sex.

    Raises InputError for a cause that the risk model does not know.
    """
    truth = sample_truth(seed, causes)
    rendered = {plane: render_view(truth.anatomy, truth.findings, plane, _stream(seed, plane)) for plane in PLANES}
    rng = _stream(seed, "report")
    language: Language = "en" if rng.random() < _SHARE_ENGLISH else "zh"
    findings = truth.findings
    case = Case(
        views={plane: result.view for plane, result in rendered.items()},
        report=write_report(findings, rng, language),
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
        truth=_inputs(truth),
        carotid_masks={plane: result.carotid for plane, result in rendered.items() if result.carotid is not None},
    )


def _inputs(truth: Truth) -> dict[str, float]:
    findings, measured = truth.findings, truth.measured
    values: dict[str, float] = {
        "capsule_distance_mm": measured.capsule_distance_mm,
        "width_mm": measured.width_mm,
        "height_mm": measured.height_mm,
        "length_mm": measured.length_mm,
        "taller": float(measured.taller),
        "third": float({"lower": -1, "middle": 0, "upper": 1}[findings.third]),
        "microcalcification": float(findings.foci == "microcalcification"),
        "infiltrative_margin": float(risk.is_infiltrative(findings)),
        "markedly_hypoechoic": float(findings.echogenicity == "markedly hypoechoic"),
        "suspicious_nodes": float(risk.has_suspicious_nodes(findings)),
        "family_history": float(findings.family_history),
        "age": float(findings.age),
        "male": float(findings.sex == "M"),
    }
    return values | {f"term_{cause}": value for cause, value in truth.terms.items()}


def _stream(seed: int, purpose: str) -> np.random.Generator:
    return np.random.default_rng([seed, _STREAMS[purpose]])
