"""The levels of lateral metastasis: the published rules, and the patients whom they leave out."""

import pytest

from llnm.errors import InputError
from llnm.staging import level_of


@pytest.mark.parametrize(
    ("count", "largest_mm", "level"),
    [
        (1, 1.9, "low"),
        (5, 0.5, "low"),
        (5, 2.0, "unclassifiable"),
        (1, 12.0, "unclassifiable"),
        (6, 0.5, "medium"),
        (6, 29.9, "medium"),
        (6, 30.0, "unclassifiable"),
        (1, 30.1, "high"),
        (20, 31.0, "high"),
    ],
)
def test_the_level_is_that_of_the_published_rules(count, largest_mm, level):
    assert level_of(count, largest_mm) == level


@pytest.mark.parametrize(("count", "largest_mm"), [(0, 1.0), (-1, 1.0), (2, 0.0), (2, float("nan")), (2, float("inf"))])
def test_what_cannot_be_staged_is_refused(count, largest_mm):
    with pytest.raises(InputError, match="node_count|largest_node_mm"):
        level_of(count, largest_mm)
