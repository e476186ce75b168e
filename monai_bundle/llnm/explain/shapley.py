"""How much each of the eight inputs of this patient contributes.

Comes in: a `Prediction`. Goes out: Shapley values over the inputs, in points of probability; they add up to the
difference between this patient's probability and the network's answer when every input is absent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import permutations
from math import factorial

import numpy as np
import numpy.typing as npt
import torch

from llnm.errors import InputError
from llnm.pipeline import Calibration, Prediction
from llnm.pipeline.risk import load_tmdl
from llnm.tmdl import INPUTS, TMDL
from llnm.tmdl.config import IMAGE_INPUTS, PATCHES, REPORT_TOKENS, VIEW_INPUTS

METHODS = {
    "none": None,
    "fast": "Shapley values over the eight inputs, sampled over 8 orders and their reverses (points of probability)",
    "full": "exact Shapley values over the eight inputs (points of probability)",
}
SAMPLED_ORDERS = 8
BATCH = 32

Coalitions = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Value = Callable[[Coalitions], Floats]


def check_method(method: str) -> None:
    """Raises InputError unless `method` is none, fast or full."""
    if method not in METHODS:
        raise InputError(f"explain: {method!r} is not known; choose one of {', '.join(METHODS)}")


def contributions(prediction: Prediction, method: str = "full") -> dict[str, float] | None:
    """Contribution of each input in points of probability; 0 for an input the patient lacks; None without a risk.

    The value of a set of inputs is the probability, calibrated as the patient's was, with the other inputs replaced by
    their learned "absent" tokens. Raises InputError for a method that is not known, or a preset without such tokens.
    """
    check_method(method)
    if method == "none" or prediction.risk is None:
        return None
    network = load_tmdl(prediction.weights)
    if not network.config.absent_tokens:
        raise InputError(f"explain: preset {network.config.preset!r} cannot go without inputs; use --explain none")
    return shares_of_inputs(network, prediction.risk.inputs, prediction.risk.calibration, method)


def shares_of_inputs(
    network: TMDL, inputs: Mapping[str, torch.Tensor], calibration: Calibration, method: str = "full"
) -> dict[str, float]:
    """The same from what the network sees of one patient (a batch of one)."""
    inputs = dict(inputs)
    present = [name for name in INPUTS if not _all_absent(inputs, name)]

    def value(coalitions: Coalitions) -> Floats:
        return calibration(_logits(network, inputs, present, coalitions))

    shares = exact_shapley(value, len(present)) if method == "full" else sampled_shapley(value, len(present))
    by_name = dict(zip(present, map(float, shares), strict=True))
    return {name: by_name.get(name, 0.0) for name in INPUTS}


def exact_shapley(value: Value, players: int) -> Floats:
    """Shapley values (Shapley 1953) of a game; `value` takes (n, players) bool coalitions and gives n values."""
    coalitions = (np.arange(2**players)[:, None] >> np.arange(players)) & 1 == 1
    worth = value(coalitions)
    sizes = coalitions.sum(axis=1)
    shares = np.zeros(players)
    for player in range(players):
        without = np.flatnonzero(~coalitions[:, player])
        weight = [factorial(size) * factorial(players - size - 1) / factorial(players) for size in sizes[without]]
        shares[player] = np.dot(weight, worth[without | (1 << player)] - worth[without])
    return shares


def sampled_shapley(value: Value, players: int, orders: int = SAMPLED_ORDERS, seed: int = 0) -> Floats:
    """Shapley values by antithetic permutation sampling (Mitchell et al., JMLR 2022); exact in their sum."""
    rng = np.random.default_rng(seed)
    drawn = [rng.permutation(players) for _ in range(orders)]
    drawn = list(map(np.asarray, permutations(range(players)))) if factorial(players) <= 2 * orders else drawn
    both = [order for forward in drawn for order in (forward, forward[::-1])]
    steps = np.array([[np.isin(np.arange(players), order[:length]) for length in range(players + 1)] for order in both])
    unique, index = np.unique(steps.reshape(-1, players), axis=0, return_inverse=True)
    worth = value(unique)[index.reshape(len(both), players + 1)]
    shares = np.zeros(players)
    for order, values in zip(both, worth, strict=True):
        shares[order] += np.diff(values)
    return shares / len(both)


def _all_absent(inputs: dict[str, torch.Tensor], name: str) -> bool:
    """Whether the patient lacks `name` in every view that exists."""
    absent = inputs.get(f"{name}_absent")
    if absent is None:
        return False
    return bool((absent | ~inputs["view_mask"]).all()) if name in VIEW_INPUTS else bool(absent.all())


def _logits(network: TMDL, inputs: dict[str, torch.Tensor], present: Sequence[str], coalitions: Coalitions) -> Floats:
    """Logit of each coalition of the `present` inputs, the others absent.

    In batches of coalitions with about as many tokens, since the shorter ones of a batch are padded to the longest.
    """
    many: dict[str, int] = {**dict.fromkeys(IMAGE_INPUTS, PATCHES), "report": REPORT_TOKENS}
    tokens = np.array([many.get(name, 1) for name in present])
    order = np.argsort(coalitions @ tokens, kind="stable")
    found = np.empty(len(coalitions))
    with torch.inference_mode():
        for start in range(0, len(coalitions), BATCH):
            places = order[start : start + BATCH]
            part = torch.from_numpy(coalitions[places])
            batch = {name: tensor.expand(len(part), *tensor.shape[1:]) for name, tensor in inputs.items()}
            for player, name in enumerate(present):
                removed = ~part[:, player]
                if name in VIEW_INPUTS:
                    removed = removed[:, None].expand(-1, inputs["view_mask"].shape[1])
                already = batch.get(f"{name}_absent")
                batch[f"{name}_absent"] = removed if already is None else removed | already
            found[places] = network(batch).logits[:, -1].double().numpy()
    return found
