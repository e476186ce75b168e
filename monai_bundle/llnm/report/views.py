"""The measured views of a prediction, as the report shows them.

Comes in: a `Prediction`. Goes out: a `ReportView` for each plane.
"""

from __future__ import annotations

from collections.abc import Mapping

from llnm.case import PLANES, GreyImage, Plane
from llnm.pipeline import MeasuredView, Prediction
from llnm.report.picture import ReportView


def report_views(prediction: Prediction, heat: Mapping[Plane, GreyImage] | None = None) -> dict[Plane, ReportView]:
    """What was measured in each view, ready to be drawn; `heat`: a heat map of the frame's size for each view."""
    heat = heat or {}
    return {
        plane: _report_view(prediction.views[plane], heat.get(plane)) for plane in PLANES if plane in prediction.views
    }


def _report_view(view: MeasuredView, heat: GreyImage | None) -> ReportView:
    line = None if view.capsule is None else (view.capsule.point_nodule, view.capsule.point_capsule)
    return ReportView(
        plane=view.plane,
        bmode=view.prepared.bmode,
        masks=view.masks,
        spacing_mm=view.spacing_mm,
        scan_area=view.prepared.scan_area,
        candidates=view.other_nodules,
        capsule_line=line,
        attention=heat,
    )
