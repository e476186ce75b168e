"""What the Slicer application has and slicer-core has not, as far as the module uses it.

Comes in: slicer-core (real scene, nodes and `slicer.util`) and the adapter. Goes out: `slicer.app`, `slicer.mrmlScene`,
`slicer.modules`, `slicer.i18n`, `slicer.ScriptedLoadableModule` and `slicer.parameterNodeWrapper`, each written to the
behaviour that the module relies on, the traps included: an exception in a slot goes no further, and a wrapped
parameter node writes the default of every field that it lacks.
"""

from __future__ import annotations

# ruff: noqa: N802, N815 - names are those of the application
import functools
import sys
import types
import typing
import unittest
from pathlib import Path
from typing import Any

import slicer
import vtk
from PySide6.QtCore import QSettings
from PySide6.QtWidgets import QApplication
from pythonqt_adapter import make_modules, slot_errors
from slicer_widgets import CTK_WIDGETS, SLICER_WIDGETS

MODULE_FOLDER = Path(__file__).resolve().parents[2] / "SlicerLLNM" / "LLNM"


class Application:
    """`slicer.app` without a main window: in testing mode message boxes are logged and not shown."""

    applicationName, slicerHome = "Slicer", "/opt/Slicer"

    def __init__(self, qt: Any) -> None:
        self._qt = qt
        self._modules: dict[str, Any] = {}
        self.cursors: list[Any] = []

    def testingEnabled(self) -> bool:
        return True

    def setOverrideCursor(self, cursor: Any) -> None:
        self.cursors.append(cursor)

    def restoreOverrideCursor(self) -> None:
        self.cursors.pop()

    def processEvents(self) -> None:
        QApplication.processEvents()

    def layoutManager(self) -> None:
        return None

    def moduleManager(self) -> types.SimpleNamespace:
        return types.SimpleNamespace(module=self._modules.get)

    def addModule(self, name: str, path: str, widget: Any) -> None:
        """For the tests: a scripted module whose widget was made."""
        shown = slicer.qSlicerScriptedLoadableModuleWidget()
        shown.self = lambda: widget
        module = types.SimpleNamespace(name=name, path=path, widgetRepresentation=lambda: shown)
        self._modules[name] = module
        setattr(slicer.modules, name.lower(), module)

    def userSettings(self) -> Any:
        return self._qt.QSettings()

    def connect(self, signal: str, slot: Any) -> bool:
        assert signal == "startupCompleted()", signal
        slot()
        return True


class Choice:
    """A value that is one of some."""

    def __init__(self, choices: list[str]) -> None:
        self.choices = choices


def parameter_node_wrapper(described: type) -> type:
    """A class whose fields (str, or str with a Choice) live in a vtkMRMLScriptedModuleNode."""
    hints = typing.get_type_hints(described, include_extras=True)
    fields: dict[str, list[str] | None] = {}
    for name, hint in hints.items():
        kind, *extra = typing.get_args(hint) if typing.get_origin(hint) is typing.Annotated else (hint,)
        assert kind is str, f"{name}: this stand-in holds text alone, since that is all the module stores"
        fields[name] = next((item.choices for item in extra if isinstance(item, Choice)), None)

    def init(self: Any, node: Any) -> None:
        self.parameterNode, self._guis, self._updating = node, {}, False
        for name, choices in fields.items():
            if not node.HasParameter(name):
                node.SetParameter(name, "" if choices is None else choices[0])

    def setter(name: str) -> Any:
        def write(self: Any, value: str) -> None:
            choices = fields[name]
            if not isinstance(value, str) or (choices is not None and value not in choices):
                raise ValueError(f"{name}: {value!r} is not allowed")
            self.parameterNode.SetParameter(name, value)

        return write

    def connect_gui(self: Any, gui: Any) -> int:
        mapping = {}
        for widget in vars(gui).values():
            name = widget.property("SlicerParameterName")
            if name:
                mapping[name] = _Connector(widget, fields[name])
        tag = len(self._guis)
        self._guis[tag] = mapping
        for name, connector in mapping.items():
            connector.write(getattr(self, name))
            connector.connect(functools.partial(_from_gui, self, name, connector))
        self.parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: _to_gui(self))
        return tag

    def disconnect_gui(self: Any, tag: int) -> None:
        for connector in self._guis.pop(tag, {}).values():
            connector.disconnect()

    members: dict[str, Any] = {"__init__": init, "connectGui": connect_gui, "disconnectGui": disconnect_gui}
    for name in fields:
        members[name] = property(lambda self, name=name: self.parameterNode.GetParameter(name), setter(name))
    return type(described.__name__, (described,), members)


def _from_gui(self: Any, name: str, connector: Any, *_: Any) -> None:
    if not self._updating:
        setattr(self, name, connector.read())


def _to_gui(self: Any) -> None:
    if self._updating:
        return
    self._updating = True
    try:
        for mapping in self._guis.values():
            for name, connector in mapping.items():
                connector.write(getattr(self, name))
    finally:
        self._updating = False


class _Connector:
    """A field and the widget that shows it: a QLineEdit, or a QComboBox whose items become the choices."""

    def __init__(self, widget: Any, choices: list[str] | None) -> None:
        self.widget, self.choices = widget, choices
        kind = widget.className()
        if (kind, choices is None) not in {("QLineEdit", True), ("QComboBox", False)}:
            raise RuntimeError(f"Unable to create GUI connector to widget type '{kind}'")
        if choices is not None:
            widget.clear()
            for choice in choices:
                widget.addItem(choice)

    def read(self) -> str:
        return self.widget.text if self.choices is None else self.choices[self.widget.currentIndex]

    def write(self, value: str) -> None:
        if self.choices is None:
            self.widget.text = value
        else:
            self.widget.currentIndex = self.choices.index(value)

    def connect(self, slot: Any) -> None:
        self.slot = slot
        self._signal().connect(slot)

    def disconnect(self) -> None:
        self._signal().disconnect(self.slot)

    def _signal(self) -> Any:
        return self.widget.textChanged if self.choices is None else self.widget.currentIndexChanged


def _scripted_module(qt: Any) -> types.ModuleType:
    module = types.ModuleType("slicer.ScriptedLoadableModule")

    class ScriptedLoadableModule:
        def __init__(self, parent: Any) -> None:
            self.parent = parent
            self.moduleName = type(self).__name__

        def resourcePath(self, name: str) -> str:
            return str(MODULE_FOLDER / "Resources" / name)

    class ScriptedLoadableModuleWidget:
        def __init__(self, parent: Any = None) -> None:
            super().__init__()
            self.moduleName = type(self).__name__.removesuffix("Widget")
            if parent is None:
                parent = slicer.qMRMLWidget()
                parent.setLayout(qt.QVBoxLayout())
                parent.setMRMLScene(slicer.mrmlScene)
            self.parent = parent
            self.layout = parent.layout()

        def resourcePath(self, name: str) -> str:
            return str(MODULE_FOLDER / "Resources" / name)

        def setup(self) -> None:
            """The application's developer section is left out."""

        def onReload(self) -> None:
            """The application reads the module's file again."""

    class ScriptedLoadableModuleTest(unittest.TestCase):
        def delayDisplay(self, message: str) -> None:
            """The application shows the message."""

    for item in (ScriptedLoadableModule, ScriptedLoadableModuleWidget, ScriptedLoadableModuleTest):
        setattr(module, item.__name__, item)
    module.__all__ = [  # type: ignore[attr-defined]
        "ScriptedLoadableModule",
        "ScriptedLoadableModuleTest",
        "ScriptedLoadableModuleWidget",
    ]
    return module


def install(settings: Path) -> None:
    """Make all this part of `slicer` in this process; `settings`: the folder that QSettings writes to."""
    if QApplication.instance() is None:
        QApplication(["Slicer", "-platform", "offscreen"]).setOrganizationName("LLNM tests")
    QSettings.setDefaultFormat(QSettings.Format.IniFormat)
    QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, str(settings))
    modules = make_modules({"ctk": CTK_WIDGETS, "slicer widgets": SLICER_WIDGETS})
    for widget in SLICER_WIDGETS:
        setattr(slicer, widget.__name__, getattr(modules["slicer widgets"], widget.__name__))
    i18n, wrapper = types.ModuleType("slicer.i18n"), types.ModuleType("slicer.parameterNodeWrapper")
    i18n.tr = lambda text: text  # type: ignore[attr-defined]
    i18n.translate = lambda context, text: text  # type: ignore[attr-defined]
    wrapper.parameterNodeWrapper, wrapper.Choice = parameter_node_wrapper, Choice  # type: ignore[attr-defined]
    sys.modules |= {"qt": modules["qt"], "ctk": modules["ctk"], "slicer.i18n": i18n}
    sys.modules |= {"slicer.parameterNodeWrapper": wrapper}
    sys.modules |= {"slicer.ScriptedLoadableModule": _scripted_module(modules["qt"])}
    slicer.app = Application(modules["qt"])
    slicer.modules = types.SimpleNamespace()
    slicer.qSlicerScriptedLoadableModuleWidget = type("qSlicerScriptedLoadableModuleWidget", (), {})
    slot_errors.clear()
