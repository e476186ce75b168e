"""Scores counted: how many patients with and without the condition have each score, and the same for bootstrap draws.

Comes in: scores, labels and patients. Goes out: `Cells`, from which every figure of this room is computed: a table of
counts is exact, as short as there are different scores, and a bootstrap of it is a draw of counts, many at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from llnm.evaluation.scores import Floats, Scores

# Draws of a bootstrap are computed side by side, as many as keep the tables in the processor's cache.
_CHUNK = 400_000
# Above so many different scores, neighbours are counted together in a bootstrap (never in a point estimate): they are
# then closer than 1 in 32,768 of the patients, far below any interval's last digit.
MOST_CELLS = 32_768


@dataclass(frozen=True)
class Cells:
    """`score` (m,), rising; `positive` and `negative` (..., m): how many with and without the condition have it.

    `unscored` (..., 2): how many without and with the condition have no usable score.
    """

    score: Floats
    positive: Floats
    negative: Floats
    unscored: Floats

    @property
    def total(self) -> Floats:
        """How many have each score."""
        return self.positive + self.negative


def count(scores: Scores, most: int | None = None) -> Cells:
    """The cells of `scores`, exact; or at most `most` of them, neighbours counted together at their mean score."""
    values, code = _encode(scores, most)
    return _decode(values, np.bincount(code, minlength=_width(values)).astype(float))


def resampled(scores: Scores, resamples: int, rng: np.random.Generator, paired: bool = False) -> Iterator[Cells]:
    """Bootstrap draws of patients with replacement, as cells with counts (b, m); the b of all chunks add up.

    `paired`: the same patients are drawn for any scores of the same rows, if `rng` starts from the same seed.
    """
    values, code = _encode(scores, MOST_CELLS)
    width = _width(values)
    draw = _drawer(scores, code, width, rng, paired)
    step = max(1, _CHUNK // width)
    for start in range(0, resamples, step):
        drawn = np.empty((min(step, resamples - start), width))
        for row in drawn:
            row[:] = draw()
        yield _decode(values, drawn)


def without_blocks(scores: Scores, blocks: int, rng: np.random.Generator) -> Cells:
    """The cells of `scores` without each of `blocks` random blocks of patients, (blocks, m): a grouped jackknife."""
    values, code = _encode(scores, MOST_CELLS)
    left = np.tile(np.bincount(code, minlength=_width(values)).astype(float), (blocks, 1))
    block = rng.permutation(np.arange(scores.patients) % blocks)[scores.patient]
    np.subtract.at(left, (block, code), 1)
    return _decode(values, left)


def _width(values: Floats) -> int:
    return 2 * len(values) + 2


@lru_cache(maxsize=2)
def _encode(scores: Scores, most: int | None = None) -> tuple[Floats, npt.NDArray[np.int64]]:
    """The different scores (m,), and each row's place in a table of counts, (n,).

    The table: m cells without the condition, m with it, then those that have no score, without and with it. Above
    `most` different scores neighbours share a cell, about equally many patients each, at their mean score.
    """
    known = ~np.isnan(scores.score)
    values, cell = np.unique(scores.score[known], return_inverse=True)
    if most is not None and len(values) > most:
        counts = np.bincount(cell)
        place = (np.cumsum(counts) - 0.5 * counts) / counts.sum()
        merged = np.unique((place * most).astype(np.int64), return_inverse=True)[1]
        values = np.bincount(merged, values * counts) / np.bincount(merged, counts)
        cell = merged[cell]
    code = np.where(scores.label, 2 * len(values) + 1, 2 * len(values))
    code[known] = cell + len(values) * scores.label[known]
    return values, code


def _decode(values: Floats, counts: Floats) -> Cells:
    m = len(values)
    return Cells(values, counts[..., m : 2 * m], counts[..., :m], counts[..., 2 * m :])


def _drawer(
    scores: Scores, code: npt.NDArray[np.int64], width: int, rng: np.random.Generator, paired: bool
) -> Callable[[], npt.NDArray[Any]]:
    """What gives the table of counts of a new draw of patients, each with all rows."""
    rows, people = len(code), scores.patients
    if scores.clustered:

        def draw() -> npt.NDArray[Any]:
            times = np.bincount(rng.integers(people, size=people), minlength=people)
            return np.bincount(code, times[scores.patient], minlength=width)

    elif width < rows and not paired:
        shares = np.bincount(code, minlength=width) / rows

        def draw() -> npt.NDArray[Any]:
            return rng.multinomial(rows, shares)

    else:

        def draw() -> npt.NDArray[Any]:
            return np.bincount(code[rng.integers(rows, size=rows)], minlength=width)

    return draw
