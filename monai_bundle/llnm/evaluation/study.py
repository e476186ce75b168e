"""The whole evaluation of one model on one table, in one function.

Comes in: `Scores` and a `Plan`. Goes out: an `Evaluation` that holds every figure, curve and table, ready to be written
down.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from llnm.errors import InputError
from llnm.evaluation.benefit import clinical_impact, decision_curve
from llnm.evaluation.calibration import (
    BrierParts,
    brier_parts,
    calibration_figures,
    calibration_line,
    compare_recalibrations,
    reliability_curve,
)
from llnm.evaluation.cells import Cells, count
from llnm.evaluation.delong import delong_interval
from llnm.evaluation.discrimination import (
    confusion,
    discrimination,
    precision_recall_curve,
    roc_curve,
    sensitivity_threshold,
    youden_threshold,
)
from llnm.evaluation.intervals import RESAMPLES, Figure, Method, bootstrap
from llnm.evaluation.paired import Comparison, compare_models
from llnm.evaluation.published import Published, compare_with_published
from llnm.evaluation.scores import Floats, Scores
from llnm.evaluation.subgroups import subgroup_table

YOUDEN, SENSITIVITY = "youden", "sensitivity="
# Above so many patients every interval is far narrower than any difference that matters: fewer draws say the same.
MANY, FEWER_DRAWS = 500_000, 200
# A curve is drawn and written with at most so many points.
_MOST_POINTS = 2000
_RECALIBRATION_FOLDS = 5


@dataclass(frozen=True)
class Plan:
    """What is to be evaluated and how; `threshold` is a number, `youden` or `sensitivity=S`.

    `subgroups` and `compare` name columns of the scores' table; `margin` is that of non-inferiority in AUC.
    """

    threshold: float | str = 0.5
    subgroups: tuple[str, ...] = ()
    compare: tuple[str, ...] = ()
    margin: float = 0.05
    resamples: int = RESAMPLES
    method: Method = "percentile"
    seed: int = 0


@dataclass(frozen=True)
class Evaluation:
    """What came out: `figures` by name, `curves` and tables by name, and what is to be read with them (`notes`)."""

    scores: Scores
    plan: Plan
    threshold: float
    threshold_origin: str
    counts: Mapping[str, int]
    figures: Mapping[str, Figure]
    brier_parts: BrierParts
    curves: Mapping[str, pd.DataFrame]
    recalibration: pd.DataFrame | None = None
    subgroups: pd.DataFrame | None = None
    gaps: pd.DataFrame | None = None
    comparisons: Mapping[str, Comparison] = field(default_factory=dict)
    published: tuple[Published, ...] = ()
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """`metrics.json`: the names that others rely on, and the rest behind them."""
        return {
            "n": len(self.scores.score),
            "n_scored": int((~np.isnan(self.scores.score)).sum()),
            "patients": self.scores.patients,
            "positives": int(self.scores.label.sum()),
            "threshold": self.threshold,
            "threshold_origin": self.threshold_origin,
            "counts": dict(self.counts),
            **{name: figure.as_dict() for name, figure in self.figures.items()},
            "brier_parts": vars(self.brier_parts),
            "recalibration": _records(self.recalibration),
            "subgroups": _records(self.subgroups),
            "gaps": _records(self.gaps),
            "comparisons": {name: comparison.as_dict() for name, comparison in self.comparisons.items()},
            "published": [vars(row) for row in self.published],
            "excluded": [vars(exclusion) for exclusion in self.scores.excluded],
            "notes": list(self.notes),
        }


def evaluate(scores: Scores, plan: Plan | None = None, published: pd.DataFrame | None = None) -> Evaluation:
    """Evaluate `scores` as `plan` says; `published`: figures to be checked (see `published.read_published`).

    Raises InputError for a threshold, column or figure that does not exist, and where no row has a usable score of a
    class.
    """
    plan = plan or Plan()
    notes = [*map(str, scores.excluded), *scores.warnings]
    if scores.patients > MANY and plan.resamples > FEWER_DRAWS:
        plan = replace(plan, resamples=FEWER_DRAWS)
        notes.append(f"more than {MANY:,} patients: {FEWER_DRAWS} bootstrap draws are taken")
    threshold, origin = choose_threshold(count(scores), plan.threshold)
    subgroups, gaps = None, None
    if plan.subgroups:
        subgroups, gaps = subgroup_table(scores, plan.subgroups, threshold, plan.resamples, plan.seed)
    checked: list[Published] = []
    if published is not None:
        checked = compare_with_published(scores, published, threshold, plan.resamples, plan.seed)
    return Evaluation(
        scores,
        plan,
        threshold,
        origin,
        {name: round(float(value)) for name, value in confusion(count(scores), threshold).items()},
        _figures(scores, threshold, plan),
        brier_parts(count(scores)),
        _curves(scores, plan),
        _recalibration(scores, threshold, plan, notes),
        subgroups,
        gaps,
        _comparisons(scores, threshold, plan),
        tuple(checked),
        tuple(notes),
    )


def choose_threshold(cells: Cells, wanted: float | str) -> tuple[float, str]:
    """The cut-off and where it comes from, in words. Raises InputError for one that cannot be understood."""
    chosen_here = "chosen on these very patients, so what is measured at it is a little too good"
    if wanted == YOUDEN:
        return youden_threshold(cells), f"largest sensitivity + specificity (Youden), {chosen_here}"
    if isinstance(wanted, str) and wanted.startswith(SENSITIVITY):
        share = _number(wanted.removeprefix(SENSITIVITY), wanted)
        return sensitivity_threshold(cells, share), f"highest with a sensitivity of {share:g} or more, {chosen_here}"
    threshold = wanted if isinstance(wanted, float) else _number(str(wanted), str(wanted))
    if not 0 <= threshold <= 1:
        raise InputError(f"threshold: {threshold:g} is no probability; give 0 to 1, {YOUDEN} or {SENSITIVITY}0.95")
    return threshold, "given"


def _number(text: str, whole: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"threshold: {whole!r} is not known; give 0 to 1, {YOUDEN} or {SENSITIVITY}0.95") from None


def _figures(scores: Scores, threshold: float, plan: Plan) -> dict[str, Figure]:
    main = bootstrap(
        scores,
        lambda cells: discrimination(cells, threshold),
        resamples=plan.resamples,
        method=plan.method,
        seed=plan.seed,
    )
    return {
        **main,
        "auc_delong": delong_interval(scores.answered),
        **calibration_figures(scores, plan.resamples, plan.seed),
        **calibration_line(scores),
    }


def _curves(scores: Scores, plan: Plan) -> dict[str, pd.DataFrame]:
    cells = count(scores)
    shares, edges = _score_distribution(cells)
    return {
        "roc": _thinned(roc_curve(cells)),
        "precision_recall": _thinned(precision_recall_curve(cells)),
        "reliability": reliability_curve(cells),
        "score_distribution": pd.DataFrame({"from": edges[:-1], "to": edges[1:], **shares}),
        "decision_curve": decision_curve(scores, resamples=min(plan.resamples, 500), seed=plan.seed),
        "clinical_impact": clinical_impact(scores),
    }


def _score_distribution(cells: Cells, bins: int = 20) -> tuple[dict[str, Floats], Floats]:
    edges = np.linspace(0, 1, bins + 1)
    shares = {}
    for name, counts in (("with_condition", cells.positive), ("without_condition", cells.negative)):
        found = np.histogram(cells.score, edges, weights=counts)[0]
        shares[name] = found / found.sum()
    return shares, edges


def _thinned(curve: dict[str, Floats]) -> pd.DataFrame:
    """At most so many points of a curve, evenly spread, both ends kept."""
    table = pd.DataFrame(curve)
    if len(table) <= _MOST_POINTS:
        return table
    return table.iloc[np.unique(np.linspace(0, len(table) - 1, _MOST_POINTS).round().astype(int))]


def _recalibration(scores: Scores, threshold: float, plan: Plan, notes: list[str]) -> pd.DataFrame | None:
    if scores.patients > MANY:
        rng = np.random.default_rng(plan.seed)
        scores = scores.where((rng.permutation(scores.patients) < MANY)[scores.patient])
        notes.append(f"recalibrations are compared on {MANY:,} of the patients, drawn by lot")
    try:
        return compare_recalibrations(scores, threshold, folds=_RECALIBRATION_FOLDS, seed=plan.seed)
    except InputError as error:
        notes.append(f"no recalibration: {error}")
        return None


def _comparisons(scores: Scores, threshold: float, plan: Plan) -> dict[str, Comparison]:
    found = {}
    for column in plan.compare:
        if column not in scores.table:
            raise InputError(
                f"compare: no column is called {column!r}; choose from {', '.join(map(str, scores.table.columns))}"
            )
        second = pd.to_numeric(scores.table[column], errors="coerce").to_numpy(float, na_value=np.nan)
        found[column] = compare_models(
            scores, second, threshold, margin=plan.margin, resamples=plan.resamples, seed=plan.seed
        )
    return found


def _records(table: pd.DataFrame | None) -> list[dict[str, Any]] | None:
    """Rows for JSON, which has no NaN."""
    if table is None:
        return None
    rows = table.to_dict("records")
    return [{str(key): None if pd.isna(value) else value for key, value in row.items()} for row in rows]
