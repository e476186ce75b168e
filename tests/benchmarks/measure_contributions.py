"""Contributions against the truth of simulated patients: whether the inputs that matter are those that are named.

    python tests/benchmarks/measure_contributions.py RUN COHORT.csv COHORT_SEED [PATIENTS [WITHOUT]]

Takes the run's held-back patients, explains each one exactly, and prints one JSON line: the mean share of every input
in the network's contributions and in the true ones, their rank correlation with its 95 % interval (bootstrap over
patients), and the largest error of the sum. The true ones are given twice: by the inputs that the risk model names
(each finding on one), and by those on which findings are seen, which is measured on the validation patients: the AUC of
the network's findings from each of the views' inputs alone (`seen_alone`). WITHOUT names causes that the cohort's risk
model had switched off.
"""

import json
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr

from llnm.evaluation.cells import count
from llnm.evaluation.discrimination import auc
from llnm.evaluation.scores import Scores
from llnm.explain import shares_of_inputs
from llnm.pipeline import Calibration
from llnm.simulate import CAUSES, RiskModel, sample_truth, true_contributions
from llnm.tmdl import TMDLConfig
from llnm.tmdl.config import VIEW_INPUTS
from llnm.training.llnm import load_network, score_patients
from llnm.training.patients import patient_split, prepare_batch, scoring_transforms

# The effect that each finding of the network tells of.
EFFECT = {"near_capsule": "capsule_distance"}


@cache
def loaded(run, cohort):
    """The network of a run, its calibration, the loader of its patients, and their split."""
    torch.set_num_threads(1)
    record = json.loads((run / "training.json").read_text(encoding="utf-8"))
    plan = record["plan"]
    split = patient_split(cohort, plan["fold"], plan["folds"], plan["validation_share"], plan["seed"])
    network = load_network(run, TMDLConfig.from_dict(record["tmdl"]))
    calibration = Calibration.from_file(run / "calibration.json")
    return network, calibration, scoring_transforms(network.config, run.parent / "cache"), split


def explained(run, cohort, place):
    """Contributions of one held-back patient, and by how much they miss prediction minus baseline."""
    network, calibration, load, split = loaded(run, cohort)
    inputs, _ = prepare_batch({name: value[None] for name, value in load(split.held_back[place]).items()})
    shares = shares_of_inputs(network, inputs, calibration)
    nothing = {f"{name}_absent": torch.ones_like(inputs[f"{name}_absent"]) for name in CAUSES}
    with torch.inference_mode():
        ends = [float(calibration(network(x).logits[:, -1].double().numpy())[0]) for x in (inputs, inputs | nothing)]
    return [shares[name] for name in CAUSES], abs(sum(shares.values()) - (ends[0] - ends[1]))


def seen_alone(run, cohort):
    """AUC of the network's findings where one of the views' inputs is there and the others are absent, by effect."""
    network, _, _, split = loaded(run, cohort)
    found = {EFFECT.get(name, name): {} for name in network.config.seen}
    for alone in VIEW_INPUTS:
        others = [name for name in VIEW_INPUTS if name != alone]
        table = score_patients(network, split.validation, run.parent / "cache", others)
        for name in network.config.seen:
            told = table[table[name] >= 0]
            seen = Scores(told[f"seen_{name}"].to_numpy(float), told[name].to_numpy() == 1, np.arange(len(told)))
            found[EFFECT.get(name, name)][alone] = round(float(auc(count(seen))), 2)
    return found


def rank_correlation(network, truth):
    """Of the mean shares (patients, inputs), and its 95 % interval over 2,000 bootstrap samples of the patients."""
    network, truth = np.abs(network), np.abs(truth)
    everyone = np.arange(len(network))
    draws = [everyone, *np.random.default_rng(0).integers(len(everyone), size=(2000, len(everyone)))]
    found = [float(spearmanr(network[draw].mean(axis=0), truth[draw].mean(axis=0)).statistic) for draw in draws]
    return [round(float(value), 3) for value in (found[0], *np.quantile(found[1:], (0.025, 0.975)))]


def main(run, cohort, seed, patients=200, without=""):
    items = loaded(run, cohort)[-1].held_back[:patients]
    model = RiskModel().without(without.split(",")) if without else RiskModel()
    truths = [sample_truth(seed * 1_000_000 + int(item.cells["patient_id"][1:]) - 1, model) for item in items]
    alone = seen_alone(run, cohort)
    shown = {effect: {name: max(0.0, 2 * value - 1) for name, value in of.items()} for effect, of in alone.items()}
    shown["capsule_distance"]["location"] = 1.0  # the program measures it
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
        runs, cohorts = [run] * len(items), [cohort] * len(items)
        found, errors = zip(*pool.map(explained, runs, cohorts, range(len(items))), strict=True)
    truth = {
        name: [list(true_contributions(one, truths, model, by).values()) for one in truths]
        for name, by in (("by the risk model", None), ("by what is seen", shown))
    }
    mean = {name: np.abs(np.array(values)).mean(axis=0) for name, values in ({"network": found} | truth).items()}
    result = {
        "patients": len(items),
        "shares": {name: dict(zip(CAUSES, np.round(v / v.sum(), 3).tolist(), strict=True)) for name, v in mean.items()},
        "rank_correlation": {name: rank_correlation(found, values) for name, values in truth.items()},
        "mean_correlation_within_a_patient": {
            name: round(float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(found, values, strict=True)])), 3)
            for name, values in truth.items()
        },
        "largest_error_of_the_sum": max(errors),
        "seen_alone": alone,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), *map(int, sys.argv[4:5]), *sys.argv[5:6])
