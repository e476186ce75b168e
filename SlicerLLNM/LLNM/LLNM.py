"""The module LLNM of 3D Slicer: its description, and the names that Slicer looks for.

Comes in: Slicer, which loads this file at its start. Goes out: `LLNM`, `LLNMWidget`, `LLNMLogic`, `LLNMTest`. What they
do is in `LLNMLib`; loading imports nothing from outside Slicer.
"""

from __future__ import annotations

from typing import Any

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import ScriptedLoadableModule

from LLNMLib import NOTICE, SIMULATED
from LLNMLib.logic import LLNMLogic
from LLNMLib.panel_sample import register_sample
from LLNMLib.panel_tests import LLNMTest
from LLNMLib.widget import LLNMWidget

__all__ = ["LLNM", "LLNMLogic", "LLNMTest", "LLNMWidget"]


class LLNM(ScriptedLoadableModule):
    """How the module shows in Slicer's module list and help."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("LLNM")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Ultrasound")]
        parent.dependencies = []
        parent.contributors = ["LLNM contributors"]
        parent.helpText = _(
            "From thyroid ultrasound (a transverse and a longitudinal view, or one of them), report, age and sex to "
            "the outlines of gland and nodule and the risk of lateral lymph node metastasis with its reasons. {notice} "
            "{simulated} The tutorial is in the "
            '<a href="https://github.com/Snowinbio/SlicerLLNM#the-3d-slicer-module">documentation</a>.'
        ).format(notice=_(NOTICE), simulated=_(SIMULATED))
        parent.acknowledgementText = _(
            "The method: Shen, P., Yang, Z., Sun, J. et al., Nat Commun 16, 7052 (2025). Built on MONAI and 3D Slicer."
        )
        # The sample can only be offered once Slicer's module SampleData is there.
        slicer.app.connect("startupCompleted()", lambda: register_sample(self.resourcePath("")))
