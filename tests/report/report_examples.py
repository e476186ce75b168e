"""One real patient's views, with measurements made here by SciPy, as the report's tests show them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.ndimage import binary_erosion, gaussian_filter
from scipy.spatial import cKDTree

from llnm.case import PLANES, Box, Mask
from llnm.report import ReportView

DATA = Path(os.environ.get("LLNM_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
SPACING = {"transverse": (0.19, 0.19), "longitudinal": (0.21, 0.21)}
IMAGES = {"transverse": "91", "longitudinal": "72"}
SCAN_AREAS = {"transverse": Box(2, 66, 200, 297), "longitudinal": Box(6, 77, 160, 274)}


def shortest_line(nodule: Mask, gland: Mask) -> tuple[tuple[float, float], tuple[float, float]]:
    """The closest pair of border pixels of two masks."""
    inner, outer = (np.argwhere(mask & ~binary_erosion(mask)) for mask in (nodule, gland))
    distances, nearest = cKDTree(outer).query(inner)
    at = int(np.argmin(distances))
    return tuple(map(float, inner[at])), tuple(map(float, outer[nearest[at]]))


def real_views(attention: bool = True) -> dict[str, ReportView]:
    """Both planes of `gland` images, with a smooth map for attention and one further nodule drawn by hand."""
    views = {}
    for plane, number in IMAGES.items():
        frame = np.asarray(Image.open(next((DATA / "gland" / "images").glob(f"{number}.*"))).convert("L"))
        nodule, gland = (
            np.asarray(Image.open(DATA / "gland" / name / f"{number}.png")) > 0 for name in ("nodule", "gland")
        )
        other = np.zeros_like(nodule)
        if plane == "longitudinal":
            rows, columns = np.nonzero(gland & ~nodule)
            middle = np.array([np.median(rows), np.quantile(columns, 0.2)])
            other = np.hypot(*(np.indices(gland.shape) - middle[:, None, None])) < 8
        views[plane] = ReportView(
            plane=plane,
            bmode=(frame / 255).astype(np.float32),
            masks={"nodule": nodule, "gland": gland},
            spacing_mm=SPACING[plane],
            scan_area=SCAN_AREAS[plane],
            candidates=(other,) if other.any() else (),
            attention=gaussian_filter(nodule.astype(np.float32), 14) if attention else None,
            capsule_line=shortest_line(nodule, gland),
        )
    return views


def measured(view: ReportView) -> dict[str, Any]:
    """The features of one view, measured roughly but for real."""
    nodule = view.masks["nodule"]
    rows, columns = np.nonzero(nodule)
    height, width = int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1
    first, last = np.array(view.capsule_line)
    distance = float(np.hypot(*(first - last)))
    mm = view.spacing_mm[0] if view.spacing_mm else None
    return {
        "width_mm": mm and width * mm,
        "height_mm": mm and height * mm,
        "aspect_ratio": height / width,
        "area_mm2": mm and nodule.sum() * mm**2,
        "echogenicity_difference": float(view.bmode[~nodule].mean() - view.bmode[nodule].mean()),
        "capsule_distance_mm": mm and distance * mm,
        "capsule_direction": "anterior" if last[0] < first[0] else "posterior",
        "nodule_outside_gland": False,
        "capsule_at_image_border": False,
        "fraction_inside_gland": (nodule & view.masks["gland"]).sum() / nodule.sum(),
        "width_px": width,
        "height_px": height,
        "area_px": nodule.sum(),
        "capsule_distance_px": distance,
    }


def full_result(views: dict[str, ReportView]) -> dict[str, Any]:
    """A result with every field filled, NumPy numbers and tuples among them, as the rooms hand them over."""
    features = {plane: measured(views[plane]) for plane in PLANES}
    return {
        "schema_version": "1.0",
        "created": "2025-03-04T09:30:00+00:00",
        "patient": "anonymous",
        "risk": {
            "probability": np.float32(0.68),
            "interval": (0.52, 0.81),
            "interval_method": "95 % over 20 passes with dropout",
            "decision": "positive",
            "threshold": 0.5,
            "calibration": None,
            "coverage": None,
            "answers": None,
        },
        "stage": None,
        "findings": {
            "microcalcification": 0.91,
            "infiltrative_margin": 0.34,
            "markedly_hypoechoic": 0.08,
            "taller_than_wide": 0.77,
        },
        "features": features,
        "location": {
            "capsule_distance_mm": features["transverse"]["capsule_distance_mm"],
            "capsule_distance_px": features["transverse"]["capsule_distance_px"],
            "direction": features["transverse"]["capsule_direction"],
            "plane": "transverse",
            "region": "middle third of the left lobe",
            "place_ras_mm": [-17.5, -2.0, 3.5],
            "atlas_probability": 0.57,
            "atlas_interval": [0.44, 0.69],
        },
        "contributions": {
            "location": 0.142,
            "texture": 0.031,
            "margin": 0.058,
            "echogenicity": -0.012,
            "shape": 0.021,
            "report": 0.064,
            "age": -0.047,
            "sex": 0.008,
        },
        "contributions_method": "Shapley values over the eight inputs, in points of probability",
        "vascularity": {"inside_fraction": 0.12, "margin_fraction": 0.31, "pattern": "mostly marginal"},
        "quality": {
            plane: {
                "nodule_probability": 0.93,
                "nodule_uncertainty": 0.041,
                "nodules_found": 1.0 + len(views[plane].candidates),
                "gland_uncertainty": 0.087,
                "scan_area_fraction": 0.71,
                "contrast": 0.22,
            }
            for plane in PLANES
        },
        "missing": [],
        "warnings": ["longitudinal: a second nodule was found; the larger one was measured"],
        "provenance": {
            "software": {"llnm": "0.1.0", "numpy": "2.4.6", "torch": "2.15.0"},
            "weights": [
                {
                    "name": "thyroid_nodule_segmentation",
                    "kind": "open",
                    "file_sha256": "3f" * 32,
                    "training_data": "ddti and simulated images",
                    "trained_on_simulated_patients": False,
                },
                {
                    "name": "thyroid_llnm_prediction",
                    "kind": "open",
                    "file_sha256": "a7" * 32,
                    "training_data": "2,000 simulated patients",
                    "trained_on_simulated_patients": True,
                },
            ],
            "preset": "default",
            "seed": 0,
            "inputs": {"transverse": "0b" * 32, "longitudinal": "c4" * 32, "report": "91" * 32},
            "spacing": {
                plane: {"row_mm": SPACING[plane][0], "column_mm": SPACING[plane][1], "source": "given by hand"}
                for plane in PLANES
            },
            "report": {"given": True, "tokens": 43, "language": "en"},
            "notice": "Research use only; not a medical device.",
        },
    }


def minimal_result() -> dict[str, Any]:
    """The least that a result says: no nodule was found on the one view that was given."""
    nothing = dict.fromkeys(
        ("capsule_distance_mm", "capsule_distance_px", "direction", "plane", "region", "place_ras_mm")
    )
    return {
        "schema_version": "1.0",
        "created": "2025-03-04T09:30:00Z",
        "patient": "anonymous",
        "risk": {
            "probability": None,
            "interval": None,
            "interval_method": None,
            "decision": "abstain",
            "threshold": 0.5,
            "calibration": None,
            "coverage": None,
            "answers": None,
        },
        "stage": None,
        "findings": None,
        "features": {"transverse": None, "longitudinal": None},
        "location": {**nothing, "atlas_probability": None, "atlas_interval": None},
        "contributions": None,
        "contributions_method": None,
        "vascularity": None,
        "quality": {"transverse": None, "longitudinal": None},
        "missing": ["longitudinal", "report", "age", "sex", "transverse spacing"],
        "warnings": ["transverse: no nodule was found, so no risk can be given; outline it and give its mask"],
        "provenance": {
            "software": {"llnm": "0.1.0"},
            "weights": [],
            "preset": "default",
            "seed": 0,
            "inputs": {},
            "spacing": {"transverse": None},
            "report": {"given": False, "tokens": None, "language": None},
            "notice": "Research use only; not a medical device.",
        },
    }
