"""The stated risk model of simulated patients: which cause moves the risk of LLNM by how much.

Comes in: a patient's `Findings` and the `Measurements` of the two planes. Goes out: the terms of the logit by cause and
the probability. This is a synthetic model whose signs follow the literature (closeness to the capsule and the upper
third: Shen et al. 2025, Fig. 4; Back et al. 2019; youth, male sex, calcification: Ito et al. 2004; Ruan et al. 2024).
The sizes are set so that the prevalence is 52 % and the best possible AUC about 0.95. It says nothing about real
patients.

    logit = INTERCEPT + sum over causes of (term - MEANS[cause])

A cause that is switched off contributes nothing, that is its mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from llnm.errors import InputError
from llnm.simulate.anatomy import Measurements
from llnm.simulate.findings import INFILTRATIVE_MARGINS, SUSPICIOUS_NODES, Findings

CAUSES = ("location", "texture", "margin", "echogenicity", "shape", "report", "age", "sex")
ALL_CAUSES = frozenset(CAUSES)

INTERCEPT = 0.12
CAPSULE_EFFECT, CAPSULE_CENTRE_MM, CAPSULE_WIDTH_MM = 2.9, 2.5, 0.5
THIRD_EFFECT = {"upper": 1.2, "middle": 0.3, "lower": -1.2}
TALLER_EFFECT, SIZE_EFFECT, SIZE_CENTRE_MM = 1.2, 0.9, 8.0
MICROCALCIFICATION_EFFECT = 2.0
MARGIN_EFFECT = 1.8
MARKED_HYPOECHOGENICITY_EFFECT = 1.6
AGE_EFFECT_PER_YEAR, AGE_CENTRE = -0.055, 43.0
MALE_EFFECT = 1.2
NODES_EFFECT, FAMILY_EFFECT = 4.0, 1.8

# Means of the terms over 20,000 patients (seeds 0-19,999), so that switching a cause off keeps the prevalence.
MEANS = {
    "location": 0.872,
    "texture": 0.860,
    "margin": 0.809,
    "echogenicity": 0.570,
    "shape": 0.453,
    "report": 1.364,
    "age": -0.009,
    "sex": 0.329,
}


def terms(findings: Findings, measured: Measurements) -> dict[str, float]:
    """Logit of every cause, before its mean is taken off. The distance is the minimum of the two planes, in mm."""
    closeness = math.tanh((CAPSULE_CENTRE_MM - measured.capsule_distance_mm) / CAPSULE_WIDTH_MM)
    return {
        "location": CAPSULE_EFFECT * closeness + THIRD_EFFECT[findings.third],
        "texture": MICROCALCIFICATION_EFFECT * (findings.foci == "microcalcification"),
        "margin": MARGIN_EFFECT * is_infiltrative(findings),
        "echogenicity": MARKED_HYPOECHOGENICITY_EFFECT * (findings.echogenicity == "markedly hypoechoic"),
        "shape": TALLER_EFFECT * measured.taller + SIZE_EFFECT * math.log(measured.size_mm / SIZE_CENTRE_MM),
        "report": NODES_EFFECT * has_suspicious_nodes(findings) + FAMILY_EFFECT * findings.family_history,
        "age": AGE_EFFECT_PER_YEAR * (findings.age - AGE_CENTRE),
        "sex": MALE_EFFECT * (findings.sex == "M"),
    }


def probability(values: dict[str, float], causes: frozenset[str] = ALL_CAUSES) -> float:
    """True probability of LLNM from the terms of the causes that act."""
    logit = INTERCEPT + sum(values[cause] - MEANS[cause] for cause in CAUSES if cause in causes)
    return 1.0 / (1.0 + math.exp(-logit))


def is_infiltrative(findings: Findings) -> bool:
    """Whether the margin is ill-defined or spiculated."""
    return findings.margin in INFILTRATIVE_MARGINS


def has_suspicious_nodes(findings: Findings) -> bool:
    """Whether the report tells of a suspicious lymph node."""
    return findings.nodes in SUSPICIOUS_NODES


def check_causes(names: Iterable[str]) -> frozenset[str]:
    """The names as a set; raises InputError for one that is no cause of this model."""
    chosen = frozenset(names)
    unknown = sorted(chosen - ALL_CAUSES)
    if unknown:
        raise InputError(f"causes: {', '.join(unknown)} not known; choose from {', '.join(CAUSES)}")
    return chosen
