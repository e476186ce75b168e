"""The three levels of lateral lymph node metastasis, from the number and size of the metastatic nodes.

Comes in: how many nodes, and the largest dimension of the largest (mm). Goes out: the level's name. The rules are those
of Shen et al., Nat Commun 16, 7052 (2025): low, five or fewer micro-metastases under 0.2 cm; medium, more than five,
all under 3 cm; high, any over 3 cm. They leave one to five nodes of 0.2-3 cm in no level (as they do nodes of exactly
3 cm): such a patient is unclassifiable, never guessed.
"""

from __future__ import annotations

import math

from llnm.errors import InputError

LEVELS = ("low", "medium", "high")
UNCLASSIFIABLE = "unclassifiable"
MICRO_METASTASIS_MM = 2.0
LARGE_METASTASIS_MM = 30.0
FEW_NODES = 5


def level_of(node_count: int, largest_node_mm: float) -> str:
    """`low`, `medium`, `high` or `unclassifiable` of a patient with metastatic lateral nodes.

    Raises InputError for fewer than one node or a size that is not above 0.
    """
    if node_count < 1:
        raise InputError(f"node_count: {node_count} metastatic nodes have no level; only patients with LLNM are staged")
    if not 0 < largest_node_mm < math.inf:
        raise InputError(f"largest_node_mm: {largest_node_mm} cannot be; give the largest dimension in mm")
    if largest_node_mm > LARGE_METASTASIS_MM:
        return "high"
    if node_count > FEW_NODES and largest_node_mm < LARGE_METASTASIS_MM:
        return "medium"
    if node_count <= FEW_NODES and largest_node_mm < MICRO_METASTASIS_MM:
        return "low"
    return UNCLASSIFIABLE
