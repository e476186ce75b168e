"""Warm `predict` of two views with the shipped weights: seconds, memory, and the share of each part, in one run.

Prints one JSON line. The named alternative is the released architecture (base size, random weights), one forward pass
of one view in the same run.
"""

import json
import statistics
import time

import psutil
import torch

from llnm.explain import contributions
from llnm.pipeline import predict
from llnm.pipeline.result import as_result
from llnm.report import render_report
from llnm.report.views import report_views
from llnm.simulate import simulate_patient
from llnm.tmdl import TMDL

RUNS = 5


def median_seconds(action, runs=RUNS):
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main():
    torch.set_num_threads(2)
    patient = simulate_patient(7)
    case = patient.case
    bare = type(case)(
        views={plane: type(view)(plane, view.image) for plane, view in case.views.items()},
        report=case.report,
        age=case.age,
        sex=case.sex,
    )
    cold_start = time.perf_counter()
    prediction = predict(bare)
    cold = time.perf_counter() - cold_start
    warm = median_seconds(lambda: predict(bare))
    page = median_seconds(lambda: render_report(as_result(prediction), report_views(prediction)))
    memory = psutil.Process().memory_info().rss / 2**30
    fast = median_seconds(lambda: contributions(prediction, "fast"), runs=1)
    full = median_seconds(lambda: contributions(prediction, "full"), runs=1)
    released = TMDL.from_preset("released", size="base").eval()
    inputs = {
        name: value[:, 0] if value.ndim == 5 or name in ("echogenicity", "shape") else value
        for name, value in prediction.risk.inputs.items()
        if not name.endswith("_absent") and name != "view_mask"
    }
    with torch.inference_mode():
        alternative = median_seconds(lambda: released(inputs), runs=3)
    figures = {
        "predict_cold_s": cold,
        "predict_warm_s": warm,
        "report_s": page,
        "explain_fast_s": fast,
        "explain_full_s": full,
        "memory_GiB": memory,
        "released_base_one_view_s": alternative,
        "predict_to_released_ratio": warm / alternative,
    }
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
