"""Which image to annotate next: uncertainty where the nodule is, diversity of what the encoder sees, both, or chance.

Comes in: a `Pool` (an uncertainty and a row of encoder features for each image). Goes out: strategies by name, as
`lib.campaign` calls them: `random`, `uncertainty`, `diversity`, `hybrid`.
"""

from lib.activelearning.pool import Pool
from lib.activelearning.strategies import random_strategy, strategies

__all__ = ["Pool", "random_strategy", "strategies"]
