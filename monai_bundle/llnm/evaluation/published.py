"""Whether published figures come out of the data they were published with, and what their intervals really are.

Comes in: `Scores` and a table of published figures. Goes out: for each one whether it reproduces, and in words what it
is where it does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from llnm.errors import InputError
from llnm.evaluation.cells import count
from llnm.evaluation.discrimination import discrimination
from llnm.evaluation.intervals import LEVEL, RESAMPLES, draws
from llnm.evaluation.scores import Floats, Scores

COLUMNS = ("figure", "value", "low", "high")
# Shares of the draws that are taken for a 95 % interval by mistake: quartiles, one standard error, and others.
_OTHER_LEVELS = (0.5, 0.68, 0.8, 0.9, 0.99)
# Draws differ from program to program: a bound may be off by a unit of the last published digit, or by this share of
# the interval's width.
_SLACK = 0.1


@dataclass(frozen=True)
class Published:
    """One published figure beside ours."""

    figure: str
    published: str
    value: float
    low: float
    high: float
    value_reproduces: bool
    interval_reproduces: bool | None
    finding: str


def read_published(path: Path) -> pd.DataFrame:
    """Columns `figure`, `value` and, if they are known, `low` and `high`, as text so that digits can be counted.

    Raises InputError for a table without them.
    """
    try:
        table = pd.read_csv(path, dtype=str)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: cannot be read as a table ({error}); give a CSV file with figure and value"
        ) from error
    if not {"figure", "value"} <= set(table):
        raise InputError(f"{path}: needs the columns figure and value, and low and high where an interval is published")
    return table.reindex(columns=list(COLUMNS))


def compare_with_published(
    scores: Scores, published: pd.DataFrame, threshold: float, resamples: int = RESAMPLES, seed: int = 0
) -> list[Published]:
    """Each of the `published` figures (as `read_published` gives them) recomputed from `scores`.

    A value reproduces if it rounds to the published one. Where an interval does not, other shares of the bootstrap
    draws are tried, since a narrower range is easily published for a 95 % interval. Raises InputError for a figure that
    is not known.
    """
    values = {name: float(value) for name, value in discrimination(count(scores), threshold).items()}
    found = draws(scores, lambda cells: discrimination(cells, threshold), resamples, np.random.default_rng(seed))
    rows = []
    for name, *texts in published[list(COLUMNS)].astype("string").fillna("nan").to_numpy(str).tolist():
        if name not in values:
            raise InputError(f"published: {name!r} is not known; choose from {', '.join(values)}")
        rows.append(_compared(name, (texts[0], texts[1], texts[2]), values[name], found[name]))
    return rows


def _compared(name: str, texts: tuple[str, str, str], value: float, drawn: Floats) -> Published:
    try:
        given, low, high = (float(text) for text in texts)
    except ValueError as error:
        raise InputError(f"published: {name} has a cell that is no number ({error})") from error
    unit = 10.0 ** -len(texts[0].partition(".")[2])
    same = abs(value - given) <= 0.5 * unit + 1e-9
    ours = _central(drawn, LEVEL)
    told = texts[0] if np.isnan(low) else f"{texts[0]} ({texts[1]}-{texts[2]})"
    findings = ["the value reproduces" if same else f"the value does not reproduce: the data give {value:.4f}"]
    interval: bool | None = None
    if not np.isnan(low + high):
        interval = _near(ours, (low, high), unit)
        findings.append(_interval_finding(interval, drawn, (low, high), ours, unit))
    return Published(name, told, value, *ours, same, interval, "; ".join(findings))


def _interval_finding(
    same: bool, drawn: Floats, published: tuple[float, float], ours: tuple[float, float], unit: float
) -> str:
    if same:
        return "the interval reproduces"
    text = f"the interval does not reproduce: the data give {ours[0]:.4f} to {ours[1]:.4f}"
    for level in _OTHER_LEVELS:
        if _near(_central(drawn, level), published, unit):
            tails = 100 * np.array([(1 - level) / 2, (1 + level) / 2])
            return f"{text}; the published one equals the {tails[0]:g}-{tails[1]:g} % range of the draws, not 95 %"
    return text


def _central(drawn: Floats, level: float) -> tuple[float, float]:
    low, high = np.nanquantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _near(bounds: tuple[float, float], published: tuple[float, float], unit: float) -> bool:
    slack = max(unit, _SLACK * (published[1] - published[0])) + 1e-9
    return all(abs(a - b) <= slack for a, b in zip(bounds, published, strict=True))
