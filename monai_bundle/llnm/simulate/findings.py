"""What a radiologist would note of one simulated patient, drawn from the distributions of the published cohort.

Comes in: a random generator. Goes out: `Findings`, in the terms of the ACR and Kwak TI-RADS lexicons. The anatomy is
built from it, the picture shows it, the report says it and the risk model weighs it.

Source of the frequencies: Shen et al., Nat Commun 16, 7052 (2025), Table 1 (age, sex, size, subtype); the remaining
ones are round figures of the same order as published surgical series of papillary thyroid cancer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

from llnm.case import Sex

Side = Literal["left", "right"]
Third = Literal["upper", "middle", "lower"]
Composition = Literal["solid", "predominantly solid", "predominantly cystic", "cystic", "spongiform"]
Echogenicity = Literal["markedly hypoechoic", "hypoechoic", "isoechoic", "hyperechoic"]
Margin = Literal["smooth", "ill-defined", "lobulated", "spiculated"]
Foci = Literal["none", "microcalcification", "macrocalcification"]
Nodes = Literal["none", "reactive", "level III", "level IV"]
Vascularity = Literal["none", "peripheral", "internal"]
Subtype = Literal["PTC", "FTC", "MTC"]

SUSPICIOUS_NODES: tuple[Nodes, ...] = ("level III", "level IV")
INFILTRATIVE_MARGINS: tuple[Margin, ...] = ("ill-defined", "spiculated")

_SIZE_MEDIAN_MM, _SIZE_LOG_SD = 7.4, 0.47
_AGE_MEAN, _AGE_SD, _AGE_LIMITS = 43.0, 13.2, (18, 85)

T = TypeVar("T", bound=str)


@dataclass(frozen=True)
class Findings:
    """The findings of one patient. `size_mm` is the nominal largest dimension; the anatomy decides the exact one.

    `taller` is true where the nodule is taller than wide in the transverse plane.
    """

    age: int
    sex: Sex
    subtype: Subtype
    side: Side
    third: Third
    size_mm: float
    taller: bool
    composition: Composition
    echogenicity: Echogenicity
    margin: Margin
    foci: Foci
    halo: bool
    diffuse: bool
    nodes: Nodes
    family_history: bool
    vascularity: Vascularity


def sample_findings(rng: np.random.Generator, any_nodule: bool = False) -> Findings:
    """Findings of a patient of the cohort or, with `any_nodule`, of a nodule of any kind (cysts, large ones)."""
    if any_nodule:
        median, log_sd, compositions = 11.0, 0.55, (0.5, 0.2, 0.12, 0.08, 0.1)
        echogenicities, margins = (0.2, 0.35, 0.3, 0.15), (0.4, 0.2, 0.25, 0.15)
    else:
        median, log_sd, compositions = _SIZE_MEDIAN_MM, _SIZE_LOG_SD, (0.9, 0.08, 0.02, 0.0, 0.0)
        echogenicities, margins = (0.35, 0.48, 0.13, 0.04), (0.32, 0.26, 0.22, 0.2)
    age = int(np.clip(round(rng.normal(_AGE_MEAN, _AGE_SD)), *_AGE_LIMITS))
    size = float(np.clip(median * math.exp(rng.normal(0.0, log_sd)), 3.0, 32.0))
    composition: Composition = _pick(
        rng, ("solid", "predominantly solid", "predominantly cystic", "cystic", "spongiform"), compositions
    )
    firm = composition in ("solid", "predominantly solid")
    return Findings(
        age=age,
        sex="F" if rng.random() < 0.72 else "M",
        subtype=_pick(rng, ("PTC", "FTC", "MTC"), (0.91, 0.07, 0.02)),
        side=_pick(rng, ("left", "right"), (0.48, 0.52)),
        third=_pick(rng, ("upper", "middle", "lower"), (0.3, 0.4, 0.3)),
        size_mm=size,
        taller=bool(rng.random() < (0.45 if size < 15 else 0.15)),
        composition=composition,
        echogenicity=_pick(rng, ("markedly hypoechoic", "hypoechoic", "isoechoic", "hyperechoic"), echogenicities),
        margin=_pick(rng, ("smooth", "ill-defined", "lobulated", "spiculated"), margins) if firm else "smooth",
        foci=_pick(rng, ("none", "microcalcification", "macrocalcification"), (0.48, 0.44, 0.08)) if firm else "none",
        halo=bool(rng.random() < 0.15),
        diffuse=bool(rng.random() < 0.2),
        nodes=_pick(rng, ("none", "reactive", "level III", "level IV"), (0.5, 0.2, 0.16, 0.14)),
        family_history=bool(rng.random() < 0.1),
        vascularity=_pick(rng, ("none", "peripheral", "internal"), (0.35, 0.35, 0.3)),
    )


def _pick(rng: np.random.Generator, values: tuple[T, ...], weights: tuple[float, ...]) -> T:
    return values[int(rng.choice(len(values), p=weights))]
