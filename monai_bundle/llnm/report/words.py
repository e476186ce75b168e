"""The report's vocabulary: what each name in a result is called on the page and what it means in plain words.

Comes in: names of features, inputs and figures as `result.json` has them. Goes out: labels and sentences for readers
who know thyroid ultrasound and not this software.
"""

from __future__ import annotations

from typing import NamedTuple

UNIT_DECIMALS = {"mm": 1, "mm²": 0, "px": 1, "px²": 0, "": 2}
"""Decimals on the page: a tenth of a millimetre is what ultrasound resolves. `result.json` has more."""


class FeatureWords(NamedTuple):
    """One row of the table of features: the names to look up (millimetres first, pixels if unknown) and its words."""

    label: str
    names: tuple[tuple[str, str], ...]
    meaning: str


DISTANCE = (("capsule_distance_mm", "mm"), ("capsule_distance_px", "px"))

FEATURES = (
    FeatureWords("Width", (("width_mm", "mm"), ("width_px", "px")), "Side-to-side extent of the nodule in the image."),
    FeatureWords("Height", (("height_mm", "mm"), ("height_px", "px")), "Extent of the nodule in depth."),
    FeatureWords(
        "Height / width",
        (("aspect_ratio", ""),),
        "Above 1 the nodule is taller than wide, in the transverse view a sign of suspicion in TI-RADS.",
    ),
    FeatureWords("Area", (("area_mm2", "mm²"), ("area_px", "px²")), "Area inside the nodule's outline."),
    FeatureWords(
        "Echogenicity difference",
        (("echogenicity_difference", ""),),
        "Mean brightness around the nodule minus inside it, as a fraction of the grey range; "
        "positive is darker than its surroundings (hypoechoic).",
    ),
    FeatureWords(
        "Distance to the capsule",
        DISTANCE,
        "Shortest way from the nodule to the gland's capsule; 0 is touching or crossing it, “at least” that the image "
        "ends there. In the published cohorts (Shen et al., 2025) tumours within 2.5 mm had LLNM in more than 72 %.",
    ),
    FeatureWords("Nearest side", (("capsule_direction", ""),), "Where the shortest way to the capsule leads."),
    FeatureWords(
        "Inside the gland",
        (("fraction_inside_gland", ""),),
        "Share of the nodule that the gland's outline holds; a low share means outlines that disagree, so check both.",
    ),
)

CONTRIBUTIONS = {
    "location": "Location in the gland",
    "texture": "Texture inside the nodule",
    "margin": "Margin of the nodule",
    "echogenicity": "Echogenicity",
    "shape": "Shape of the nodule",
    "report": "Radiology report",
    "age": "Age",
    "sex": "Sex",
}

FINDINGS = {
    "microcalcification": "Microcalcification (punctate echogenic foci)",
    "infiltrative_margin": "Ill-defined or spiculated margin",
    "markedly_hypoechoic": "Markedly hypoechoic",
    "taller_than_wide": "Taller than wide",
}

QUALITY = {
    "nodule_probability": ("Nodule outline: mean probability", "1 is certain"),
    "nodule_uncertainty": ("Nodule outline: uncertainty", "0 is certain"),
    "nodules_found": ("Nodules found", "the largest is measured unless another was chosen"),
    "gland_probability": ("Gland outline: mean probability", "1 is certain"),
    "gland_uncertainty": ("Gland outline: uncertainty", "0 is certain"),
    "scan_area_fraction": ("Scan area", "share of the image"),
    "contrast": ("Contrast", "spread of brightness, fraction of the grey range"),
    "saturated_fraction": ("Saturated", "share of the scan that is white"),
    "colour_fraction": ("Coloured", "share of the scan; B-mode has none"),
    "overlay_fraction": ("Drawn marks", "share of the scan that was filled in"),
}
COUNTS = ("nodules_found",)

VASCULARITY = {
    "inside_fraction": "Flow inside the nodule",
    "centre_fraction": "Flow away from its margin",
    "margin_fraction": "Flow at its margin",
}

MISSING = {
    "transverse": ("Transverse view", "Only the longitudinal view can be used."),
    "longitudinal": ("Longitudinal view", "Only the transverse view can be used."),
    "report": ("Radiology report", "The radiologist's description of the nodule cannot enter the risk."),
    "age": ("Age", "It cannot enter the risk, which then holds for a patient of unknown age."),
    "sex": ("Sex", "It cannot enter the risk, which then holds for a patient of unknown sex."),
}
MISSING_KINDS = {
    "spacing": "Nothing can be given in millimetres; ratios and pixels still hold.",
    "gland": "Without the gland's outline the nodule's location and its distance to the capsule are not available.",
    "location": "Where the nodule lies in the gland cannot enter the risk.",
    "nodule": "Without the nodule's outline nothing can be measured on it.",
}
MISSING_OTHERWISE = "It cannot enter the risk."

DECISIONS = {
    "positive": "Lateral lymph node metastasis predicted",
    "negative": "Lateral lymph node metastasis not predicted",
    "abstain": "No decision",
}

LANGUAGES = {"en": "English", "zh": "Chinese"}

PLANE_NAMES = {"transverse": "Transverse view", "longitudinal": "Longitudinal view"}


def missing_input(name: str) -> tuple[str, str]:
    """What the missing input `name` is called and what it means for the result that it was missing."""
    kinds = (sentence for kind, sentence in MISSING_KINDS.items() if kind in name)
    return MISSING.get(name) or (in_words(name), next(kinds, MISSING_OTHERWISE))


def in_words(name: str) -> str:
    """`largest_node_mm` -> `Largest node mm`: a name of a result that has no entry here."""
    words = name.replace("_", " ").strip()
    return words[:1].upper() + words[1:]
