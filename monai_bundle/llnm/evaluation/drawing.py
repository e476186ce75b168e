"""The curves of an evaluation as pictures for a page that needs nothing from outside.

Comes in: an `Evaluation`. Goes out: SVG texts by name, each one drawn from the table of the same name.
"""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from typing import Any

import numpy as np
import pandas as pd

from llnm.errors import MissingExtraError
from llnm.evaluation.study import Evaluation

# Okabe and Ito's colours, which colour-blind readers tell apart.
MODEL, OTHER, POSITIVE, NEGATIVE, GUIDE = "#0072B2", "#D55E00", "#CC3311", "#0072B2", "#888888"
_SIZE = (5.2, 4.2)


def draw_all(evaluation: Evaluation) -> dict[str, str]:
    """One SVG a curve. Raises MissingExtraError without matplotlib."""
    drawings: dict[str, Callable[[Any, Evaluation], None]] = {
        "roc": _roc,
        "precision_recall": _precision_recall,
        "reliability": _reliability,
        "score_distribution": _distribution,
        "decision_curve": _decision,
        "clinical_impact": _impact,
    }
    if evaluation.subgroups is not None:
        drawings["subgroups"] = _forest
    return {name: _drawn(draw, evaluation) for name, draw in drawings.items()}


def _drawn(draw: Callable[[Any, Evaluation], None], evaluation: Evaluation) -> str:
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", "evaluation") from error
    height = _SIZE[1] if draw is not _forest else 1.2 + 0.28 * len(_shown_groups(evaluation))
    # A fixed salt, or the same figures would give another file each time; text as text, so that it can be searched.
    with rc_context({"svg.hashsalt": "llnm", "svg.fonttype": "none", "font.size": 10, "font.family": "sans-serif"}):
        figure = Figure(figsize=(_SIZE[0], height), layout="constrained")
        axes = figure.subplots()
        axes.spines[["top", "right"]].set_visible(False)
        draw(axes, evaluation)
        text = StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :]


def _roc(axes: Any, evaluation: Evaluation) -> None:
    curve = evaluation.curves["roc"]
    axes.plot([0, 1], [0, 1], color=GUIDE, linestyle=":", linewidth=1)
    axes.plot(1 - curve["specificity"], curve["sensitivity"], color=MODEL, label=f"AUC {evaluation.figures['auc']}")
    at = evaluation.figures
    if at["sensitivity"].value is not None and at["specificity"].value is not None:
        point = (1 - at["specificity"].value, at["sensitivity"].value)
        axes.plot(*point, "o", color=OTHER, label=f"cut-off {evaluation.threshold:.3g}")
    axes.set(xlabel="1 - specificity", ylabel="Sensitivity", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.legend(loc="lower right", frameon=False)


def _precision_recall(axes: Any, evaluation: Evaluation) -> None:
    curve = evaluation.curves["precision_recall"]
    prevalence = evaluation.scores.label.mean()
    axes.axhline(prevalence, color=GUIDE, linestyle=":", linewidth=1, label=f"prevalence {prevalence:.3f}")
    label = f"average precision {evaluation.figures['average_precision']}"
    axes.plot(curve["recall"], curve["precision"], color=MODEL, label=label)
    axes.set(xlabel="Sensitivity (recall)", ylabel="PPV (precision)", xlim=(-0.01, 1.01), ylim=(-0.01, 1.03))
    axes.legend(loc="lower left", frameon=False)


def _reliability(axes: Any, evaluation: Evaluation) -> None:
    curve = evaluation.curves["reliability"]
    axes.plot([0, 1], [0, 1], color=GUIDE, linestyle=":", linewidth=1)
    reach = np.abs(curve[["low", "high"]].to_numpy().T - curve["share"].to_numpy())
    axes.errorbar(
        curve["mean_score"],
        curve["share"],
        yerr=reach,
        color=MODEL,
        marker="o",
        markersize=4,
        linewidth=1,
        capsize=2,
        label=f"calibration error {evaluation.figures['ece']}",
    )
    axes.set(xlabel="Mean score", ylabel="Share with the condition", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.legend(loc="upper left", frameon=False)


def _distribution(axes: Any, evaluation: Evaluation) -> None:
    curve = evaluation.curves["score_distribution"]
    edges = [*curve["from"], curve["to"].iloc[-1]]
    for name, colour in (("without_condition", NEGATIVE), ("with_condition", POSITIVE)):
        label = name.replace("_", " ").replace("condition", "the condition")
        axes.stairs(curve[name], edges, color=colour, fill=True, alpha=0.35, label=label)
    axes.axvline(evaluation.threshold, color="black", linestyle="--", linewidth=1, label="cut-off")
    axes.set(xlabel="Score", ylabel="Share of the class", xlim=(0, 1))
    axes.legend(frameon=False)


def _decision(axes: Any, evaluation: Evaluation) -> None:
    curve = evaluation.curves["decision_curve"]
    axes.fill_between(curve["threshold"], curve["model_low"], curve["model_high"], color=MODEL, alpha=0.2, linewidth=0)
    axes.plot(curve["threshold"], curve["model"], color=MODEL, label="model (band: 95 %)")
    axes.plot(curve["threshold"], curve["treat_all"], color=OTHER, linewidth=1, label="treat all")
    axes.plot(curve["threshold"], curve["treat_none"], color=GUIDE, linewidth=1, label="treat none")
    top = curve["model"].max()
    axes.set(xlabel="Threshold probability", ylabel="Net benefit", ylim=(-0.15 * top, 1.1 * top), xlim=(0, 0.9))
    axes.legend(frameon=False)


def _impact(axes: Any, evaluation: Evaluation) -> None:
    curve = evaluation.curves["clinical_impact"]
    axes.plot(curve["threshold"], curve["treated_per_1000"], color=OTHER, label="treated")
    axes.plot(curve["threshold"], curve["found_per_1000"], color=MODEL, label="treated who have the condition")
    axes.plot(curve["threshold"], curve["missed_per_1000"], color=GUIDE, linestyle="--", label="missed")
    axes.set(xlabel="Threshold probability", ylabel="Of 1,000 patients", xlim=(0, 0.9), ylim=(0, 1020))
    axes.legend(frameon=False)


def _shown_groups(evaluation: Evaluation) -> pd.DataFrame:
    assert evaluation.subgroups is not None
    return evaluation.subgroups.dropna(subset=["auc"])


def _forest(axes: Any, evaluation: Evaluation) -> None:
    rows = _shown_groups(evaluation)
    place = np.arange(len(rows))[::-1]
    reach = np.abs(rows[["auc_low", "auc_high"]].to_numpy(float).T - rows["auc"].to_numpy(float))
    axes.errorbar(rows["auc"], place, xerr=reach, fmt="s", color=MODEL, markersize=4, capsize=2, linewidth=1)
    axes.axvline(evaluation.figures["auc"].value, color=GUIDE, linestyle=":", linewidth=1)
    names = [f"{row['column']}: {row['group']} (n = {row['patients']})" for row in rows.to_dict("records")]
    axes.set_yticks(place, names)
    axes.set(xlabel="AUC (95 %)", ylim=(-0.7, len(rows) - 0.3))
