"""The panel's file against the code that uses it, and against what a user needs of each control."""

import ast
from pathlib import Path
from xml.etree import ElementTree

import slicer_widgets

MODULE = Path(__file__).resolve().parents[2] / "SlicerLLNM" / "LLNM"
TREE = ElementTree.parse(MODULE / "Resources" / "UI" / "LLNM.ui").getroot()
WIDGETS = {widget.get("name"): widget for widget in TREE.iter("widget")}
CODE = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted((MODULE / "LLNMLib").glob("*.py"))}
SHOWN_ONLY = ("QLabel", "QFrame", "ctkCollapsibleButton", "qMRMLWidget")


def controls():
    return {name: widget for name, widget in WIDGETS.items() if widget.get("class") not in SHOWN_ONLY}


def property_of(widget, name):
    return next((item for item in widget.findall("property") if item.get("name") == name), None)


def names_on_ui(tree):
    """Attributes of `ui` and `self.ui`, and the buttons named in `on_click`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner = node.value
            if (isinstance(owner, ast.Name) and owner.id == "ui") or (
                isinstance(owner, ast.Attribute) and owner.attr == "ui"
            ):
                yield node.attr
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "on_click":
            yield node.args[0].value


def constants(tree):
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def test_names_in_the_file_are_told_apart():
    names = [item.get("name") for kind in ("widget", "layout", "spacer") for item in TREE.iter(kind)]

    assert len(names) == len(set(names))


def test_every_name_used_in_code_is_in_the_file():
    unknown = {name for tree in CODE.values() for name in names_on_ui(tree)} - set(WIDGETS)

    assert not unknown


def test_every_control_and_text_of_the_file_is_used_in_code():
    used = {name for tree in CODE.values() for name in (*names_on_ui(tree), *constants(tree))}
    bound = {name for name, widget in WIDGETS.items() if property_of(widget, "SlicerParameterName") is not None}
    written = {
        name
        for name, widget in WIDGETS.items()
        if widget.get("class") == "QLabel" and property_of(widget, "text").findtext("string")
    }
    sections = {
        name for name, widget in WIDGETS.items() if widget.get("class") in ("ctkCollapsibleButton", "qMRMLWidget")
    }

    assert set(WIDGETS) - used - bound - written - sections == set()


def test_every_control_has_a_tooltip_that_is_a_sentence():
    for name, widget in controls().items():
        tooltip = property_of(widget, "toolTip")
        assert tooltip is not None, name
        text = tooltip.findtext("string")
        assert len(text) > 20 and text[0].isupper() and text.endswith("."), (name, text)


def test_every_button_and_section_has_a_caption():
    for name, widget in WIDGETS.items():
        if widget.get("class") in ("QPushButton", "QCheckBox", "ctkCollapsibleButton"):
            assert property_of(widget, "text").findtext("string").strip(), name


def test_the_parameters_of_the_file_are_those_of_the_parameter_node():
    from LLNMLib.patient_node import PARAMETERS

    bound = {
        property_of(widget, "SlicerParameterName").findtext("string")
        for widget in WIDGETS.values()
        if property_of(widget, "SlicerParameterName") is not None
    }
    tree = CODE[MODULE / "LLNMLib" / "widget.py"]
    wrapped = next(
        node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == "PatientParameters"
    )
    fields = {item.target.id for item in wrapped.body if isinstance(item, ast.AnnAssign)}

    assert bound == fields
    assert fields <= set(PARAMETERS)


def test_properties_set_on_widgets_of_slicer_exist_there():
    for name, widget in WIDGETS.items():
        stand_in = getattr(slicer_widgets, widget.get("class"), None)
        if stand_in is None:
            continue
        meta = stand_in.staticMetaObject
        for item in widget.findall("property"):
            if item.get("stdset") != "0":
                assert meta.indexOfProperty(item.get("name")) >= 0, (name, item.get("name"))


def test_node_selectors_get_the_scene_from_the_panel():
    selectors = {name for name, widget in WIDGETS.items() if widget.get("class") == "qMRMLNodeComboBox"}
    connected = {item.findtext("receiver") for item in TREE.iter("connection")}

    assert connected == selectors


def test_passwords_are_not_shown():
    echo = property_of(WIDGETS["serverPasswordEdit"], "echoMode")

    assert echo.findtext("enum") == "QLineEdit::Password"
