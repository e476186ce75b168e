"""What simpler models make of the same patients as TMDL: deep features, Cli-DLR, early and late fusion.

Comes in: the patients of a cohort, split as for TMDL, and the cache of their features. Goes out: probabilities of the
held-back patients, a column a model. Every model is a ridge-penalised logistic regression on standardised columns
(strength by cross-validation in the training patients); they differ in what they see and when it is joined:

- `clinical`: age, sex and the nodule's largest dimension;
- `deep`: features of the shipped segmentation encoder on the nodule's texture, mean of the views;
- `cli_dlr`: clinical columns and the cross-fitted score of `deep` (Cli-DLR, `clinical` and deep-learning radiomics);
- `early_fusion`: all columns of image, report and clinic side by side;
- `late_fusion`: one model each for image, report and clinic, whose cross-fitted scores a last one joins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from rich.progress import track

from llnm.cohort import read_patient
from llnm.errors import InputError, MissingExtraError
from llnm.evaluation.calibration import logit, patient_folds
from llnm.evaluation.scores import Bools, Floats, Scores
from llnm.segmentation.encoder import EfficientNetLiteEncoder
from llnm.segmentation.out_of_distribution import encoder_features, nodule_encoder
from llnm.tmdl import preset_config
from llnm.tmdl.direct import nearness
from llnm.training.patients import PatientItem, PatientSplit, scoring_transforms
from llnm.weights import weights_file

MODELS = ("clinical", "deep", "cli_dlr", "early_fusion", "late_fusion")
Columns = Mapping[str, Floats]
_FOLDS = 5
_CROP_PX = 128
_STRENGTHS = np.logspace(-5, 0, 6)


def score_baselines(split: PatientSplit, cache: Path, seed: int = 0) -> pd.DataFrame:
    """Fit every model to the training (and validation) patients and score the held-back ones, a row each.

    Raises InputError where nobody is held back, or fewer than ten training patients are of one class.
    """
    training = [*split.training, *split.validation]
    if not split.held_back:
        raise InputError("folds: nobody is held back; give 2 folds or more")
    label = np.array([item.label for item in training]) == 1
    if min(label.sum(), (~label).sum()) < 2 * _FOLDS:
        raise InputError(f"llnm: fewer than {2 * _FOLDS} training patients of a class; nothing can be cross-validated")
    fitted, scored = columns_of(training, cache), columns_of(split.held_back, cache)
    image, report, clinic = ["deep", "location", "values"], ["report"], ["clinic"]
    found = {
        "clinical": _fit(_joined(fitted, clinic), label)(_joined(scored, clinic)),
        "deep": _fit(fitted["deep"], label)(scored["deep"]),
        "cli_dlr": _stacked(fitted, scored, label, [["deep"]], clinic, seed),
        "early_fusion": _fit(_joined(fitted, image + report + clinic), label)(_joined(scored, image + report + clinic)),
        "late_fusion": _stacked(fitted, scored, label, [image, report, clinic], [], seed),
    }
    table = pd.DataFrame({"patient_id": [item.cells["patient_id"] for item in split.held_back]})
    return table.assign(llnm=[item.label for item in split.held_back], **found)


def columns_of(items: Sequence[PatientItem], cache: Path) -> dict[str, Floats]:
    """What each patient is described by, (n, columns): `deep`, `location`, `values`, `report`, `clinic`."""
    load = scoring_transforms(preset_config(size="small"), cache)
    encoder = nodule_encoder(weights_file("nodule"))
    rows: dict[str, list[Floats]] = {name: [] for name in ("deep", "location", "values", "report", "clinic")}
    for item in track(items, description="Columns", transient=True):
        inputs = load(item)
        views = inputs["view_mask"].numpy()
        texture, location = (inputs[name].float().numpy()[views, 0] / 255 for name in ("texture", "location"))
        rows["deep"].append(np.mean([_deep(encoder, image) for image in texture], axis=0))
        rows["location"].append(_location(inputs, location))
        rows["values"].append(np.stack([inputs[name].numpy()[views].mean() for name in ("echogenicity", "shape")]))
        words = inputs["report"].float().numpy()[inputs["report_mask"].numpy()]
        rows["report"].append(words.mean(axis=0) if len(words) else np.zeros(inputs["report"].shape[1]))
        rows["clinic"].append(np.array([float(inputs["age"]), float(inputs["sex"]), _largest_mm(item)]))
    return {name: np.stack(values).astype(float) for name, values in rows.items()}


def _location(inputs: Mapping[str, torch.Tensor], location: Floats) -> Floats:
    """Largest and mean CPDT, and the steps of the distance to the capsule in mm that TMDL sees, too."""
    batch = {name: inputs[name][None] for name in ("capsule_distance", "view_mask", "location_absent")}
    steps = nearness(batch, torch.tensor([[0.5]]))[0].numpy()
    return np.array([location.max(), location[location > 0].mean() if location.any() else 0.0, *steps])


def _deep(encoder: EfficientNetLiteEncoder, texture: Floats) -> Floats:
    """Features of the nodule's crop, brought to one size."""
    places = np.nonzero(texture)
    rows, columns = (slice(axis.min(), axis.max() + 1) if len(axis) else slice(None) for axis in places)
    crop = torch.from_numpy(texture[rows, columns]).float()[None, None]
    image = torch.nn.functional.interpolate(crop, (_CROP_PX, _CROP_PX), mode="bilinear", antialias=True)
    return np.asarray(encoder_features(encoder, torch.cat((image, torch.zeros_like(image)), dim=1))[0])


def _largest_mm(item: PatientItem) -> float:
    """Largest dimension of the nodule over the given masks; 0 where no mask or spacing is given."""
    sizes = [0.0]
    for view in read_patient(item.cells, item.folder).case.views.values():
        nodule, spacing = view.masks.get("nodule"), view.image.spacing_mm
        if nodule is not None and spacing is not None:
            extents = [np.ptp(places) + 1 for places in np.nonzero(nodule)]
            sizes.append(max(length * step for length, step in zip(extents, spacing, strict=True)))
    return max(sizes)


def _joined(columns: Columns, names: Sequence[str]) -> Floats:
    return np.concatenate([columns[name] for name in names], axis=1)


def _stacked(
    fitted: Columns, scored: Columns, label: Bools, parts: Sequence[Sequence[str]], plain: Sequence[str], seed: int
) -> Floats:
    """A last model on the scores of one model for each of `parts`, cross-fitted in training, and on `plain` columns."""
    fold = patient_folds(Scores(np.zeros(len(label)), label, np.arange(len(label))), _FOLDS, seed)
    inner, outer = [fitted[name] for name in plain], [scored[name] for name in plain]
    for names in parts:
        train, test = _joined(fitted, names), _joined(scored, names)
        crossed = np.empty(len(label))
        for part in range(_FOLDS):
            rest = fold != part
            crossed[~rest] = _fit(train[rest], label[rest])(train[~rest])
        inner.append(logit(crossed)[:, None])
        outer.append(logit(_fit(train, label)(test))[:, None])
    return _fit(np.concatenate(inner, axis=1), label)(np.concatenate(outer, axis=1))


def _fit(columns: Floats, label: Bools) -> Any:
    """A penalised logistic regression: columns (m, k) in, probabilities (m,) out."""
    try:
        from sklearn.linear_model import LogisticRegressionCV
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError as error:
        raise MissingExtraError("scikit-learn", "evaluation") from error
    search = LogisticRegressionCV(Cs=_STRENGTHS, cv=_FOLDS, scoring="neg_log_loss", max_iter=2000)
    model = make_pipeline(StandardScaler(), search).fit(columns, label)
    return lambda rows: np.asarray(model.predict_proba(rows)[:, 1])
