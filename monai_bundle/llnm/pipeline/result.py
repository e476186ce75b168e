"""A prediction as the plain values of `result.json` (schema: `llnm/schemas/result.json`).

Comes in: a `Prediction`. Goes out: a dictionary for JSON, with the provenance that every result carries.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from llnm import NOTICE, __version__
from llnm.case import PLANES
from llnm.pipeline import MeasuredView, Prediction
from llnm.pipeline.risk import INTERVAL_METHOD, Risk, load_tmdl
from llnm.weights import weights_record

SCHEMA_VERSION = "1.0"
SOFTWARE = ("torch", "monai", "transformers", "numpy", "scikit-image", "pydicom", "SimpleITK")


def as_result(
    prediction: Prediction,
    contributions: Mapping[str, float] | None = None,
    contributions_method: str | None = None,
    atlas: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The result of one patient; the same prediction gives the same values but for `created`.

    `atlas`: region, place_ras_mm, atlas_probability and atlas_interval, from `llnm.atlas.locate.location_fields`.
    """
    case, risk = prediction.case, prediction.risk
    return {
        "schema_version": SCHEMA_VERSION,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "patient": case.patient,
        "risk": {
            "probability": None if risk is None else risk.probability,
            "interval": None if risk is None else list(risk.interval),
            "interval_method": None if risk is None else INTERVAL_METHOD,
            "decision": "abstain" if risk is None else risk.decision,
            "threshold": prediction.threshold,
            "calibration": None if risk is None else risk.calibration.name,
            "coverage": risk.calibration.conformal.coverage if risk and risk.calibration.conformal else None,
            "answers": None if risk is None or risk.answers is None else list(risk.answers),
        },
        "stage": _stage(risk),
        "findings": None if risk is None or risk.findings is None else dict(risk.findings),
        "features": _by_plane(prediction, lambda view: view.features.as_dict()),
        "location": {**_location(prediction), **(atlas or {})},
        "contributions": None if contributions is None else dict(contributions),
        "contributions_method": None if contributions is None else contributions_method,
        "vascularity": None if prediction.vascularity is None else asdict(prediction.vascularity),
        "quality": _by_plane(prediction, lambda view: view.quality),
        "missing": list(prediction.missing),
        "warnings": list(prediction.warnings),
        "provenance": _provenance(prediction),
    }


def _stage(risk: Risk | None) -> dict[str, Any] | None:
    """The likeliest level with the probability of each, for a positive patient; None for the others."""
    if risk is None or risk.levels is None or risk.decision != "positive":
        return None
    return {"level": max(risk.levels, key=risk.levels.__getitem__), **risk.levels}


def _by_plane(prediction: Prediction, values: Any) -> dict[str, Any]:
    return {plane: values(prediction.views[plane]) if plane in prediction.views else None for plane in PLANES}


def _location(prediction: Prediction) -> dict[str, Any]:
    """Where the nodule is nearest to the capsule; region and risk at this place come from an atlas, if one is used."""
    view = prediction.nearest_capsule
    features = None if view is None else view.features
    return {
        "capsule_distance_mm": features and features.capsule_distance_mm,
        "capsule_distance_px": features and features.capsule_distance_px,
        "direction": features and features.capsule_direction,
        "plane": view and view.plane,
        "region": None,
        "place_ras_mm": None,
        "atlas_probability": None,
        "atlas_interval": None,
    }


def _provenance(prediction: Prediction) -> dict[str, Any]:
    case = prediction.case
    return {
        "software": {"llnm": __version__, "python": platform.python_version(), **_versions()},
        "weights": [weights_record(name, prediction.weights).as_dict() for name in ("nodule", "gland", "llnm")],
        "preset": load_tmdl(prediction.weights).config.preset,
        "seed": prediction.seed,
        "inputs": _hashes(prediction),
        "spacing": {plane: _spacing(prediction.views.get(plane)) for plane in PLANES},
        "report": {"given": case.report is not None, "tokens": _tokens(prediction), "language": _language(case.report)},
        "notice": NOTICE,
    }


def _versions() -> dict[str, str]:
    found = {}
    for package in SOFTWARE:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            # Slicer's own Python may carry a package without its metadata.
            found[package] = "unknown"
    return found


def _hashes(prediction: Prediction) -> dict[str, str]:
    """SHA-256 of the pixels of each given image and mask: says which input it was, without its file name."""
    arrays: dict[str, np.ndarray] = {}
    for plane, view in sorted(prediction.case.views.items()):
        arrays[plane] = view.image.pixels
        arrays |= {f"{plane}_{structure}_mask": mask for structure, mask in sorted(view.masks.items())}
    if prediction.case.doppler is not None:
        arrays["doppler"] = prediction.case.doppler.image.pixels
    return {name: hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest() for name, array in arrays.items()}


def _spacing(view: MeasuredView | None) -> dict[str, Any] | None:
    if view is None or view.spacing_mm is None:
        return None
    return {"row_mm": view.spacing_mm[0], "column_mm": view.spacing_mm[1], "source": view.spacing_source}


def _tokens(prediction: Prediction) -> int | None:
    """How many of the report's tokens the network read."""
    if prediction.risk is None or prediction.case.report is None:
        return None
    return int(prediction.risk.inputs["report_mask"].sum())


def _language(report: str | None) -> str | None:
    """`zh`, `en` or `mixed`, by the share of Chinese characters among the letters."""
    letters = [character for character in report or "" if character.isalpha()]
    if not letters:
        return None
    share = sum("\u4e00" <= letter <= "\u9fff" for letter in letters) / len(letters)
    return "zh" if share > 0.5 else "en" if share < 0.05 else "mixed"
