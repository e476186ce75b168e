"""Baselines: what simpler models make of the same patients, measured in the same way as TMDL.

Comes in: tables. Goes out: fitted models and scores for `llnm evaluate`.
"""

from llnm.baselines.clinical import ClinicalModel, cross_fitted_scores, fit_clinical
from llnm.baselines.multimodal import MODELS, score_baselines

__all__ = ["MODELS", "ClinicalModel", "cross_fitted_scores", "fit_clinical", "score_baselines"]
