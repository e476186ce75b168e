"""A scene of its own, for scripts and tests without Slicer's window (`slicer-core`).

Comes in: nothing. Goes out: a vtkMRMLScene that knows every class of node which this module uses. Inside the
application use `slicer.mrmlScene`, where Slicer has registered them.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import slicer

# Each registers its classes of nodes in the scene that it is given, and what converts between representations.
_LOGICS = (
    "vtkMRMLColorLogic",
    "vtkSlicerVolumesLogic",
    "vtkSlicerSegmentationsModuleLogic",
    "vtkSlicerMarkupsLogic",
    "vtkSlicerSequencesLogic",
    "vtkSlicerVolumeRenderingLogic",
    "vtkSlicerSubjectHierarchyModuleLogic",
)


def new_scene() -> tuple[Any, list[Any]]:
    """A scene and what serves it; keep both for as long as the scene is used."""
    scene = slicer.vtkMRMLScene()
    # Where .mrb files are unpacked when they are read; Slicer tidies up in it, so it must be a folder of its own.
    folder = tempfile.TemporaryDirectory(prefix="LLNM-scene-")
    Path(folder.name, ".slicer-cache").touch()
    cache, files = slicer.vtkCacheManager(), slicer.vtkDataIOManager()
    cache.SetRemoteCacheDirectory(folder.name)
    files.SetCacheManager(cache)
    scene.SetDataIOManager(files)
    logics: list[Any] = [folder, cache, files]
    selection = slicer.vtkMRMLSelectionNode()  # the logic of markups asks for it
    selection.SetSingletonTag("Singleton")
    scene.AddNode(selection)
    for name in _LOGICS:
        logic = getattr(slicer, name)()
        logic.SetMRMLScene(scene)
        logics.append(logic)
    return scene, logics
