"""Trains the TMDL network on a cohort as its bundle's config says, calibrates it, measures it on patients held back.

Comes in: a cohort table, and what differs from the config. Goes out, in one folder: `model.pt` (half precision),
`calibration.json` (fitted on the validation patients), `training.json` (data, split, seed, figures), `held_back.csv`
(one row a patient), `MODEL_CARD.md`, a cache of features, and the checkpoint from which an interrupted run goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from monai.data import DataLoader, Dataset
from monai.transforms import Compose

from llnm.case import SEEN
from llnm.errors import InputError
from llnm.evaluation.calibration import (
    LogitLine,
    brier_score,
    calibration_error,
    calibration_error_by_chance,
    fit_recalibration,
)
from llnm.evaluation.cells import count
from llnm.evaluation.classes import MEAN, class_table
from llnm.evaluation.conformal import fit_conformal, set_figures
from llnm.evaluation.discrimination import auc
from llnm.evaluation.intervals import bootstrap
from llnm.evaluation.scores import Scores
from llnm.pipeline.calibration import Conformal
from llnm.pipeline.risk import is_complete
from llnm.staging import LEVELS
from llnm.tmdl import TMDL, TMDLConfig
from llnm.training.bundle import is_first_process, minutes, parameters, run_training
from llnm.training.card import write_card
from llnm.training.patients import PatientItem, RandAbsent, prepare_batch, scoring_transforms
from llnm.training.workflow import write_json, write_table
from llnm.weights import CALIBRATION, load_state_dict

FEWEST_TO_CALIBRATE = 50
_DRAWS = 5
RECORDED = (
    "fold",
    "folds",
    "validation_share",
    "left_out",
    "input_dropout",
    "subset_dropout",
    "view_dropout",
    "preset",
    "size",
    "choices",
    "class_weights",
    "level_weight",
    "finding_weight",
    "seed",
    "max_epochs",
    "batch_size",
    "learning_rate",
    "weight_decay",
    "direct_decay",
    "average_epochs",
)


def train(settings: Mapping[str, Any], out: Path, *, resume: bool = False, threads: int = 2) -> dict[str, Any] | None:
    """Train as `configs/train.json` of the bundle says, `settings` in place of its values, and measure.

    Gives the record that `training.json` holds; under torchrun only the first process does. Raises InputError for a
    cohort that cannot be used.
    """
    workflow = run_training("llnm", settings, out, resume=resume, threads=threads)
    if not is_first_process():
        return None
    parser = workflow.parser
    split, config = parser.get_parsed_content("split"), parser.get_parsed_content("network_def").config
    network = load_network(out, config)
    cache, left_out = Path(parser.get_parsed_content("cache_dir")), parser["left_out"]
    calibration = calibrate(network, split.validation, cache, left_out, parser["seed"])
    if calibration is not None:
        write_json(calibration, out / CALIBRATION)
    scores = score_patients(network, split.held_back, cache, left_out)
    if calibration is not None:
        line = LogitLine(calibration["slope"], calibration["intercept"])
        scores["calibrated"] = line(scores["probability"].to_numpy(float))
    write_table(scores, out / "held_back.csv")
    partial = score_patients(network, split.held_back, cache, left_out, absent_seed=parser["seed"] + _DRAWS)
    record: dict[str, Any] = {
        "plan": {
            "cohort": Path(parser["cohort"]).name,
            **{name: parser[name] for name in RECORDED},
            "threads": threads,
        },
        "tmdl": config.as_dict(),
        "training_patients": len(split.training),
        "validation_patients": len(split.validation),
        "calibration": calibration,
        "held_back": summarise(scores),
        "held_back_levels": summarise_levels(scores),
        "held_back_findings": summarise_findings(scores),
        **summarise_sets(scores, partial, calibration),
        "parameters": parameters(workflow),
        "minutes": round(minutes(workflow), 1),
    }
    write_json(record, out / "training.json")
    write_card(record, out / "MODEL_CARD.md")
    return record


def calibrate(
    network: TMDL, items: Sequence[PatientItem], cache: Path, left_out: Sequence[str], seed: int
) -> dict[str, Any] | None:
    """Platt's line and conformal thresholds, from patients not trained on: each as they are, and with inputs left out.

    Inputs are left out in several ways (`_DRAWS`), since one alone leaves the threshold of the incomplete to chance.

    None where there are too few of them, or their scores do not tell the two classes apart.
    """
    whole, *partial = (
        score_patients(network, items, cache, left_out, absent_seed=absent_seed)
        for absent_seed in (None, *range(seed, seed + _DRAWS))
    )
    # The line by as many incomplete examinations as complete ones; the thresholds by whoever is complete once, and by
    # every incomplete examination.
    table = pd.concat([whole, *partial], ignore_index=True)
    scores = Scores(
        table["probability"].to_numpy(float), table["llnm"].to_numpy() == 1, pd.factorize(table["patient_id"])[0]
    )
    if len(items) < FEWEST_TO_CALIBRATE:
        return None
    try:
        line = fit_recalibration(scores.where(np.arange(len(table)) < 2 * len(items)), "platt")
    except InputError:
        return None
    assert isinstance(line, LogitLine)
    complete = table["complete"].to_numpy()
    once = np.flatnonzero((np.arange(len(table)) < len(items)) | ~complete)
    calibrated = Scores(line(scores.score[once]), scores.label[once], scores.patient[once])
    sets = fit_conformal(calibrated, complete[once])
    return {
        "name": f"validation patients of the training ({len(items)})",
        "slope": line.slope,
        "intercept": line.intercept,
        "conformal": asdict(sets),
    }


def score_patients(
    network: TMDL,
    items: Sequence[PatientItem],
    cache: Path,
    left_out: Sequence[str] = (),
    *,
    absent_seed: int | None = None,
    batch: int = 32,
) -> pd.DataFrame:
    """One row a patient: probability before any calibration, label, levels, and the truth where it is known.

    With `absent_seed` inputs are left out at random, as in training but more of them (a fifth of the inputs and a third
    of the second views); `complete` says in whom nothing was.
    """
    transforms: Any = scoring_transforms(network.config, cache, left_out)
    if absent_seed is not None:
        transforms = Compose([*transforms.transforms, RandAbsent(0.2, 0.33)])
    loader = DataLoader(Dataset(list(items), transforms), batch_size=batch)
    # Only now: composing, and making a loader, seeds transforms anew.
    transforms.set_random_state(absent_seed)
    columns = ("probability", "levels", "findings", "stated", "complete")
    found: dict[str, list[torch.Tensor]] = {name: [] for name in columns}
    with torch.inference_mode():
        for prepared in loader:
            inputs, labels = prepare_batch(prepared)
            answer = network(inputs)
            found["probability"].append(answer.probability)
            found["complete"].append(is_complete(inputs))
            if answer.level_probabilities is not None:
                found["levels"].append(answer.level_probabilities)
            if answer.finding_probabilities is not None:
                found["findings"].append(answer.finding_probabilities)
                found["stated"].append(labels[:, 2:])
    table = pd.DataFrame(
        {
            "patient_id": [item.cells["patient_id"] for item in items],
            "probability": _joined(found["probability"]),
            "llnm": [item.label for item in items],
            "complete": _joined(found["complete"]).astype(bool),
        }
    )
    if found["levels"]:
        table[[f"level_{name}" for name in LEVELS]] = torch.cat(found["levels"]).numpy()
        table["level"] = [LEVELS[item.level] if item.level >= 0 else "" for item in items]
    if found["findings"]:
        seen = list(network.config.seen)
        table[[f"seen_{name}" for name in seen]] = torch.cat(found["findings"]).numpy()
        table[seen] = torch.cat(found["stated"]).numpy().astype(int)[:, : len(seen)]
    if items and "true_probability" in items[0].cells:
        table["true_probability"] = [float(item.cells["true_probability"]) for item in items]
    return table


def _joined(parts: Sequence[torch.Tensor]) -> np.ndarray:
    return torch.cat(list(parts)).numpy() if parts else np.zeros(0)


def summarise(scores: pd.DataFrame) -> Mapping[str, Any]:
    """AUC with a bootstrap interval over patients, Brier score, calibration error, and the AUC of the true probability.

    Without patients of both classes there is no AUC and the figure is None.
    """
    label, patient = scores["llnm"].to_numpy() == 1, np.arange(len(scores))
    if not len(scores):
        return {"patients": 0, "positives": 0}
    chance = scores["calibrated" if "calibrated" in scores else "probability"].to_numpy(float)
    held_back = Scores(chance, label, patient)
    figures = {
        "patients": len(scores),
        "positives": int(label.sum()),
        "auc": bootstrap(held_back, lambda cells: {"auc": auc(cells)})["auc"].rounded(),
        "brier": round(float(brier_score(count(held_back))), 3),
        "ece": round(float(calibration_error(count(held_back))), 3),
        "ece_by_chance": [round(value, 3) for value in calibration_error_by_chance(chance)],
    }
    if "true_probability" in scores:
        best = Scores(scores["true_probability"].to_numpy(float), label, patient)
        figures["best_possible_auc"] = round(float(auc(count(best))), 3) if 0 < label.sum() < len(label) else None
    return figures


def summarise_levels(scores: pd.DataFrame) -> Mapping[str, Any] | None:
    """Mean AUC of the levels (each against the others) with its interval, of patients whose level is known.

    None where a level has fewer than two of them.
    """
    staged = scores[scores["level"] != ""] if "level" in scores else scores[:0]
    if staged.empty or min(staged["level"].value_counts().get(name, 0) for name in LEVELS) < 2:
        return None
    chances = staged[[f"level_{name}" for name in LEVELS]].set_axis(list(LEVELS), axis=1)
    mean = class_table(chances, staged["level"]).set_index("class").loc[MEAN, ["auc", "auc_low", "auc_high"]]
    values = [round(float(value), 3) for value in mean.to_numpy(float)]
    return {"patients": len(staged), "auc": dict(zip(("value", "low", "high"), values, strict=True))}


def summarise_findings(scores: pd.DataFrame) -> Mapping[str, Any]:
    """AUC, with its interval, of each finding that the network sees on the views, of patients of whom a reader said it.

    Empty without such a head; a finding that all or none of them have is left out.
    """
    found = {}
    for name in (name for name in SEEN if f"seen_{name}" in scores):
        stated = scores[scores[name] >= 0]
        label = stated[name].to_numpy() == 1
        if 0 < label.sum() < len(label):
            seen = Scores(stated[f"seen_{name}"].to_numpy(float), label, np.arange(len(label)))
            value = bootstrap(seen, lambda cells: {"auc": auc(cells)})["auc"].rounded()
            found[name] = {"patients": len(label), "positives": int(label.sum()), "auc": value}
    return found


def summarise_sets(whole: pd.DataFrame, partial: pd.DataFrame, calibration: Mapping[str, Any] | None) -> dict[str, Any]:
    """Of the held-back patients as they are and with inputs left out: how often the conformal sets hold the truth.

    Also the figures of those with something left out. Empty without a calibration or patients.
    """
    if calibration is None or not len(whole):
        return {}
    line, sets = LogitLine(calibration["slope"], calibration["intercept"]), Conformal(**calibration["conformal"])
    lacking = partial[~partial["complete"]]
    lacking = lacking.assign(calibrated=line(lacking["probability"].to_numpy(float)))
    both = pd.concat([whole, lacking], ignore_index=True)
    scores = Scores(both["calibrated"].to_numpy(float), both["llnm"].to_numpy() == 1, np.arange(len(both)))
    figures = set_figures(scores, both["complete"].to_numpy(bool), sets)
    return {"held_back_incomplete": summarise(lacking), "conformal_sets": figures}


def load_network(folder: Path, config: TMDLConfig) -> TMDL:
    """The network that a run left in `folder`."""
    network = TMDL(config)
    network.load_state_dict(load_state_dict(folder / "model.pt"))
    return network.eval()
