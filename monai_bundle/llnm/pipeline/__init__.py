"""The way from one patient's examination to a risk, in one readable function.

Comes in: a `Case`. Goes out: a `Prediction`: the measured views, the risk, and the result as plain values for JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from llnm.case import Case, Plane
from llnm.errors import InputError
from llnm.imaging import Vascularity, measure_vascularity
from llnm.pipeline.calibration import Calibration, shipped_calibration
from llnm.pipeline.risk import Risk, estimate_risk, load_report_encoder, load_tmdl
from llnm.pipeline.views import MeasuredView, Point, measure_view

__all__ = ["Calibration", "MeasuredView", "Prediction", "Risk", "measure_view", "predict"]

DECISION_THRESHOLD = 0.5


@dataclass(frozen=True)
class Prediction:
    """What was found of one patient; `llnm.pipeline.result.as_result` turns it into `result.json`.

    `views`: the views that could be measured. `risk` is None where none could. `weights`: the folder of bundles, None
    for the shipped ones.
    """

    case: Case
    views: Mapping[Plane, MeasuredView]
    risk: Risk | None
    vascularity: Vascularity | None
    missing: tuple[str, ...]
    warnings: tuple[str, ...]
    threshold: float
    seed: int
    weights: Path | None

    @property
    def nearest_capsule(self) -> MeasuredView | None:
        """The view in which the nodule lies nearest to the capsule; views with millimetres go first."""
        known = [view for view in self.views.values() if view.capsule is not None]
        return min(
            known,
            key=lambda view: (view.spacing_mm is None, view.capsule.distance if view.capsule else 0),
            default=None,
        )


def predict(  # noqa: PLR0913 - each is one option of an examination
    case: Case,
    *,
    points: Mapping[Plane, Point] | None = None,
    weights: Path | None = None,
    report_encoder: Path | None = None,
    calibration: Calibration | None = None,
    threshold: float = DECISION_THRESHOLD,
    abstain: bool = False,
    preset: str | None = None,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Prediction:
    """Risk of lateral lymph node metastasis of one patient, with everything it was derived from.

    `points`: (x, y) in a view's pixels, to choose between nodules. `weights`: a folder that holds the three bundles;
    `report_encoder`: a folder with another BERT (768 wide); `preset`: refuse weights of any other preset.
    `calibration`: a site's, applied to the probabilities that the weights' own gives. `abstain`: decide only where the
    conformal set leaves one answer. `progress` hears what begins: `weights`, each plane, `risk`. The same case and seed
    give the same result. Raises InputError where a given input cannot be used, and to abstain by a calibration without
    such sets; where no nodule is found the risk is None and a warning says so.
    """
    begin = progress or (lambda step: None)
    begin("weights")
    network = load_tmdl(weights)
    if preset is not None and preset != network.config.preset:
        raise InputError(
            f"preset: the weights are of preset {network.config.preset!r}, not {preset!r}; train others (llnm train)"
        )
    calibration = _calibration(calibration, weights)
    if abstain and calibration.conformal is None:
        raise InputError(
            f"abstain: the calibration {calibration.name!r} has no sets of answers; make it again: llnm calibrate"
        )
    measured = {}
    for plane, view in sorted(case.views.items()):
        begin(plane)
        measured[plane] = measure_view(view, (points or {}).get(plane), weights)
    begin("risk")
    views = {plane: view for plane, view in measured.items() if isinstance(view, MeasuredView)}
    warnings = [view for view in measured.values() if isinstance(view, str)]
    warnings += [text for view in views.values() for text in view.warnings]
    # Loading the encoder takes seconds, which a patient without a report need not wait for.
    encoder = load_report_encoder(report_encoder or weights) if case.report or report_encoder else None
    doubt = encoder.warning(case.report) if encoder else None
    if doubt:
        warnings.append(doubt)
    risk = None
    if views:
        risk = estimate_risk(
            network,
            encoder,
            case,
            views,
            seed=seed,
            threshold=threshold,
            calibration=calibration,
            abstain=abstain,
        )
    return Prediction(
        case=case,
        views=views,
        risk=risk,
        vascularity=_vascularity(case, warnings),
        missing=_missing(case, views),
        warnings=tuple(warnings),
        threshold=threshold,
        seed=seed,
        weights=weights,
    )


def _calibration(site: Calibration | None, weights: Path | None) -> Calibration:
    own = shipped_calibration(weights)
    return own if site is None else site.after(own)


def _missing(case: Case, views: Mapping[Plane, MeasuredView]) -> tuple[str, ...]:
    """What was not given, and what could not be had from what was given."""
    absent = list(case.missing)
    for plane, view in views.items():
        if view.gland is None:
            absent.append(f"{plane} location")
        if view.spacing_mm is None:
            absent.append(f"{plane} spacing")
    return tuple(absent)


def _vascularity(case: Case, warnings: list[str]) -> Vascularity | None:
    if case.doppler is None:
        return None
    nodule = case.doppler.masks.get("nodule")
    if nodule is None:
        warnings.append("doppler: vascularity not measured; give its nodule mask, since no network sees Doppler frames")
        return None
    return measure_vascularity(case.doppler.image, nodule, case.doppler.image.spacing_mm)
