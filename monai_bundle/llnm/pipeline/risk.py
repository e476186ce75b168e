"""The TMDL network applied to the measured views of one patient.

Comes in: measured views, report, age, sex. Goes out: the probability with its interval, and the tensors it came from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch

from llnm.case import FINDINGS, PLANES, Case, Mask, Plane
from llnm.features import capsule_distance, network_images
from llnm.pipeline.calibration import Answer, Calibration
from llnm.pipeline.views import MeasuredView
from llnm.staging import LEVELS
from llnm.text import ReportEncoder
from llnm.tmdl import TMDL, TMDLConfig, TMDLOutput
from llnm.tmdl.config import NOT_MEASURED, REPORT_TOKENS, WORD_VECTOR_WIDTH
from llnm.weights import load_state_dict, metadata, report_encoder_folder, weights_file

INTERVAL_METHOD = "range over plausible outlines of the nodule and samples of its margin"
Decision = Literal["positive", "negative", "abstain"]


@dataclass(frozen=True)
class Risk:
    """Probability of metastasis with its interval; `inputs` is what the network saw, for explanations.

    `answers`: those of a conformal set that cannot be ruled out, None without calibrated sets. `levels`: probability of
    each level of `llnm.staging` given metastasis; `findings`: of each of `llnm.case.FINDINGS`, from the views alone;
    both None for weights without such a head, and a finding that no reader told of in training is None.
    """

    probability: float
    interval: tuple[float, float]
    decision: Decision
    threshold: float
    calibration: Calibration
    answers: tuple[Answer, ...] | None
    levels: Mapping[str, float] | None
    findings: Mapping[str, float | None] | None
    inputs: Mapping[str, torch.Tensor]


@lru_cache(maxsize=2)
def load_tmdl(folder: Path | None = None) -> TMDL:
    """The LLNM network of a folder of bundles (the shipped ones by default), ready for inference."""
    network = TMDL(TMDLConfig.from_dict(dict(metadata("llnm", folder)["weights"]["tmdl"])))
    network.load_state_dict(load_state_dict(weights_file("llnm", folder)))
    return network.eval()


@lru_cache(maxsize=2)
def load_report_encoder(folder: Path | None = None) -> ReportEncoder:
    """The report encoder of a folder of bundles, or the BERT folder itself if it is one."""
    if folder is not None and (folder / "config.json").is_file():
        return ReportEncoder.from_folder(folder)
    return ReportEncoder.from_folder(report_encoder_folder(folder))


def estimate_risk(
    network: TMDL,
    encoder: ReportEncoder | None,
    case: Case,
    views: Mapping[Plane, MeasuredView],
    *,
    seed: int,
    threshold: float,
    calibration: Calibration,
    abstain: bool = False,
) -> Risk:
    """Probability for the target outline; the interval is the range over plausible outlines and margin samples.

    With `abstain` there is a decision only where the conformal set holds one answer and it is the same.
    """
    variants = max(len(view.outlines) for view in views.values()) + 1
    # One more margin sample than outlines, so that given masks have an interval too.
    runs = [_outlines(views, index) for index in range(max(variants, 3))]
    shared = clinical_inputs(encoder, network.config, [case.report], [case.age], [case.sex])
    batches = [
        view_inputs(network.config, views, outlines, seed + index) | shared for index, outlines in enumerate(runs)
    ]
    joined = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
    with torch.inference_mode():
        answer = network(joined)
    probabilities = calibration(answer.logits[:, -1].double().numpy())
    probability, low, high = (float(value) for value in (probabilities[0], probabilities.min(), probabilities.max()))
    sets = calibration.conformal
    answers = None if sets is None else sets.answers(probability, bool(is_complete(batches[0])))
    decision = decide(probability, (low, high), threshold)
    if abstain and answers is not None and answers != (decision,):
        decision = "abstain"
    return Risk(
        probability=probability,
        interval=(low, high),
        decision=decision,
        threshold=threshold,
        calibration=calibration,
        answers=answers,
        levels=_of_first(LEVELS, answer.level_probabilities),
        findings=_findings(network, answer),
        inputs=batches[0],
    )


def patient_inputs(
    config: TMDLConfig, encoder: ReportEncoder | None, case: Case, views: Mapping[Plane, MeasuredView], seed: int
) -> dict[str, torch.Tensor]:
    """What the network sees of one patient for the target outline: the inputs that `estimate_risk` decides by."""
    clinical = clinical_inputs(encoder, config, [case.report], [case.age], [case.sex])
    return view_inputs(config, views, _outlines(views, 0), seed) | clinical


def is_complete(inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Of which patients both views and every input are there, (B,) bool."""
    lacking = ~inputs["view_mask"].all(dim=1)
    absences = {name: value for name, value in inputs.items() if name.endswith("_absent")}
    if "capsule_distance" in inputs:
        absences["capsule_distance"] = inputs["capsule_distance"] < 0
    for absent in absences.values():
        lacking = lacking | (absent & inputs["view_mask"] if absent.ndim > 1 else absent[:, None]).any(dim=1)
    return ~lacking


def _of_first(names: Sequence[str], probabilities: torch.Tensor | None) -> dict[str, float] | None:
    """The first row of a batch, by name."""
    return None if probabilities is None else dict(zip(names, map(float, probabilities[0]), strict=True))


def _findings(network: TMDL, answer: TMDLOutput) -> dict[str, float | None] | None:
    """Of the first of a batch; None for a finding that no reader told the network of."""
    seen = _of_first(network.config.seen, answer.finding_probabilities)
    told = {} if seen is None else dict(zip(network.config.seen, network.told.tolist(), strict=True))
    if seen is None or not any(told[name] for name in FINDINGS):
        return None
    return {name: seen[name] if told[name] else None for name in FINDINGS}


def decide(probability: float, interval: tuple[float, float], threshold: float) -> Decision:
    """Positive or negative at the threshold; abstain where the interval holds values on both sides of it."""
    if interval[0] < threshold <= interval[1]:
        return "abstain"
    return "positive" if probability >= threshold else "negative"


def _outlines(views: Mapping[Plane, MeasuredView], index: int) -> dict[Plane, Mask]:
    """Outline number `index` of each view: 0 is the mask itself, beyond the last plausible one it is again."""
    return {
        plane: view.outlines[index - 1] if 0 < index <= len(view.outlines) else view.nodule
        for plane, view in views.items()
    }


def view_inputs(
    config: TMDLConfig, views: Mapping[Plane, MeasuredView], outlines: Mapping[Plane, Mask], seed: int
) -> dict[str, torch.Tensor]:
    """The five inputs of each plane for one patient, (1, 2, ...), with masks of what is absent."""
    planes = [view_tensors(config, views[plane], outlines[plane], seed) if plane in views else None for plane in PLANES]
    blank = {name: torch.zeros_like(value) for name, value in next(p for p in planes if p is not None).items()}
    stacked = {name: torch.stack([(plane or blank)[name] for plane in planes])[None] for name in blank}
    return stacked | {"view_mask": torch.tensor([[plane is not None for plane in planes]])}


def view_tensors(config: TMDLConfig, view: MeasuredView, nodule: Mask, seed: int) -> dict[str, torch.Tensor]:
    """Feature images (1, 224, 224) and values () of one view, and what is absent."""
    images = network_images(view.prepared.bmode, nodule, view.gland, view.spacing_mm, seed, config.size)
    echogenicity = view.features.echogenicity_difference
    return {
        "location": torch.from_numpy(images.location)[None],
        "texture": torch.from_numpy(images.texture)[None],
        "margin": torch.from_numpy(images.margin)[None],
        "echogenicity": torch.tensor(echogenicity or 0.0),
        "shape": torch.tensor(view.features.aspect_ratio, dtype=torch.float32),
        "capsule_distance": torch.tensor(_capsule_distance_mm(view, nodule), dtype=torch.float32),
        "location_absent": torch.tensor(view.gland is None),
        "echogenicity_absent": torch.tensor(echogenicity is None),
    }


def _capsule_distance_mm(view: MeasuredView, nodule: Mask) -> float:
    """Distance from the outline `nodule` of a view to the capsule."""
    known = view.features.capsule_distance_mm
    if nodule is view.nodule:
        return NOT_MEASURED if known is None else known
    if known is None or view.gland is None or not (nodule & view.gland).any():
        return NOT_MEASURED
    return capsule_distance(nodule, view.gland, view.spacing_mm).distance


def clinical_inputs(
    encoder: ReportEncoder | None,
    config: TMDLConfig,
    reports: Sequence[str | None],
    ages: Sequence[float | None],
    sexes: Sequence[str | None],
) -> dict[str, torch.Tensor]:
    """Report, age and sex of B patients as tensors, with masks of what is absent; no report needs no encoder."""
    if encoder is None:
        vectors = torch.zeros(len(reports), REPORT_TOKENS, WORD_VECTOR_WIDTH)
        mask = torch.zeros(len(reports), REPORT_TOKENS, dtype=torch.bool)
    else:
        vectors, mask = encoder.encode(reports, length=config.report_length)
    values: dict[str, Any] = {
        "report": vectors,
        "report_mask": mask,
        "age": torch.tensor([0.0 if age is None else float(age) for age in ages]),
        "sex": torch.tensor([float(sex == "M") for sex in sexes]),
    }
    if config.absent_tokens:
        values["report_absent"] = ~mask.any(dim=1)
        values["age_absent"] = torch.tensor([age is None for age in ages])
        values["sex_absent"] = torch.tensor([sex is None for sex in sexes])
    return values
