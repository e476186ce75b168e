"""Fixtures of the panel's tests: the application's part of Slicer, and the panel on a scene of its own."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import slicer
from slicer_application import MODULE_FOLDER, install

if str(MODULE_FOLDER) not in sys.path:
    sys.path.insert(0, str(MODULE_FOLDER))


@pytest.fixture
def application(tmp_path, monkeypatch):
    """`slicer` with what the application adds, and an empty scene; a slot that fails makes the test fail."""
    from pythonqt_adapter import slot_errors

    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    monkeypatch.setenv("HOME", str(tmp_path))
    install(tmp_path / "settings")
    from LLNMLib.headless import new_scene

    slicer.mrmlScene, logics = new_scene()
    for module in ("Segmentations", "Volumes"):
        setattr(slicer.modules, module.lower(), SimpleNamespace(logic=_served(logics, module)))
    yield slicer
    assert not slot_errors, slot_errors
    slicer.mrmlScene.Clear(1)


@pytest.fixture
def panel(application):
    """The module's panel, opened."""
    from LLNMLib.widget import LLNMWidget

    widget = LLNMWidget(slicer.qMRMLWidget())
    widget.parent.setLayout(_box_layout())
    widget.layout = widget.parent.layout()
    widget.setup()
    widget.enter()
    yield widget
    widget.cleanup()


def _served(logics, module):
    """The logic of one of Slicer's modules among those that serve the scene, as its module gives it."""
    names = (f"vtkSlicer{module}Logic", f"vtkSlicer{module}ModuleLogic")
    found = next(logic for logic in logics if type(logic).__name__ in names)
    return lambda: found


def _box_layout():
    import qt

    return qt.QVBoxLayout()
