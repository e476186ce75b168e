"""What each input is worth to a trained LLNM network and to the truth, how calibrated it is, and at a shifted site.

    python tests/benchmarks/measure_llnm.py RUN COHORT.csv COHORT_SEED

RUN is the folder of `llnm train llnm` on the simulated cohort of that seed; only its held-back patients are used. One
JSON line: the AUC where inputs are absent (at the prediction; nothing is trained anew), for the network and for one
who knows every finding that the other inputs show; the rank correlation of both losses; the calibration error beside
that of true scores of as many patients; and the error before and after recalibration at a simulated site, where the
logit of the true risk is 0.7 of what it was, plus 1 (labels drawn anew 200 times, half of the patients to fit on).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit, logit
from scipy.stats import spearmanr

from llnm.evaluation.calibration import calibration_error, calibration_error_by_chance, fit_recalibration
from llnm.evaluation.cells import count
from llnm.evaluation.discrimination import auc
from llnm.evaluation.scores import Bools, Floats, Scores
from llnm.simulate import CAUSES, sample_truth
from llnm.simulate.contributions import told_by
from llnm.simulate.patients import Truth
from llnm.simulate.risk import EFFECTS
from llnm.tmdl import TMDLConfig
from llnm.training.llnm import load_network, score_patients
from llnm.training.patients import PatientSplit, patient_split

# The groups of the publication's ablations (its Tables S8 and S9).
MORPHOLOGY, DEMOGRAPHICS = ("texture", "margin", "echogenicity", "shape"), ("age", "sex")
ABSENT = {
    **{f"without {name}": (name,) for name in CAUSES},
    "without morphology": MORPHOLOGY,
    "without demographics": DEMOGRAPHICS,
    "location alone": (*MORPHOLOGY, "report", *DEMOGRAPHICS),
    "morphology alone": ("location", "report", *DEMOGRAPHICS),
    "images alone": ("report", *DEMOGRAPHICS),
    "report alone": ("location", *MORPHOLOGY, *DEMOGRAPHICS),
    "demographics alone": ("location", *MORPHOLOGY, "report"),
}
DRAWS = 200


def area(score: Floats, label: Bools) -> float:
    """AUC of one score."""
    return float(auc(count(Scores(score, label, np.arange(len(label))))))


def known_logit(truth: Truth, absent: tuple[str, ...]) -> float:
    """Sum of the effects that some input shows which is not absent."""
    total = 0.0
    for name in EFFECTS:
        total += truth.terms[name] if told_by(truth, name).keys() - set(absent) else 0.0
    return total


def worth_of_inputs(run: Path, split: PatientSplit, truths: list[Truth], record: dict[str, Any]) -> dict[str, Any]:
    """AUC without each input, of the network and of the truth."""
    network = load_network(run, TMDLConfig.from_dict(record["tmdl"]))
    label = np.array([item.label for item in split.held_back]) == 1
    found: dict[str, Any] = {}
    for name, absent in {"every input": (), **ABSENT}.items():
        scored = score_patients(network, split.held_back, run.parent / "cache", absent)
        best = np.array([known_logit(truth, absent) for truth in truths])
        found[name] = [
            round(area(scored["probability"].to_numpy(float), label), 3),
            round(area(expit(best), label), 3),
        ]
    losses = np.array([np.subtract(found["every input"], found[f"without {name}"]) for name in CAUSES])
    rank = float(spearmanr(losses[:, 0], losses[:, 1]).statistic)
    return {"auc [network, truth]": found, "rank_correlation_of_losses": round(rank, 2)}


def shifted_site(scored: pd.DataFrame) -> dict[str, float]:
    """Mean calibration error at a site with another risk, before and after Platt on half, and by chance."""
    chance = scored["calibrated"].to_numpy(float)
    there = expit(0.7 * logit(scored["true_probability"].to_numpy(float)) + 1.0)
    draw, found = np.random.default_rng(0), []
    for _ in range(DRAWS):
        label, order = draw.random(len(there)) < there, draw.permutation(len(there))
        fit, test = (Scores(chance[part], label[part], part) for part in np.array_split(order, 2))
        line = fit_recalibration(fit, "platt")
        mended = Scores(line(test.score), test.label, test.patient)
        found.append([float(calibration_error(count(each))) for each in (test, mended)])
    before, after = np.mean(found, axis=0)
    by_chance = calibration_error_by_chance(there[: len(there) // 2], DRAWS)[0]
    return {"before": round(before, 3), "after": round(after, 3), "of_true_scores": round(by_chance, 3)}


def main() -> None:
    """Measure the run named on the command line."""
    run, cohort, seed = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    record = json.loads((run / "training.json").read_text(encoding="utf-8"))
    plan, scored = record["plan"], pd.read_csv(run / "held_back.csv")
    split = patient_split(cohort, plan["fold"], plan["folds"], plan["validation_share"], plan["seed"])
    truths = [sample_truth(seed * 1_000_000 + int(item.cells["patient_id"][1:]) - 1) for item in split.held_back]
    chance = scored["calibrated"].to_numpy(float)
    result = {
        "patients": len(scored),
        **worth_of_inputs(run, split, truths, record),
        "ece": record["held_back"]["ece"],
        "ece_of_true_scores": [round(value, 3) for value in calibration_error_by_chance(chance)],
        "ece_at_a_shifted_site": shifted_site(scored),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
