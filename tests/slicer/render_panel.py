"""Draws the panel's picture in the documentation: the sample patient, computed by the shipped weights, on PySide6.

Comes in: the environments that `make test-slicer` makes. Goes out: `docs/slicer-panel.png`. It shows the panel as Qt's
own style draws it; the widgets of Slicer and CTK are stand-ins. Run it in the folder of this file:

    QT_QPA_PLATFORM=offscreen ../../.venv-slicer/bin/python render_panel.py
"""

import os
import sys
import tempfile
import time
from pathlib import Path

from slicer_application import MODULE_FOLDER, install

sys.path.insert(0, str(MODULE_FOLDER))
REPOSITORY = MODULE_FOLDER.parents[1]
WIDTH = 560


def main() -> None:
    """Render the panel."""
    import slicer

    install(Path(tempfile.mkdtemp()))
    from LLNMLib.headless import new_scene
    from LLNMLib.widget import LLNMWidget

    slicer.mrmlScene, _logics = new_scene()
    import qt

    parent = slicer.qMRMLWidget()
    parent.setLayout(qt.QVBoxLayout())
    parent.layout().setContentsMargins(0, 0, 0, 0)
    panel = LLNMWidget(parent)
    panel.setup()
    # A short path for the picture; nothing is written there.
    os.chdir(tempfile.mkdtemp())
    Path(".llnm").mkdir()
    Path(".llnm", "environment").symlink_to(REPOSITORY / ".venv")
    panel.ui.environmentPathEdit.currentPath = ".llnm/environment"
    panel.ui.sampleButton.click()
    panel.ui.checkButton.click()
    finish(panel)
    panel.ui.runAllButton.click()
    finish(panel)
    panel.ui.exportSection.collapsed = True
    parent.resize(WIDTH, 100)
    parent.show()
    slicer.app.processEvents()
    parent.resize(WIDTH, parent.sizeHint.height())
    slicer.app.processEvents()
    target = REPOSITORY / "docs" / "slicer-panel.png"
    parent.grab().save(str(target))
    print(target, parent.width, parent.height)
    panel.cleanup()


def finish(panel: object) -> None:
    """Let the event loop run until the panel's work has ended."""
    import slicer

    while panel.tasks.running:  # type: ignore[attr-defined]
        slicer.app.processEvents()
        time.sleep(0.02)


if __name__ == "__main__":
    main()
