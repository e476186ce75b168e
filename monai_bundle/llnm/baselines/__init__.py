"""Baselines: what simpler models make of the same patients, measured in the same way as TMDL.

Comes in: tables. Goes out: fitted models and scores for `llnm evaluate`.
"""

from llnm.baselines.clinical import ClinicalModel, cross_fitted_scores, fit_clinical

__all__ = ["ClinicalModel", "cross_fitted_scores", "fit_clinical"]
