"""The 3D risk atlas: where in the thyroid a nodule means risk, with its uncertainty.

Comes in: a cohort's masks and labels, or a published model. Goes out: an `Atlas` in the millimetres of a template, a
patient's place in it, and a page to look at.
"""

from llnm.atlas.model import Atlas, Template

__all__ = ["Atlas", "Template"]
