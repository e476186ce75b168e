"""The measured views of a prediction, as the report shows them.

Comes in: a `Prediction`. Goes out: a `ReportView` for each plane.
"""

from __future__ import annotations

from llnm.case import PLANES, Plane
from llnm.pipeline import MeasuredView, Prediction
from llnm.report.picture import ReportView


def report_views(prediction: Prediction) -> dict[Plane, ReportView]:
    """What was measured in each view, ready to be drawn."""
    return {plane: _report_view(prediction.views[plane]) for plane in PLANES if plane in prediction.views}


def _report_view(view: MeasuredView) -> ReportView:
    line = None if view.capsule is None else (view.capsule.point_nodule, view.capsule.point_capsule)
    return ReportView(
        plane=view.plane,
        bmode=view.prepared.bmode,
        masks=view.masks,
        spacing_mm=view.spacing_mm,
        scan_area=view.prepared.scan_area,
        candidates=view.other_nodules,
        capsule_line=line,
    )
