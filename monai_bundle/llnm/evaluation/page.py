"""An evaluation as files: one page to read offline, one JSON file, and a table for everything that is drawn.

Comes in: an `Evaluation` and its `Source`. Goes out: `metrics.json`, `report.html`, and a CSV file a curve and table.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from llnm import NOTICE, __version__
from llnm.evaluation.benefit import PAPER_COLUMNS
from llnm.evaluation.drawing import draw_all
from llnm.evaluation.study import Evaluation
from llnm.evaluation.words import CHECKLISTS, Source, checklist, facts, methods
from llnm.files import write_text
from llnm.html import page_template

# Rows of the main table, and what each figure is called in words.
FIGURES = {
    "auc": "AUC",
    "auc_delong": "AUC (DeLong)",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "accuracy": "Accuracy",
    "npv": "NPV",
    "ppv": "PPV",
    "f1": "F1",
    "average_precision": "Average precision",
    "brier": "Brier score",
    "ece": "Expected calibration error",
    "calibration_slope": "Calibration slope (ideal 1)",
    "calibration_intercept": "Calibration intercept (ideal 0)",
    "in_the_large": "Intercept at slope 1 (ideal 0)",
}
CAPTIONS = {
    "roc": "ROC curve",
    "precision_recall": "Precision and recall",
    "reliability": "Reliability (ten bins, Wilson intervals)",
    "score_distribution": "Scores by class",
    "decision_curve": "Decision curve",
    "clinical_impact": "Clinical impact",
    "subgroups": "AUC by subgroup (line: all patients)",
}
_SHOWN_THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7)


def write_evaluation(evaluation: Evaluation, source: Source, out: Path, paper_columns: bool = False) -> None:
    """Write `metrics.json`, `report.html` and the CSV files into `out`.

    `paper_columns`: the clinical impact is also written under the paper's names (`clinical_impact_paper.csv`). Raises
    InputError where something cannot be written, MissingExtraError without matplotlib.
    """
    page = render_page(evaluation, source)
    for name, table in _tables(evaluation).items():
        write_text(out / f"{name}.csv", table.to_csv(index=False))
    if paper_columns:
        table = evaluation.curves["clinical_impact"][list(PAPER_COLUMNS)].rename(columns=PAPER_COLUMNS)
        write_text(out / "clinical_impact_paper.csv", table.to_csv(index=False))
    write_text(out / "report.html", page)
    provenance = {"notice": NOTICE, "llnm": __version__, **vars(source)}
    record = {**evaluation.as_dict(), "provenance": provenance}
    write_text(out / "metrics.json", json.dumps(record, indent=2, allow_nan=False, default=_plain) + "\n")


def render_page(evaluation: Evaluation, source: Source) -> str:
    """The report: one HTML text without scripts or outside references, every word escaped."""
    curves = evaluation.curves
    benefit = curves["decision_curve"].merge(curves["clinical_impact"], on="threshold")
    return page_template("llnm.evaluation", "evaluation.html").render(
        notice=NOTICE,
        source=source,
        evaluation=evaluation,
        sample=facts(evaluation, source)["sample"],
        figures=[(words, evaluation.figures[name]) for name, words in FIGURES.items()],
        pictures=[(CAPTIONS[name], name, Markup(svg)) for name, svg in draw_all(evaluation).items()],
        benefit=benefit[benefit["threshold"].isin(_SHOWN_THRESHOLDS)].to_dict("records"),
        recalibration=_rows(evaluation.recalibration),
        subgroups=_rows(evaluation.subgroups),
        gaps=_rows(evaluation.gaps),
        methods=methods(evaluation, source),
        checklists=[checklist(name, evaluation, source) for name in CHECKLISTS],
    )


def _tables(evaluation: Evaluation) -> Mapping[str, pd.DataFrame]:
    """Every table that is written, by file name."""
    tables = dict(evaluation.curves)
    optional = {
        "recalibration": evaluation.recalibration,
        "subgroups": evaluation.subgroups,
        "gaps": evaluation.gaps,
        "published": pd.DataFrame([vars(row) for row in evaluation.published]) if evaluation.published else None,
    }
    tables |= {name: table for name, table in optional.items() if table is not None}
    rows = [{"figure": name, **figure.as_dict()} for name, figure in evaluation.figures.items()]
    return {**tables, "figures": pd.DataFrame(rows)}


def _rows(table: pd.DataFrame | None) -> Sequence[Mapping[Any, Any]]:
    return [] if table is None else table.to_dict("records")


def _plain(value: Any) -> Any:
    """NumPy's numbers as Python's."""
    return value.item()
