"""The result of one patient as files that a radiologist or surgeon can read and a program can check.

Comes in: the result of the prediction (a mapping in the shape of `llnm/schemas/result.json`) and, for each view, the
frame with its masks as a `ReportView`. Goes out: a folder with `result.json`, `report.html` (one file, works offline,
prints on A4) and `masks/<plane>_<structure>.png`. Nothing is computed here that is not in the result already, the text
of the radiology report never gets in, and only the scan area of an image is shown, never the text burnt in beside it.
"""

from llnm.report.folder import write_result_folder
from llnm.report.page import render_report
from llnm.report.picture import ReportView, draw_attention, draw_view
from llnm.report.schema import DECIMALS, checked_result, validate_result

__all__ = [
    "DECIMALS",
    "ReportView",
    "checked_result",
    "draw_attention",
    "draw_view",
    "render_report",
    "validate_result",
    "write_result_folder",
]
