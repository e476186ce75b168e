"""Cohorts: many patients in one table, checked, predicted and put into one table of results.

Comes in: `cohort.csv`. Goes out: rows and cases (`table`), or results and errors (`run`).
"""

from llnm.cohort.table import (
    CohortPatient,
    Problem,
    fingerprint,
    problems,
    read_clinical,
    read_patient,
    read_table,
    rows,
)

__all__ = ["CohortPatient", "Problem", "fingerprint", "problems", "read_clinical", "read_patient", "read_table", "rows"]
