"""The panel's second section: where to compute.

Comes in: the panel and Slicer's settings. Goes out: `logic.place`. Paths and the server's address are kept in Slicer's
settings (they belong to the computer, not to the patient); a password is not kept at all.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ctk
import qt
import slicer
from slicer.i18n import tr as _

from LLNMLib.environment import PACKAGE, python_of
from LLNMLib.interfaces import EnvironmentReport, Local, Login, Place, Server, ServerReport, Task, logic_error
from LLNMLib.panel_text import lines_text, problem_text

if TYPE_CHECKING:
    from LLNMLib.widget import LLNMWidget

ENVIRONMENT, WHEELS, ADDRESS, USER, REMOTE = "environment", "wheels", "serverAddress", "serverUser", "masksFromServer"
DEFAULT_ENVIRONMENT = Path.home() / ".llnm" / "environment"


class PlaceSection:
    """Chooses, makes and checks the place to compute."""

    def __init__(self, panel: LLNMWidget) -> None:
        self.panel, self.ui = panel, panel.ui
        ui = self.ui
        for edit in (ui.environmentPathEdit, ui.wheelsPathEdit):
            edit.filters = ctk.ctkPathLineEdit.Dirs
        ui.environmentPathEdit.currentPath = _setting(ENVIRONMENT, str(DEFAULT_ENVIRONMENT))
        ui.wheelsPathEdit.currentPath = _setting(WHEELS, "")
        ui.serverAddressEdit.text = _setting(ADDRESS, "")
        ui.serverUserEdit.text = _setting(USER, "")
        ui.placeBox.currentIndex = 1 if _setting(REMOTE, "") else 0
        for edit in (ui.environmentPathEdit, ui.wheelsPathEdit):
            edit.connect("currentPathChanged(QString)", self.apply)
        for line in (ui.serverAddressEdit, ui.serverUserEdit, ui.serverPasswordEdit):
            line.connect("textChanged(QString)", self.apply)
        ui.placeBox.connect("currentIndexChanged(int)", self.apply)
        panel.on_click("checkButton", self.check)
        panel.on_click("installButton", self.install)
        panel.on_click("slicerPythonButton", self.use_slicers_python)
        self.apply()

    def apply(self) -> None:
        """Take over what is written, and keep it in the settings."""
        ui = self.ui
        remote = ui.placeBox.currentIndex == 1
        ui.serverFrame.visible = remote
        self.panel.logic.place = self._place(remote)
        values = {
            ENVIRONMENT: ui.environmentPathEdit.currentPath,
            WHEELS: ui.wheelsPathEdit.currentPath,
            ADDRESS: ui.serverAddressEdit.text,
            USER: ui.serverUserEdit.text,
            REMOTE: "yes" if remote else "",
        }
        settings = qt.QSettings()
        for name, value in values.items():
            settings.setValue(f"LLNM/{name}", value)
        self.panel.refresh_soon()

    def _place(self, remote: bool) -> Place | None:
        ui = self.ui
        folder = ui.environmentPathEdit.currentPath
        there = python_in(Path(folder).expanduser()) if folder else None
        if not remote:
            return None if there is None else Local(there)
        if not ui.serverAddressEdit.text:
            return None
        return Server(ui.serverAddressEdit.text, login_of(ui.serverUserEdit.text, ui.serverPasswordEdit.text), there)

    def check(self) -> None:
        """Ask the place what it has."""
        self.panel.tasks.start(self.panel.logic.start_check(), self.tell)

    def install(self) -> None:
        """Make the environment, offline where a wheel folder is given."""
        folder = Path(self.ui.environmentPathEdit.currentPath or DEFAULT_ENVIRONMENT).expanduser()
        wheels = self.ui.wheelsPathEdit.currentPath
        task = self.panel.logic.start_install(folder, Path(wheels) if wheels else None)
        self.panel.tasks.start(task, self._installed)

    def _installed(self, task: Task) -> None:
        self.apply()
        self.tell(task)

    def tell(self, task: Any) -> None:
        """Say what a check or an installation found."""
        self.ui.placeLabel.text = report_text(task.report)
        self.ui.placeLabel.visible = True

    def use_slicers_python(self) -> None:
        """Install into Slicer's own Python, if the user wants that, and compute with it."""
        question = _(
            "This puts llnm and PyTorch (some gigabytes) into Slicer's own Python, which all modules share. An "
            "environment of its own is safer. Go on?"
        )
        if slicer.util.confirmOkCancelDisplay(question):
            install_into_slicer(self.ui.wheelsPathEdit.currentPath)
            self.ui.environmentPathEdit.currentPath = str(slicers_python())


def login_of(user: str, secret: str) -> Login | None:
    """A name with its password, or a token where there is no name; None without either."""
    if user:
        return Login(user, secret)
    return Login(token=secret) if secret else None


def python_in(place: Path) -> Path | None:
    """The Python of an environment's folder, or the program itself; None if there is none."""
    python = place if place.is_file() else python_of(place)
    return python if python.is_file() else None


def slicers_python() -> Path:
    """The program by which Slicer's own Python runs outside of Slicer."""
    return Path(slicer.app.slicerHome, "bin", "PythonSlicer.exe" if sys.platform == "win32" else "PythonSlicer")


def install_into_slicer(wheels: str = "") -> None:
    """Install llnm into Slicer's own Python; PyTorch comes by the extension PyTorch, which picks the right build.

    `wheels`: a folder to install from without a network. Raises LogicError without that extension.
    """
    try:
        import PyTorchUtils
    except ImportError as error:
        raise logic_error(
            "MissingPackage", "the extension PyTorch is not installed", "install it in the Extensions Manager first"
        ) from error
    logic = PyTorchUtils.PyTorchUtilsLogic()
    if not logic.torchInstalled():
        logic.installTorch(askConfirmation=True)
    options = ["--no-index", "--find-links", wheels] if wheels else []
    # Slicer 5.12 has slicer.packaging, which this function of both versions calls there.
    slicer.util.pip_install([*options, PACKAGE])


def report_text(report: EnvironmentReport | ServerReport) -> str:
    """What a place has, as rich text."""
    if report.problem is not None:
        return problem_text(report.problem)
    if isinstance(report, ServerReport):
        models = ", ".join(f"{structure}: {model}" for structure, model in (report.models or {}).items())
        return lines_text([_("{name} {version} answers.").format(name=report.name, version=report.version), models])
    return lines_text([_("llnm {version} is ready.").format(version=report.version), "; ".join(report.weights)])


def _setting(name: str, default: str) -> str:
    return str(slicer.util.settingsValue(f"LLNM/{name}", default))
