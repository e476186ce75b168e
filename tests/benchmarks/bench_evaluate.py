"""How long evaluating takes: a bootstrap of seven figures beside libraries', and ten million rows on the command line.

Run `python tests/benchmarks/bench_evaluate.py [--rows N]`: one JSON line. In one run, on the same 23,692 patients and
1,000 draws: ours (seven figures), MLstatkit's bootstrap (one figure, AUC, one hundred draws, times ten) and a loop of
scikit-learn's functions over the seven (twenty draws, times fifty). Memory is the command's peak.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from bench_predict import median_seconds
from MLstatkit import Bootstrapping
from scipy import special
from sklearn import metrics

from llnm.evaluation import check_scores
from llnm.evaluation.discrimination import discrimination
from llnm.evaluation.intervals import bootstrap

PATIENTS, DRAWS = 23_692, 1000


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=10_000_000)
    label, score = simulated(PATIENTS)
    scores = check_scores(score, label)
    figures = {"ours_seven_s": median_seconds(lambda: bootstrap(scores, seven, resamples=DRAWS), runs=3)}
    figures["mlstatkit_auc_s"] = 10 * seconds(lambda: Bootstrapping(label, score, "roc_auc", n_bootstraps=DRAWS // 10))
    figures["scikit_learn_seven_s"] = 50 * seconds(lambda: loop(label, score, DRAWS // 50))
    for name in ("mlstatkit_auc", "scikit_learn_seven"):
        figures[f"ours_to_{name}"] = figures["ours_seven_s"] / figures[f"{name}_s"]
    print(json.dumps(figures | large_table(parser.parse_args().rows)))


def simulated(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels and scores of as many patients."""
    rng = np.random.default_rng(0)
    label = rng.random(rows) < 0.5
    return label.astype(int), special.expit(rng.normal(3 * label - 1.5, 1.5)).round(7)


def seven(cells):
    """The seven figures of the published table, F1 left out."""
    return {name: value for name, value in discrimination(cells, 0.5).items() if name != "f1"}


def loop(label: np.ndarray, score: np.ndarray, draws: int) -> None:
    """Draws one after the other, with scikit-learn."""
    rng = np.random.default_rng(0)
    for _ in range(draws):
        drawn = rng.integers(len(label), size=len(label))
        truth, given = label[drawn], score[drawn]
        called = given >= 0.5
        metrics.roc_auc_score(truth, given)
        metrics.average_precision_score(truth, given)
        metrics.accuracy_score(truth, called)
        for value in (0, 1):
            metrics.recall_score(truth, called, pos_label=value)
            metrics.precision_score(truth, called, pos_label=value)


def seconds(action) -> float:
    """How long it takes once."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def large_table(rows: int) -> dict[str, float]:
    """Seconds and peak memory of `llnm evaluate` on a CSV file of as many rows."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scores.csv"
        label, score = simulated(rows)
        pd.DataFrame({"patient_id": np.arange(rows), "score": score, "llnm": label}).to_csv(path, index=False)
        command = [sys.executable, "-m", "llnm", "evaluate", path, "--label", "llnm", "--score", "score"]
        took = seconds(lambda: subprocess.run([*command, "--out", f"{folder}/out"], check=True, capture_output=True))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024**2
    return {"rows": rows, "rows_s": took, "rows_peak_gib": peak}


if __name__ == "__main__":
    main()
