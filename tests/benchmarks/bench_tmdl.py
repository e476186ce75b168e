"""TMDL of size `base`: a training step, a forward pass and their memory beside a plain re-statement at equal outputs.

Run `python tests/benchmarks/bench_tmdl.py`: one JSON line. Two pairs, each network in a process of its own, float32, no
dropout, a batch of patients with two simulated views (the released network sees each view as a patient):

- `default`: our network against itself with every attention written out as softmax(QK)V and every token kept, blank
  patches and padding masked;
- `released`: our network with the preset `released` against the re-statement that its tests use.
"""

from __future__ import annotations

import functools
import json
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from bench_predict import median_seconds

sys.path.insert(0, str(Path(__file__).parents[1]))
from llnm.pipeline import predict
from llnm.simulate import simulate_patient
from llnm.tmdl import TMDL, preset_config
from llnm.tmdl.config import PATCHES, VIEW_INPUTS
from restated_tmdl import random_released_state, restated_logits

PATIENTS = 2
RUNS = 5
NO_DROPOUT = {"dropout": 0.0, "attention_dropout": 0.0, "margin_dropout": 0.0, "most_patches": 3 * PATCHES}

Inputs = dict[str, torch.Tensor]


class Measured(NamedTuple):
    """Median seconds of a training step and of a forward pass, peak memory of the process in MiB, the logits."""

    step_s: float
    forward_s: float
    peak_mib: float
    logits: list[list[float]]


def main() -> None:
    """Print the figures of all four networks and the ratios of each pair."""
    torch.set_num_threads(2)
    inputs = {name: value.numpy() for name, value in some_patients().items()}
    figures: dict[str, float] = {}
    for preset in ("default", "released"):
        plain, ours = (in_a_process(preset, written_out, inputs) for written_out in (True, False))
        figures[f"{preset}_largest_difference"] = float(np.abs(np.subtract(plain.logits, ours.logits)).max())
        for name in ("step_s", "forward_s", "peak_mib"):
            figures[f"{preset}_{name}"], figures[f"{preset}_plain_{name}"] = getattr(ours, name), getattr(plain, name)
            figures[f"{preset}_{name.split('_')[0]}_ratio"] = getattr(plain, name) / getattr(ours, name)
    print(json.dumps({name: float(f"{value:.4g}") for name, value in figures.items()}))


def some_patients() -> Inputs:
    """The network's inputs of simulated patients, as `predict` makes them."""
    each = [predict(simulate_patient(seed).case).risk.inputs for seed in range(PATIENTS)]
    return {name: torch.cat([inputs[name] for inputs in each]) for name in each[0]}


def in_a_process(preset: str, written_out: bool, inputs: dict[str, np.ndarray]) -> Measured:
    """Measured alone, so that the peak of memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, (preset, written_out, inputs))


def measure(preset: str, written_out: bool, arrays: dict[str, np.ndarray]) -> Measured:
    """Time and memory of one network."""
    torch.set_num_threads(2)
    inputs = {name: torch.from_numpy(value) for name, value in arrays.items()}
    forward, parameters = (default_network if preset == "default" else released_network)(written_out, inputs)
    with torch.inference_mode():
        logits, forward_s = forward(), median_seconds(forward, RUNS)
    optimizer = torch.optim.AdamW(parameters, lr=1e-5)

    def step() -> None:
        optimizer.zero_grad()
        forward().square().mean().backward()
        optimizer.step()

    step()
    step_s = median_seconds(step, RUNS)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Measured(step_s, forward_s, peak, logits.tolist())


Forward = Callable[[], torch.Tensor]


def default_network(written_out: bool, inputs: Inputs) -> tuple[Forward, list[torch.Tensor]]:
    """Our default network; `written_out` keeps every token and every attention, as one does who wants to see them."""
    torch.manual_seed(0)
    network = TMDL.from_preset("default", "base", **NO_DROPOUT).train()
    return lambda: network(inputs, attention=written_out).logits, list(network.parameters())


def released_network(written_out: bool, inputs: Inputs) -> tuple[Forward, list[torch.Tensor]]:
    """Our network of the preset `released`, or its re-statement, with the same weights."""
    config = preset_config("released", "base", dropout=0.0, attention_dropout=0.0)
    views = inputs["view_mask"].shape[1]
    single = {
        name: value.flatten(0, 1) if name in VIEW_INPUTS else value.repeat_interleave(views, dim=0)
        for name, value in inputs.items()
        if name != "view_mask" and not name.endswith("_absent")
    }
    padding = 50 - single["report"].shape[1]
    single["report"] = torch.nn.functional.pad(single["report"], (0, 0, 0, padding))
    single["report_mask"] = torch.nn.functional.pad(single["report_mask"], (0, padding))
    state = random_released_state(config)
    if not written_out:
        network = TMDL(config).train()
        network.load_released_state_dict(state)
        return lambda: network(single).logits, list(network.parameters())
    state = {name: torch.nn.Parameter(value) for name, value in state.items()}
    restated = functools.partial(restated_logits, state, single, config.heads, config.depth, config.fusion_depth)
    return restated, list(state.values())


if __name__ == "__main__":
    start = time.perf_counter()
    main()
    print(f"{time.perf_counter() - start:.0f} s", file=sys.stderr)
