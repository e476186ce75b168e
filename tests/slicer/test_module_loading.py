"""The module as Slicer loads it: nothing from outside is imported, nothing is installed or downloaded unasked."""

import json
import subprocess
import sys
import types
import unittest
from pathlib import Path

import pytest
import slicer
from panel_fixtures import MODULE_FOLDER, application, panel  # noqa: F401

LOADING = """
import json, sys
from pathlib import Path
sys.path[:0] = [{tests!r}, {module!r}]
import slicer, slicer_application
slicer_application.install(Path({settings!r}))
before = set(sys.modules)
import LLNM
class Parent: path = ""
LLNM.LLNM(Parent())
new = {{name.split(".")[0] for name in set(sys.modules) - before}}
print(json.dumps(sorted(new - set(sys.stdlib_module_names) - {{"LLNM", "LLNMLib"}})))
"""


def test_loading_the_module_imports_nothing_from_outside_slicer(tmp_path):
    code = LOADING.format(tests=str(Path(__file__).parent), module=str(MODULE_FOLDER), settings=str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env={"QT_QPA_PLATFORM": "offscreen", "HOME": str(tmp_path)},
    )

    # numpy and vtk come with Slicer.
    assert set(json.loads(done.stdout.splitlines()[-1])) <= {"numpy", "vtk", "vtkmodules", "slicer", "slicer_core"}


def test_the_module_describes_itself_and_names_the_classes_that_slicer_looks_for(application, monkeypatch):  # noqa: F811
    monkeypatch.setitem(sys.modules, "SampleData", types.SimpleNamespace(SampleDataLogic=RecordingSampleData))
    import LLNM

    class Parent:
        path = str(MODULE_FOLDER / "LLNM.py")

    parent = Parent()
    LLNM.LLNM(parent)

    assert parent.title == "LLNM" and parent.categories == ["Ultrasound"]
    assert "not a medical device" in parent.helpText and "simulated patients" in parent.helpText
    assert {"LLNM", "LLNMWidget", "LLNMLogic", "LLNMTest"} <= set(vars(LLNM))
    assert RecordingSampleData.registered["sampleName"] == "LLNMSimulatedPatient"


class RecordingSampleData:
    """Slicer's SampleDataLogic as far as it is called: the parameters are those of Slicer 5.10 and 5.12."""

    registered: dict = {}  # noqa: RUF012

    @staticmethod
    def registerCustomSampleDataSource(  # noqa: N802, PLR0917
        category="Custom",
        sampleName=None,  # noqa: N803
        uris=None,
        fileNames=None,  # noqa: N803
        nodeNames=None,  # noqa: N803
        customDownloader=None,  # noqa: N803
        thumbnailFileName=None,  # noqa: N803
        loadFileTypes=None,  # noqa: N803
        loadFiles=None,  # noqa: N803
        loadFileProperties={},  # noqa: B006, N803
        checksums=None,
        loadFileType=None,  # noqa: N803
    ):
        RecordingSampleData.registered = dict(locals())


def test_the_sample_is_registered_with_its_checksums_and_loads_a_whole_patient(panel, monkeypatch):  # noqa: F811
    from LLNMLib.panel_sample import register_sample

    selected = []
    monkeypatch.setitem(sys.modules, "SampleData", types.SimpleNamespace(SampleDataLogic=RecordingSampleData))
    monkeypatch.setattr(slicer.util, "selectModule", selected.append)
    slicer.app.addModule("LLNM", str(MODULE_FOLDER / "LLNM.py"), panel)
    register_sample(str(MODULE_FOLDER / "Resources"))
    told = RecordingSampleData.registered

    for uri, checksum in zip(told["uris"], told["checksums"], strict=True):
        path = uri.removeprefix("file://")
        assert slicer.util.computeChecksum(*_algorithm(checksum), path) == checksum.split(":")[1]
    assert Path(told["thumbnailFileName"]).is_file()
    assert len(told["uris"]) == len(told["fileNames"]) == len(told["nodeNames"]) == 2

    volumes = told["customDownloader"](None)

    assert [volume.GetName() for volume in volumes] == told["nodeNames"]
    assert panel.ui.ageEdit.text == "58" and selected == ["LLNM"]


def _algorithm(checksum):
    return (slicer.util.extractAlgoAndDigest(checksum)[0],)


def test_a_sample_file_that_was_changed_is_refused_before_anything_is_loaded(panel, tmp_path):  # noqa: F811
    import shutil

    from LLNMLib.interfaces import LogicError
    from LLNMLib.panel_sample import load_sample

    shutil.copytree(MODULE_FOLDER / "Resources", tmp_path / "Resources")
    with (tmp_path / "Resources" / "Sample" / "longitudinal.png").open("ab") as file:
        file.write(b"0")
    count = slicer.mrmlScene.GetNumberOfNodes()

    with pytest.raises(LogicError, match=r"longitudinal\.png.*install the extension again"):
        load_sample(panel.logic, tmp_path / "Resources")
    assert slicer.mrmlScene.GetNumberOfNodes() == count


def test_slicers_own_python_is_only_touched_when_the_user_agrees(panel, monkeypatch):  # noqa: F811
    installed, asked = [], []
    torch = types.SimpleNamespace(torchInstalled=lambda: False, installTorch=lambda **options: asked.append(options))
    monkeypatch.setitem(sys.modules, "PyTorchUtils", types.SimpleNamespace(PyTorchUtilsLogic=lambda: torch))
    monkeypatch.setitem(sys.modules, "slicer.packaging", types.SimpleNamespace(pip_install=installed.append))
    answers = iter([False, True])
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda question: next(answers))
    panel.ui.wheelsPathEdit.currentPath = "/wheels"

    panel.ui.slicerPythonButton.click()
    assert not installed and not asked
    panel.ui.slicerPythonButton.click()

    assert installed == [["--no-index", "--find-links", "/wheels", "slicer-llnm"]]
    assert asked and panel.ui.environmentPathEdit.currentPath.endswith("PythonSlicer")


def test_without_the_extension_pytorch_the_remedy_is_told(application):  # noqa: F811
    from LLNMLib.interfaces import LogicError
    from LLNMLib.panel_place import install_into_slicer

    with pytest.raises(LogicError, match="Extensions Manager"):
        install_into_slicer()


def test_the_segment_editor_opens_with_the_masks_over_their_image(panel, monkeypatch):  # noqa: F811
    from LLNMLib.panel_views import open_segment_editor

    calls = []
    editor = types.SimpleNamespace(
        setSegmentationNode=lambda node: calls.append(("masks", node)),
        setSourceVolumeNode=lambda node: calls.append(("image", node)),
    )
    monkeypatch.setattr(slicer.util, "selectModule", lambda name: calls.append(("module", name)))
    slicer.app.addModule("SegmentEditor", "", types.SimpleNamespace(editor=editor))

    open_segment_editor("segmentation", "volume")

    assert calls == [("module", "SegmentEditor"), ("masks", "segmentation"), ("image", "volume")]


def test_the_modules_own_test_runs_where_there_is_no_environment_yet(panel, tmp_path):  # noqa: F811
    import LLNM

    slicer.app.addModule("LLNM", str(MODULE_FOLDER / "LLNM.py"), panel)
    panel.ui.environmentPathEdit.currentPath = str(tmp_path / "none")
    names = ("test_sample", "test_two_patients", "test_panel", "test_whole_case")
    result = unittest.TestResult()

    unittest.TestSuite(LLNM.LLNMTest(name) for name in names).run(result)

    assert result.testsRun == 4 and result.wasSuccessful(), (result.errors, result.failures)


def test_a_reload_in_developer_mode_lets_go_of_the_panels_own_modules(panel):  # noqa: F811
    kept = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "LLNMLib"}
    try:
        panel.onReload()
        left = [name for name in sys.modules if name.split(".")[0] == "LLNMLib"]
    finally:
        sys.modules.update(kept)

    assert left == []
