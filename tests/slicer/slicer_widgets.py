"""Stand-ins for the widgets of CTK and of Slicer: plain Qt widgets that hold real MRML nodes.

Comes in: PySide6 and a scene of slicer-core. Goes out: classes with the properties, signals and methods of the C++
classes that the module uses, and no others (`cpp_methods`, `cpp_signals`: C++ signature to PySide6's).
"""

from __future__ import annotations

# ruff: noqa: N801, N802, N815, RUF012 - names are those of the C++ classes
import weakref
from typing import Any

import shiboken6
from PySide6.QtCore import Property, QSize, Qt, Signal
from PySide6.QtGui import QPainter
from PySide6.QtWidgets import (
    QAbstractButton,
    QComboBox,
    QHBoxLayout,
    QLineEdit,
    QSizePolicy,
    QStyle,
    QStyleOptionButton,
    QToolButton,
    QWidget,
)

HEADER_HEIGHT = 28


def _plain_property(kind: type, name: str, default: Any) -> Any:
    """A Qt property that only keeps its value."""
    return Property(
        kind,
        lambda self: self.__dict__.get(name, default),
        lambda self, value: self.__dict__.__setitem__(name, value),
    )


class ctkCollapsibleButton(QAbstractButton):
    """A titled section that shows or hides what it contains."""

    cpp_methods = frozenset({"setCollapsed"})
    contentsCollapsed = Signal(bool)
    cpp_signals = {"contentsCollapsed(bool)": "contentsCollapsed(bool)"}

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._collapsed = False
        self.setContentsMargins(0, HEADER_HEIGHT, 0, 0)
        self.clicked.connect(lambda: self.setCollapsed(not self._collapsed))

    def setCollapsed(self, collapsed: bool) -> None:
        if collapsed == self._collapsed:
            return
        self._collapsed = collapsed
        for child in self.children():
            if isinstance(child, QWidget):
                child.setVisible(not collapsed)
        self.updateGeometry()
        self.contentsCollapsed.emit(collapsed)

    def childEvent(self, event: Any) -> None:
        if self._collapsed and isinstance(event.child(), QWidget):
            event.child().setVisible(False)

    collapsed = Property(bool, lambda self: self._collapsed, setCollapsed)

    def sizeHint(self) -> QSize:
        layout = self.layout()
        if self._collapsed or layout is None:
            return QSize(200, HEADER_HEIGHT)
        return layout.totalSizeHint()

    minimumSizeHint = sizeHint

    def hasHeightForWidth(self) -> bool:
        return not self._collapsed and self.layout() is not None and self.layout().hasHeightForWidth()

    def heightForWidth(self, width: int) -> int:
        return self.layout().totalHeightForWidth(width)

    def paintEvent(self, event: Any) -> None:
        option = QStyleOptionButton()
        option.initFrom(self)
        option.rect.setHeight(HEADER_HEIGHT - 4)
        option.features = QStyleOptionButton.ButtonFeature.None_
        painter = QPainter(self)
        self.style().drawControl(QStyle.ControlElement.CE_PushButtonBevel, option, painter, self)
        painter.drawText(
            option.rect.adjusted(26, 0, 0, 0), Qt.AlignmentFlag.AlignVCenter, self.text().replace("&&", "&")
        )
        arrow = (
            QStyle.PrimitiveElement.PE_IndicatorArrowRight
            if self._collapsed
            else QStyle.PrimitiveElement.PE_IndicatorArrowDown
        )
        option.rect.setWidth(24)
        option.rect.adjust(6, 6, -6, -6)
        self.style().drawPrimitive(arrow, option, painter, self)


class ctkPathLineEdit(QWidget):
    """A line for the path of a file or folder, with a button to browse."""

    Files, Dirs, Readable, Writable, Executable = 2, 1, 16, 32, 64
    cpp_methods = frozenset({"setCurrentPath", "addCurrentPathToHistory"})
    currentPathChanged = Signal(str)
    cpp_signals = {"currentPathChanged(QString)": "currentPathChanged(QString)"}

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._line = QLineEdit(self)
        browse = QToolButton(self)
        browse.setText("...")
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._line)
        row.addWidget(browse)
        self._line.textChanged.connect(self.currentPathChanged)

    def setCurrentPath(self, path: str) -> None:
        self._line.setText(path)

    def addCurrentPathToHistory(self) -> None:
        """Slicer keeps it in the settings."""

    currentPath = Property(str, lambda self: self._line.text(), setCurrentPath)
    filters = _plain_property(int, "filters_value", 0)
    settingKey = _plain_property(str, "setting_key", "")
    nameFilters = _plain_property("QStringList", "name_filters", [])  # type: ignore[arg-type]


class qMRMLWidget(QWidget):
    """A widget that knows the scene and tells its children when it gets one."""

    cpp_methods = frozenset({"setMRMLScene", "mrmlScene"})
    mrmlSceneChanged = Signal(object)
    cpp_signals = {"mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged(PyObject)"}
    _scene: Any = None

    def setMRMLScene(self, scene: Any) -> None:
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)
            # In Slicer the .ui file's connections do this; PySide6 cannot connect by these C++ types.
            for box in self.findChildren(qMRMLNodeComboBox):
                box.setMRMLScene(scene)

    def mrmlScene(self) -> Any:
        return self._scene


class qMRMLNodeComboBox(QWidget):
    """Shows the nodes of a scene that are of some types and have some attributes, and which one is chosen."""

    cpp_methods = frozenset({"setMRMLScene", "mrmlScene", "currentNode", "setCurrentNode", "addAttribute", "nodeCount"})
    currentNodeChanged = Signal(object)
    cpp_signals = {"currentNodeChanged(vtkMRMLNode*)": "currentNodeChanged(PyObject)"}
    _EVENTS = ("NodeAddedEvent", "NodeRemovedEvent", "EndImportEvent", "EndCloseEvent")

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._box = QComboBox(self)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._box)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._scene: Any = None
        self._tags: list[Any] = []
        self._attributes: list[tuple[str, str, str]] = []
        self._nodes: list[Any] = []
        self._current: Any = None
        self._box.currentIndexChanged.connect(self._chosen)
        self.setEnabled(False)

    def setMRMLScene(self, scene: Any) -> None:
        for tag in self._tags:
            self._scene.RemoveObserver(tag)
        self._scene = scene
        known = weakref.ref(self)

        def changed(*_: Any) -> None:
            box = known()
            if box is not None and shiboken6.isValid(box) and hasattr(box, "_scene"):
                box._fill()

        events = [] if scene is None else [getattr(scene, name) for name in self._EVENTS]
        self._tags = [scene.AddObserver(event, changed) for event in events]
        self.setEnabled(scene is not None)
        self._fill()

    def mrmlScene(self) -> Any:
        return self._scene

    def addAttribute(self, node_type: str, name: str, value: str = "") -> None:
        self._attributes.append((node_type, name, value))
        self._fill()

    def nodeCount(self) -> int:
        return len(self._nodes)

    def currentNode(self) -> Any:
        return self._current

    def setCurrentNode(self, node: Any) -> None:
        if node is not None and not any(known is node for known in self._nodes):
            node = None
        self._select(node)

    def _wanted(self, node: Any) -> bool:
        of_type = any(
            node.IsA(kind) if self.showChildNodeTypes else node.GetClassName() == kind for kind in self.nodeTypes
        )
        fits = all(node.GetAttribute(name) == value for kind, name, value in self._attributes if node.IsA(kind))
        return of_type and fits and (self.showHidden or not node.GetHideFromEditors())

    def _fill(self) -> None:
        scene = self._scene
        count = 0 if scene is None else scene.GetNumberOfNodes()
        self._nodes = [node for node in (scene.GetNthNode(index) for index in range(count)) if self._wanted(node)]
        self._box.blockSignals(True)
        self._box.clear()
        if self.noneEnabled:
            self._box.addItem("None")
        self._box.addItems([node.GetName() or node.GetID() for node in self._nodes])
        self._box.blockSignals(False)
        self._select(self._current if any(node is self._current for node in self._nodes) else None)

    def _select(self, node: Any) -> None:
        if node is None and not self.noneEnabled and self._nodes:
            node = self._nodes[0]
        index = next((place for place, known in enumerate(self._nodes) if known is node), -1 - self.noneEnabled)
        self._box.blockSignals(True)
        self._box.setCurrentIndex(index + self.noneEnabled)
        self._box.blockSignals(False)
        if node is not self._current:
            self._current = node
            self.currentNodeChanged.emit(node)

    def _chosen(self, index: int) -> None:
        place = index - self.noneEnabled
        self._select(self._nodes[place] if place >= 0 else None)

    nodeTypes = _plain_property("QStringList", "node_types", [])  # type: ignore[arg-type]
    noneEnabled = _plain_property(bool, "none_enabled", False)
    noneDisplay = _plain_property(str, "none_display", "None")
    addEnabled = _plain_property(bool, "add_enabled", True)
    removeEnabled = _plain_property(bool, "remove_enabled", True)
    renameEnabled = _plain_property(bool, "rename_enabled", False)
    showHidden = _plain_property(bool, "show_hidden", False)
    showChildNodeTypes = _plain_property(bool, "show_child_node_types", True)


CTK_WIDGETS = [ctkCollapsibleButton, ctkPathLineEdit]
SLICER_WIDGETS = [qMRMLWidget, qMRMLNodeComboBox]
