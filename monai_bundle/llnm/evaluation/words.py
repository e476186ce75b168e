"""What an evaluation did and found, in sentences: the methods paragraph of a paper, and answers for its checklists.

Comes in: an `Evaluation` and where its table came from. Goes out: text. Only what the program itself knows is said.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.resources import files

from llnm import NOTICE, __version__
from llnm.evaluation.intervals import LEVEL
from llnm.evaluation.study import Evaluation

CHECKLISTS = ("tripod_ai", "claim")
_LIBRARIES = ("numpy", "scipy", "pandas", "statsmodels", "scikit-learn")


@dataclass(frozen=True)
class Source:
    """Where the scores came from: the file, its columns, the command that was run, and the label of the condition."""

    file: str
    sha256: str
    score: str
    label: str
    command: str
    positive: str = "1"


@dataclass(frozen=True)
class ChecklistItem:
    """One item of a reporting guideline; `answer` covers a part of it, or is None where only the authors can answer."""

    id: str
    section: str
    text: str
    answer: str | None


def methods(evaluation: Evaluation, source: Source) -> list[str]:
    """Paragraphs for the methods section."""
    known = facts(evaluation, source)
    paragraphs = [
        f"{known['sample']} {known['outcome']} {known['missing_data']} {known['clustering']}",
        f"{known['model_output']} {known['threshold']} {known['measures']} {known['intervals']}",
        f"{known['calibration_methods']} {known.get('recalibration', '')} {known['benefit']}",
    ]
    paragraphs += [known[name] for name in ("subgroups", "fairness", "comparison") if name in known]
    return [*paragraphs, f"{known['software']} {known['reproducibility']}"]


def checklist(name: str, evaluation: Evaluation, source: Source) -> tuple[str, list[ChecklistItem]]:
    """(title with its source, items) of one of `CHECKLISTS`, answered where the program knows the answer."""
    text = files("llnm.evaluation").joinpath("checklists", f"{name}.json").read_text(encoding="utf-8")
    form, known = json.loads(text), facts(evaluation, source)
    items = []
    for item in form["items"]:
        answers = [known[subject] for subject in item["known"] if subject in known]
        items.append(ChecklistItem(item["id"], item["section"], item["text"], " ".join(answers) or None))
    return f"{form['name']} ({form['source']})", items


def facts(evaluation: Evaluation, source: Source) -> dict[str, str]:
    """What the program knows, a sentence or two by subject; subjects that do not apply are absent."""
    scores, plan = evaluation.scores, evaluation.plan
    figures, counts = {name: str(figure) for name, figure in evaluation.figures.items()}, evaluation.counts
    share = scores.label.mean()
    known = {
        "sample": f"{scores.patients:,} patients ({len(scores.score):,} rows) were evaluated, "
        f"{int(scores.label.sum()):,} rows ({share:.1%}) with the condition.",
        "outcome": f"The reference standard is the column {source.label}; {source.positive} stands for the condition.",
        "missing_data": _missing(evaluation),
        "clustering": "Patients with several rows were drawn with all of them in every bootstrap."
        if scores.clustered
        else "Every patient has one row.",
        "model_output": f"The model's output is the probability in the column {source.score}.",
        "threshold": f"Scores of at least {evaluation.threshold:.4g} count as positive (cut-off: "
        f"{evaluation.threshold_origin}).",
        "measures": "Discrimination is reported as AUC, average precision, sensitivity, specificity, accuracy, NPV, "
        "PPV and F1.",
        "intervals": f"{LEVEL:.0%} intervals are {'BCa' if plan.method == 'bca' else 'percentile'} bootstraps over "
        f"patients ({plan.resamples:,} draws, seed {plan.seed}); that of AUC is also given after DeLong. "
        "Those of Brier score and calibration error are BCa, those of slope and intercepts Wald's.",
        "calibration_methods": "Calibration is reported as slope and intercept of a logistic recalibration, intercept "
        "at a slope of 1, expected calibration error over ten bins of equal width, and Brier score with its parts.",
        "performance": f"AUC {figures['auc']}, sensitivity {figures['sensitivity']}, specificity "
        f"{figures['specificity']}, PPV {figures['ppv']}, NPV {figures['npv']}.",
        "calibration": f"Slope {figures['calibration_slope']}, intercept {figures['calibration_intercept']}, expected "
        f"calibration error {figures['ece']}, Brier score {figures['brier']}.",
        "benefit": "Net benefit (decision curve), net reduction of interventions and clinical impact are given for "
        "thresholds of 0 to 0.9.",
        "software": f"LLNM {__version__} with {_versions()}. {NOTICE}",
        "data_source": f"{source.file} (SHA-256 {source.sha256}).",
        "reproducibility": f"Command: {source.command} (seed {plan.seed}).",
        "confusion": f"True positives {counts['tp']}, true negatives {counts['tn']}, false positives {counts['fp']}, "
        f"false negatives {counts['fn']}.",
    }
    return known | _optional(evaluation)


def _optional(evaluation: Evaluation) -> dict[str, str]:
    known = {}
    if evaluation.recalibration is not None:
        known["recalibration"] = (
            "Platt, temperature and isotonic recalibration were compared, each fitted and measured on different "
            "patients (five parts, cross-fitted)."
        )
    if evaluation.plan.subgroups:
        known["subgroups"] = f"Figures are given for subgroups of {', '.join(evaluation.plan.subgroups)}."
    if evaluation.gaps is not None and len(evaluation.gaps):
        widest = evaluation.gaps[evaluation.gaps["figure"] == "auc"]
        gaps = [f"{row['column']} {row['gap']:.3f} (p {row['p']:.3f})" for row in widest.to_dict("records")]
        known["fairness"] = f"Largest difference in AUC between subgroups: {', '.join(gaps)}."
    if evaluation.comparisons:
        named = ", ".join(evaluation.comparisons)
        known["comparison"] = (
            f"Compared with {named} on the same patients: DeLong's test, a permutation test, McNemar's test and "
            f"non-inferiority with a margin of {evaluation.plan.margin:g} in AUC."
        )
    return known


def _missing(evaluation: Evaluation) -> str:
    excluded = evaluation.scores.excluded
    if not excluded:
        return "No row was set aside."
    return f"Set aside: {'; '.join(map(str, excluded))}."


@cache
def _versions() -> str:
    return ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
