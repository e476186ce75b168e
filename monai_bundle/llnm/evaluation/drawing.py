"""The curves of an evaluation as pictures for a page that needs nothing from outside.

Comes in: an `Evaluation`, or readers' figures. Goes out: SVG texts; an evaluation's by name, each one drawn from the
table of the same name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from io import StringIO
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

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
    forest = (_SIZE[0], 1.2 + 0.28 * len(_shown_groups(evaluation)))

    def drawn(draw: Callable[[Any, Evaluation], None]) -> str:
        return as_svg(lambda axes: draw(axes, evaluation), forest if draw is _forest else _SIZE)

    return {name: drawn(draw) for name, draw in drawings.items()}


def as_svg(draw: Callable[[Any], None], size: tuple[float, float] = _SIZE) -> str:
    """What `draw` puts on matplotlib's axes, as SVG; `size` in inches. Raises MissingExtraError without it."""
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", "evaluation") from error
    # A fixed salt, or the same figures would give another file each time; text as text, so that it can be searched.
    with rc_context({"svg.hashsalt": "llnm", "svg.fonttype": "none", "font.size": 10, "font.family": "sans-serif"}):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        axes.spines[["top", "right"]].set_visible(False)
        draw(axes)
        text = StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :]


def raincloud(groups: Mapping[str, Sequence[float]], title: str, line: tuple[str, float] | None = None) -> str:
    """A raincloud of each group's values as SVG: their density, their box and every one of them; `line`: name, place.

    After Allen et al., Wellcome Open Research 2019. Raises MissingExtraError without matplotlib.
    """

    # The first group on top.
    clouds = dict(reversed(list(groups.items())))

    def draw(axes: Any) -> None:
        rng = np.random.default_rng(0)
        for place, values in enumerate(clouds.values()):
            known, colour = np.asarray(values, dtype=float), (MODEL, OTHER, GUIDE)[place % 3]
            if np.ptp(known) > 0:
                at = np.linspace(known.min() - 0.05, known.max() + 0.05, 200)
                density = stats.gaussian_kde(known)(at)
                axes.fill_between(
                    at, place + 0.12, place + 0.12 + 0.4 * density / density.max(), color=colour, alpha=0.4
                )
            axes.boxplot(
                known, positions=[place], widths=0.12, orientation="horizontal", showfliers=False, manage_ticks=False
            )
            axes.plot(known, place - 0.22 + rng.uniform(-0.07, 0.07, len(known)), ".", color=colour, alpha=0.7)
        if line is not None:
            axes.axvline(line[1], color=POSITIVE, linestyle="--", linewidth=1, label=f"{line[0]} {line[1]:.3f}")
            axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1))
        axes.set_yticks(range(len(clouds)), [f"{name} (n = {len(values)})" for name, values in clouds.items()])
        axes.set(xlabel=title, ylim=(-0.5, len(groups) - 0.3))

    return as_svg(draw, (_SIZE[0], 0.8 + 1.1 * len(groups)))


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
    return pd.DataFrame() if evaluation.subgroups is None else evaluation.subgroups.dropna(subset=["auc"])


def _forest(axes: Any, evaluation: Evaluation) -> None:
    rows = _shown_groups(evaluation)
    place = np.arange(len(rows))[::-1]
    reach = np.abs(rows[["auc_low", "auc_high"]].to_numpy(float).T - rows["auc"].to_numpy(float))
    axes.errorbar(rows["auc"], place, xerr=reach, fmt="s", color=MODEL, markersize=4, capsize=2, linewidth=1)
    axes.axvline(evaluation.figures["auc"].value, color=GUIDE, linestyle=":", linewidth=1)
    names = [f"{row['column']}: {row['group']} (n = {row['patients']})" for row in rows.to_dict("records")]
    axes.set_yticks(place, names)
    axes.set(xlabel="AUC (95 %)", ylim=(-0.7, len(rows) - 0.3))
