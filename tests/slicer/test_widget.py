"""The panel, driven as a user drives it: real file, real scene, real logic; only the widgets' toolkit is an adapter."""

import time
from pathlib import Path

import pytest
import slicer
from panel_fixtures import application, panel  # noqa: F401
from pythonqt_adapter import slot_errors

REPOSITORY = Path(__file__).resolve().parents[2]


def process(seconds=0.2):
    """Let the event loop run for a while."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        slicer.app.processEvents()
        time.sleep(0.01)


def errors():
    """What slots have raised since the last call, in words."""
    found = [str(error) for error in slot_errors]
    slot_errors.clear()
    return found


def next_step(panel):  # noqa: F811
    panel.refresh()
    return panel.ui.nextStepLabel.text


@pytest.fixture
def environment(panel, tmp_path):  # noqa: F811
    """An environment whose Python is there; nothing is computed with it."""
    folder = tmp_path / "environment"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").touch()
    panel.ui.environmentPathEdit.currentPath = str(folder)
    return folder


def test_an_opened_panel_has_a_patient_says_what_to_do_and_what_it_is_not(panel):  # noqa: F811
    assert panel.patient is not None
    assert panel.ui.patientSelector.currentNode() is panel.patient.node
    assert "not a medical device" in panel.ui.noticeLabel.text
    assert next_step(panel).startswith("Next: ")
    for button in ("runAllButton", "masksButton", "predictButton", "exportButton", "cancelButton"):
        assert not getattr(panel.ui, button).enabled, button


def test_the_sample_patient_fills_the_panel(panel):  # noqa: F811
    panel.ui.sampleButton.click()

    ui = panel.ui
    assert ui.patientNameEdit.text == panel.patient.name == "Simulated patient"
    assert ui.transverseSelector.currentNode() is panel.patient.view("transverse")
    assert ui.longitudinalSelector.currentNode().GetName() == "Simulated patient longitudinal"
    assert (ui.ageEdit.text, ui.sexBox.currentText, ui.sideBox.currentText) == ("58", "male", "left")
    assert ui.reportTextEdit.toPlainText().startswith("No suspicious lymph node")
    assert ui.runAllButton.enabled and ui.predictButton.enabled and not ui.editTransverseButton.enabled


def test_the_sample_can_be_loaded_twice(panel):  # noqa: F811
    panel.ui.sampleButton.click()
    panel.ui.sampleButton.click()

    assert [patient.name for patient in panel.logic.patients()][-2:] == ["Simulated patient", "Simulated patient 2"]


def test_what_is_typed_is_in_the_patients_node(panel):  # noqa: F811
    node = panel.patient.node
    panel.ui.ageEdit.text = "43"
    panel.ui.sexBox.currentIndex = 1
    panel.ui.sideBox.currentIndex = 2
    panel.ui.reportTextEdit.setPlainText("Solid nodule")

    typed = {name: node.GetParameter(name) for name in ("age", "sex", "side", "reportText")}
    assert typed == {"age": "43", "sex": "F", "side": "right", "reportText": "Solid nodule"}


def test_the_cursor_stays_where_the_user_types(panel):  # noqa: F811
    edit = panel.ui.reportTextEdit
    edit.setPlainText("Solid nodule")
    cursor = edit.textCursor()
    cursor.setPosition(5)
    edit.setTextCursor(cursor)
    edit.insertPlainText(" hypoechoic")
    process()

    assert edit.toPlainText() == "Solid hypoechoic nodule"
    assert edit.textCursor().position() == 16


def test_what_changes_in_the_node_is_in_the_panel(panel):  # noqa: F811
    panel.patient.set_parameter("age", "61")
    panel.patient.set_parameter("reportText", "From a script")
    process()

    assert (panel.ui.ageEdit.text, panel.ui.reportTextEdit.toPlainText()) == ("61", "From a script")


def test_two_patients_of_one_scene_are_kept_apart(panel):  # noqa: F811
    first = panel.patient
    panel.ui.ageEdit.text = "43"
    panel.ui.sexBox.currentIndex = 1
    panel.ui.newPatientButton.click()
    second = panel.patient
    assert second != first and panel.ui.ageEdit.text == "" and panel.ui.sexBox.currentIndex == 0
    panel.ui.ageEdit.text = "70"

    panel.ui.patientSelector.setCurrentNode(first.node)

    assert (panel.ui.ageEdit.text, panel.ui.sexBox.currentText) == ("43", "female")
    assert (first.parameter("age"), second.parameter("age")) == ("43", "70")


def test_showing_a_patient_does_not_change_it(panel):  # noqa: F811
    panel.ui.sampleButton.click()
    sample, before = panel.patient, panel.patient.fingerprint()
    view = sample.view("transverse")
    panel.ui.newPatientButton.click()

    panel.ui.patientSelector.setCurrentNode(sample.node)
    process()

    assert panel.patient == sample
    assert sample.view("transverse") is view and sample.fingerprint() == before


def test_a_view_is_chosen_among_the_loaded_volumes(panel):  # noqa: F811
    panel.ui.sampleButton.click()
    volume = panel.patient.view("transverse")
    panel.ui.newPatientButton.click()

    panel.ui.transverseSelector.setCurrentNode(volume)

    assert panel.patient.view("transverse") is volume
    assert panel.ui.runAllButton.enabled


def test_one_image_cannot_be_both_views_and_the_panel_shows_what_holds(panel):  # noqa: F811
    panel.ui.sampleButton.click()
    longitudinal = panel.patient.view("longitudinal")

    panel.ui.longitudinalSelector.setCurrentNode(panel.patient.view("transverse"))

    assert "already" in errors()[0]
    assert panel.patient.view("longitudinal") is longitudinal
    assert panel.ui.longitudinalSelector.currentNode() is longitudinal


def test_a_file_is_loaded_into_the_view_that_is_free_with_the_pixel_size_in_the_box(panel):  # noqa: F811
    sample = REPOSITORY / "SlicerLLNM" / "LLNM" / "Resources" / "Sample"
    panel.ui.spacingBox.value = 0.08
    for name in ("transverse.png", "longitudinal.png"):
        panel.ui.loadPathEdit.currentPath = str(sample / name)
        panel.ui.loadButton.click()

    assert panel.patient.view("transverse").GetSpacing()[0] == pytest.approx(0.08)
    assert panel.patient.view("longitudinal") is not None


def test_a_file_that_cannot_be_loaded_is_named_and_changes_nothing(panel, tmp_path):  # noqa: F811
    count = slicer.mrmlScene.GetNumberOfNodes()
    panel.ui.loadPathEdit.currentPath = str(tmp_path / "none.png")

    panel.ui.loadButton.click()

    assert "none.png" in errors()[0]
    assert slicer.mrmlScene.GetNumberOfNodes() == count
    assert slicer.app.cursors == [], "the wait cursor is gone"


def test_a_pixel_size_by_hand_is_given_to_both_views_and_can_be_undone(panel):  # noqa: F811
    panel.ui.sampleButton.click()
    panel.ui.spacingBox.value = 0.05
    panel.ui.spacingButton.click()
    for plane in ("transverse", "longitudinal"):
        assert panel.patient.view(plane).GetSpacing()[0] == pytest.approx(0.05)

    panel.ui.undoButton.click()

    assert panel.patient.view("longitudinal").GetSpacing()[0] == pytest.approx(0.0713)


def test_a_removed_patient_comes_back_by_undo(panel):  # noqa: F811
    panel.ui.ageEdit.text = "43"
    panel.ui.newPatientButton.click()
    panel.ui.ageEdit.text = "70"
    name = panel.patient.name
    panel.ui.removePatientButton.click()
    assert panel.ui.ageEdit.text == "43"

    panel.ui.undoButton.click()
    back = next(patient for patient in panel.logic.patients() if patient.name == name)
    panel.ui.patientSelector.setCurrentNode(back.node)

    assert panel.ui.ageEdit.text == "70"


def test_another_pseudonym_is_taken_over(panel):  # noqa: F811
    panel.ui.patientNameEdit.text = "P17"
    panel.ui.patientNameEdit.editingFinished.connect(lambda: None)
    panel.patients.rename()

    assert panel.patient.name == "P17"


def test_a_closed_scene_leaves_an_empty_panel_and_a_loaded_one_fills_it(panel, tmp_path):  # noqa: F811
    panel.ui.sampleButton.click()
    path = tmp_path / "scene.mrb"
    assert slicer.mrmlScene.WriteToMRB(str(path))

    slicer.mrmlScene.Clear(False)
    process()
    assert panel.ui.ageEdit.text == "" and panel.patient.view("transverse") is None
    slicer.mrmlScene.Clear(False)
    assert slicer.mrmlScene.ReadFromMRB(str(path))
    process()
    loaded = next(patient for patient in panel.logic.patients() if patient.name == "Simulated patient")
    panel.ui.patientSelector.setCurrentNode(loaded.node)

    assert panel.ui.ageEdit.text == "58"
    assert panel.ui.transverseSelector.currentNode() is loaded.view("transverse")


def test_without_an_environment_the_next_step_is_to_make_one(panel, tmp_path):  # noqa: F811
    panel.ui.environmentPathEdit.currentPath = str(tmp_path / "nothing")
    panel.ui.sampleButton.click()

    assert panel.logic.place is None
    assert "environment" in next_step(panel).lower()
    assert panel.ui.installButton.styleSheet == "font-weight: bold"


def test_the_next_step_follows_the_work(panel, environment):  # noqa: F811
    before = next_step(panel)
    panel.ui.sampleButton.click()
    after = next_step(panel)

    assert before != after
    bold = [name for name, button in vars(panel.ui).items() if name.endswith("Button") and button.styleSheet]
    assert len(bold) == 1


def test_the_place_is_kept_for_the_next_start_and_the_password_is_not(panel, environment):  # noqa: F811
    import qt

    from LLNMLib.interfaces import Server
    from LLNMLib.widget import LLNMWidget

    panel.ui.placeBox.currentIndex = 1
    panel.ui.serverAddressEdit.text = "https://host:8000"
    panel.ui.serverUserEdit.text = "reader"
    panel.ui.serverPasswordEdit.text = "secret-word"
    assert isinstance(panel.logic.place, Server) and panel.logic.place.login.password == "secret-word"
    settings = qt.QSettings()
    settings.sync()

    assert "secret-word" not in Path(settings.fileName()).read_text()
    assert "secret-word" not in panel.ui.logEdit.toPlainText()
    parent = slicer.qMRMLWidget()
    parent.setLayout(qt.QVBoxLayout())
    again = LLNMWidget(parent)
    again.setup()
    assert again.ui.environmentPathEdit.currentPath == str(environment)
    assert (again.ui.serverAddressEdit.text, again.ui.placeBox.currentIndex) == ("https://host:8000", 1)
    assert again.ui.serverPasswordEdit.text == ""
    again.cleanup()


def test_the_servers_fields_are_there_only_when_a_server_is_chosen(panel):  # noqa: F811
    assert panel.ui.serverFrame.isHidden()

    panel.ui.placeBox.currentIndex = 1

    assert not panel.ui.serverFrame.isHidden()


@pytest.mark.parametrize(
    ("button", "words"),
    [
        ("loadButton", "no file"),
        ("exportButton", "folder"),
        ("atlasButton", "atlas folder"),
        ("batchButton", "folder is missing"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_started(panel, button, words):  # noqa: F811
    panel.ui.exportButton.enabled = True
    getattr(panel.ui, button).click()

    assert words in errors()[0]
    assert not panel.tasks.running


def test_a_place_that_does_not_work_is_told_with_the_remedy(panel, environment):  # noqa: F811
    panel.ui.checkButton.click()
    for _ in range(100):
        if not panel.tasks.running:
            break
        process(0.05)

    assert "environment" in panel.ui.stepLabel.text
    assert panel.logic.place is not None


def test_the_panel_goes_away_without_leaving_anything(panel):  # noqa: F811
    panel.ui.sampleButton.click()
    panel.cleanup()

    slicer.mrmlScene.Clear(False)
    process()

    assert panel.patient is None
    assert panel.ui.patientSelector.currentNode() is None


@pytest.mark.parametrize(
    ("user", "secret", "expected"),
    [("", "", None), ("reader", "word", ("reader", "word", None)), ("", "token", (None, None, "token"))],
)
def test_a_login_is_a_name_with_a_password_or_a_token(panel, user, secret, expected):  # noqa: F811
    panel.ui.placeBox.currentIndex = 1
    panel.ui.serverAddressEdit.text = "https://host:8000"
    panel.ui.serverUserEdit.text = user
    panel.ui.serverPasswordEdit.text = secret

    login = panel.logic.place.login
    assert (None if login is None else (login.user, login.password, login.token)) == expected


def test_a_loop_can_be_outlined_once_it_is_chosen(panel):  # noqa: F811
    loop = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "Loop")
    assert not panel.ui.cineButton.enabled

    panel.ui.sequenceSelector.setCurrentNode(loop)
    process()

    assert panel.ui.cineButton.enabled


def test_every_next_step_of_the_logic_has_a_button(panel, environment):  # noqa: F811
    from LLNMLib.widget import BUTTON_OF

    steps = [panel.logic.next_step(None)[0], panel.logic.next_step(panel.patient)[0]]
    panel.ui.sampleButton.click()
    steps.append(panel.logic.next_step(panel.patient)[0])
    panel.ui.environmentPathEdit.currentPath = ""
    steps.append(panel.logic.next_step(panel.patient)[0])

    assert len(set(steps)) == 4 and set(steps) <= set(BUTTON_OF)
