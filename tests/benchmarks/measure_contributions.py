"""Contributions against the truth of simulated patients: whether the inputs that matter are those that are named.

    python tests/benchmarks/measure_contributions.py RUN COHORT.csv COHORT_SEED [PATIENTS [WITHOUT]]

Takes the run's held-back patients, explains each one exactly, and prints one JSON line: the mean share of every input
in the network's contributions and in the true ones, their rank correlation, and the largest error of the sum. WITHOUT
names causes that the cohort's risk model had switched off.
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

from llnm.explain import shares_of_inputs
from llnm.pipeline import Calibration
from llnm.simulate import CAUSES, RiskModel, sample_truth, true_contributions
from llnm.tmdl import TMDLConfig
from llnm.training.llnm import load_network
from llnm.training.patients import patient_split, prepare_batch, scoring_transforms


@cache
def loaded(run, cohort):
    """The network of a run, its calibration, and the loader of its held-back patients."""
    torch.set_num_threads(1)
    record = json.loads((run / "training.json").read_text(encoding="utf-8"))
    plan = record["plan"]
    split = patient_split(cohort, plan["fold"], plan["folds"], plan["validation_share"], plan["seed"])
    network = load_network(run, TMDLConfig.from_dict(record["tmdl"]))
    calibration = Calibration.from_file(run / "calibration.json")
    return network, calibration, scoring_transforms(network.config, run.parent / "cache"), split.held_back


def explained(run, cohort, place):
    """Contributions of one held-back patient, and by how much they miss prediction minus baseline."""
    network, calibration, load, items = loaded(run, cohort)
    inputs, _ = prepare_batch({name: value[None] for name, value in load(items[place]).items()})
    shares = shares_of_inputs(network, inputs, calibration)
    nothing = {f"{name}_absent": torch.ones_like(inputs[f"{name}_absent"]) for name in CAUSES}
    with torch.inference_mode():
        ends = [float(calibration(network(x).logits[:, -1].double().numpy())[0]) for x in (inputs, inputs | nothing)]
    return [shares[name] for name in CAUSES], abs(sum(shares.values()) - (ends[0] - ends[1]))


def main(run, cohort, seed, patients=200, without=""):
    items = loaded(run, cohort)[-1][:patients]
    model = RiskModel().without(without.split(",")) if without else RiskModel()
    truths = [sample_truth(seed * 1_000_000 + int(item.cells["patient_id"][1:]) - 1, model) for item in items]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
        runs, cohorts = [run] * len(items), [cohort] * len(items)
        found, errors = zip(*pool.map(explained, runs, cohorts, range(len(items))), strict=True)
    true = [list(true_contributions(truth, truths, model).values()) for truth in truths]
    mean = {name: np.abs(np.array(values)).mean(axis=0) for name, values in (("network", found), ("truth", true))}
    shares = {name: dict(zip(CAUSES, np.round(v / v.sum(), 3).tolist(), strict=True)) for name, v in mean.items()}
    rank = float(spearmanr(mean["network"], mean["truth"]).statistic)
    each = float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(found, true, strict=True)]))
    print(
        json.dumps(
            {
                "patients": len(items),
                "shares": shares,
                "rank_correlation": round(rank, 3),
                "mean_correlation_within_a_patient": round(each, 3),
                "largest_error_of_the_sum": max(errors),
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), *map(int, sys.argv[4:5]), *sys.argv[5:6])
