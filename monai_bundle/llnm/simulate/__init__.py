"""Patients whose truth is known: two ultrasound planes cut from one anatomy, a report, and a stated risk of LLNM.

Comes in: seeds, and the risk model. Goes out: `SimulatedPatient`s, single `View`s for the training of
segmentation networks, and cohorts on disk. Nothing here says anything about real patients.
"""

from __future__ import annotations

from llnm.simulate.cohort import write_cohort
from llnm.simulate.contributions import true_contributions
from llnm.simulate.patients import SimulatedPatient, Truth, sample_truth, simulate_patient
from llnm.simulate.reports import write_report
from llnm.simulate.risk import ALL_CAUSES, CAUSES, RiskModel
from llnm.simulate.views import simulate_view

__all__ = [
    "ALL_CAUSES",
    "CAUSES",
    "RiskModel",
    "SimulatedPatient",
    "Truth",
    "sample_truth",
    "simulate_patient",
    "simulate_view",
    "true_contributions",
    "write_cohort",
    "write_report",
]
