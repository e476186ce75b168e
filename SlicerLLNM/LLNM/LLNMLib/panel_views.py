"""The patient's images in Slicer's views: which slice view shows what, and the heat map over it.

Comes in: a scene and a patient. Goes out: the slice views' nodes, changed; the layout, if there is a main window.
"""

from __future__ import annotations

from typing import Any

import slicer

from LLNMLib.patient_node import HEAT, SLICE_VIEW, PatientNode

# In the layout "side by side" Slicer shows these two.
SLICE_OF = {plane: node.removeprefix("vtkMRMLSliceNode") for plane, node in SLICE_VIEW.items()}
HEAT_OPACITY = 0.5


def show_images(scene: Any, patient: PatientNode, heat: bool) -> None:
    """Show each view in a slice view of its own, in its own plane, with the heat map over it if wanted and there."""
    for plane, name in SLICE_OF.items():
        volume, map_node = patient.view(plane), patient.reference(HEAT[plane])
        composite = scene.GetNodeByID(f"vtkMRMLSliceCompositeNode{name}")
        slice_node = scene.GetNodeByID(f"vtkMRMLSliceNode{name}")
        if volume is None or composite is None or slice_node is None:
            continue
        composite.SetBackgroundVolumeID(volume.GetID())
        composite.SetForegroundVolumeID(map_node.GetID() if heat and map_node is not None else None)
        composite.SetForegroundOpacity(HEAT_OPACITY if heat else 0.0)
        slice_node.RotateToVolumePlane(volume)


def arrange(three_d: bool = False) -> None:
    """Two slice views side by side, or with the 3D view; fitted to their images. Nothing without a main window."""
    manager = slicer.app.layoutManager()
    if manager is None:
        return
    layout = slicer.vtkMRMLLayoutNode
    manager.setLayout(layout.SlicerLayoutFourUpView if three_d else layout.SlicerLayoutSideBySideView)
    slicer.util.resetSliceViews()
    if three_d:
        slicer.util.resetThreeDViews()


def show_chart(chart: Any) -> None:
    """Show a chart in a plot view; nothing without a main window."""
    if slicer.app.layoutManager() is not None:
        slicer.modules.plots.logic().ShowChartInLayout(chart)


def open_segment_editor(segmentation: Any, volume: Any) -> None:
    """Switch to the Segment Editor with these masks over this image."""
    slicer.util.selectModule("SegmentEditor")
    editor = slicer.util.getModuleWidget("SegmentEditor").editor
    editor.setSegmentationNode(segmentation)
    editor.setSourceVolumeNode(volume)
