"""The adapter refuses what PythonQt would refuse: without that, the panel's tests would prove nothing."""

from pathlib import Path

import pytest
import slicer
from panel_fixtures import application  # noqa: F401
from pythonqt_adapter import slot_errors


@pytest.fixture
def qt(application):  # noqa: F811
    import qt

    return qt


def test_properties_are_attributes_and_no_methods(qt):
    button = qt.QPushButton("Run")

    assert button.text == "Run"
    button.enabled = False
    assert button.enabled is False
    with pytest.raises(TypeError, match="not callable"):
        button.text()


def test_a_name_that_qt_does_not_have_cannot_be_set_or_read(qt):
    button = qt.QPushButton("Run")

    with pytest.raises(AttributeError, match="creating new attributes on C\\+\\+ objects is not allowed"):
        button.caption = "Run"
    with pytest.raises(AttributeError, match="has no attribute named"):
        _ = button.caption
    with pytest.raises(AttributeError):
        _ = button.is_enabled


@pytest.mark.parametrize(("name", "value"), [("enabled", "yes"), ("text", 3), ("checkable", 1), ("text", None)])
def test_a_value_of_another_type_is_refused(qt, name, value):
    with pytest.raises(AttributeError, match="does not accept an object of type"):
        setattr(qt.QPushButton("Run"), name, value)


def test_what_is_pyside_only_or_protected_is_not_there(qt):
    box = qt.QComboBox()

    for name in ("paintEvent", "receivers", "emit", "_object_"):
        with pytest.raises(AttributeError):
            getattr(box, name)


def test_signals_are_connected_by_their_full_signature(qt):
    calls = []
    box = qt.QComboBox()
    box.addItem("a")
    box.addItem("b")
    box.connect("currentIndexChanged(int)", calls.append)

    box.currentIndex = 1

    assert calls == [1]
    with pytest.raises(ValueError, match="No such signal"):
        box.connect("currentIndexChanged(double)", calls.append)
    with pytest.raises(ValueError, match="No such signal"):
        box.connect("chosen()", calls.append)
    with pytest.raises(TypeError):
        box.connect("currentIndexChanged(int)", None)


def test_a_slot_gets_as_many_values_as_it_takes(qt):
    calls = []
    button = qt.QPushButton("Run")
    button.connect("clicked(bool)", lambda: calls.append("none"))
    button.clicked.connect(lambda checked: calls.append(not checked))

    button.click()

    assert calls == ["none", True]


def test_an_exception_in_a_slot_does_not_reach_the_one_who_clicked(qt):
    button = qt.QPushButton("Run")
    button.connect("clicked()", lambda: 1 / 0)

    button.click()

    assert [type(error) for error in slot_errors] == [ZeroDivisionError]
    slot_errors.clear()


def test_a_disconnected_slot_is_no_longer_called(qt):
    calls = []
    edit = qt.QLineEdit()
    edit.textChanged.connect(calls.append)
    edit.text = "a"
    edit.textChanged.disconnect(calls.append)
    edit.text = "b"

    assert calls == ["a"]


def test_children_and_classes_are_found_as_slicer_finds_them(qt):
    outer = qt.QWidget()
    inner = qt.QCheckBox(outer)
    inner.name = "box"

    assert slicer.util.findChild(outer, "box") == inner
    assert outer.findChildren(qt.QCheckBox) == [inner]
    assert type(slicer.util.childWidgetVariables(outer).box) is qt.QCheckBox
    assert inner.className() == "QCheckBox"


def test_a_widget_of_slicer_shows_only_the_methods_that_the_real_one_has(application):  # noqa: F811
    box = slicer.qMRMLNodeComboBox()

    for name in ("_fill", "setNode", "clear", "currentIndex"):
        with pytest.raises(AttributeError):
            getattr(box, name)
    assert box.currentNode() is None
    assert not box.enabled, "as in Slicer, until it has a scene"


def test_a_node_selector_follows_the_scene(application):  # noqa: F811
    chosen = []
    box = slicer.qMRMLNodeComboBox()
    box.nodeTypes = ["vtkMRMLScriptedModuleNode"]
    box.showHidden = True
    box.addAttribute("vtkMRMLScriptedModuleNode", "ModuleName", "LLNM")
    box.connect("currentNodeChanged(vtkMRMLNode*)", chosen.append)
    box.setMRMLScene(slicer.mrmlScene)
    first, _other, second = (slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode") for _ in range(3))
    for node in (first, second):
        node.SetAttribute("ModuleName", "LLNM")
    box.setMRMLScene(slicer.mrmlScene)
    assert box.nodeCount() == 2 and box.currentNode() is first

    box.setCurrentNode(second)
    slicer.mrmlScene.RemoveNode(second)

    assert box.currentNode() is first
    assert chosen == [first, second, first]


def test_a_wrapped_parameter_node_keeps_its_values_in_the_real_node(application):  # noqa: F811
    from typing import Annotated

    from slicer.parameterNodeWrapper import Choice, parameterNodeWrapper

    class Described:
        age: str
        sex: Annotated[str, Choice(["", "F", "M"])]

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
    node.SetParameter("sex", "F")
    wrapped = parameterNodeWrapper(Described)(node)
    wrapped.age = "43"

    assert (node.GetParameter("age"), wrapped.sex) == ("43", "F")
    with pytest.raises(ValueError, match="not allowed"):
        wrapped.sex = "X"


def test_slicer_is_slicers_own_package_and_holds_nothing_of_these_tests():
    import sys

    folder = Path(__file__).parent
    taken = {name for name in sys.modules if name.startswith("slicer.") and (folder / f"{name[7:]}.py").exists()}

    assert taken <= {"slicer.ScriptedLoadableModule", "slicer.i18n", "slicer.parameterNodeWrapper"}
