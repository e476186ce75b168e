"""Why this risk: what each of the eight inputs contributes, and which places of the views matter.

Comes in: a `Prediction`. Goes out: contributions in points of probability, and a heat map for each view.
"""

from llnm.explain.heat import heat_maps
from llnm.explain.shapley import METHODS, check_method, contributions, exact_shapley, sampled_shapley, shares_of_inputs

__all__ = [
    "METHODS",
    "check_method",
    "contributions",
    "exact_shapley",
    "heat_maps",
    "sampled_shapley",
    "shares_of_inputs",
]
