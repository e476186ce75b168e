"""Evaluation: what a reviewer and a statistician ask of scores, for our networks and for anybody's.

Comes in: scores and labels (`read_scores`, `check_scores`). Goes out: figures with 95 % intervals, curves and tests
(`evaluate`), written down by `write_evaluation`.
"""

from llnm.evaluation.scores import Scores, check_scores, read_scores
from llnm.evaluation.study import Evaluation, Plan, evaluate

__all__ = ["Evaluation", "Plan", "Scores", "check_scores", "evaluate", "read_scores"]
