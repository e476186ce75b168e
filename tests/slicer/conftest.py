"""What the tests of the Slicer module's logic share: real scenes, the real runner, real children with real weights."""

import csv
import os
import subprocess
from pathlib import Path

import pytest
from scene_helpers import REPOSITORY, add_patient

from LLNMLib.headless import new_scene
from LLNMLib.interfaces import Local
from LLNMLib.logic import LLNMLogic
from LLNMLib.runner import ProcessRunner, SystemClock, child_environment

# What a test waits for at most; no assertion.
PATIENCE_S = 300


@pytest.fixture(scope="session")
def data():
    """The folder of real images; a missing one is a failure, since CI has it."""
    folder = Path(os.environ.get("LLNM_DATA", REPOSITORY.parent / "shared" / "data"))
    assert (folder / "ddti" / "images").is_dir(), f"{folder} holds no test data; set LLNM_DATA"
    return folder


@pytest.fixture(scope="session")
def core_python():
    """The Python of the environment with llnm, torch and the shipped weights."""
    python = REPOSITORY / ".venv" / "bin" / "python"
    assert python.is_file(), f"{python} is missing; run make setup"
    return python


@pytest.fixture(scope="session")
def llnm(core_python):
    """Run `llnm` as a user does; gives the finished process."""

    def run(*arguments, program=("-m", "llnm")):
        command = [str(core_python), *program, *map(str, arguments)]
        done = subprocess.run(
            command, capture_output=True, text=True, env=child_environment(), timeout=PATIENCE_S, check=False
        )
        assert done.returncode == 0, done.stderr
        return done

    return run


@pytest.fixture(scope="session")
def patient_row(llnm, tmp_path_factory):
    """One simulated patient with files by full path, as a row of a cohort table."""
    folder = tmp_path_factory.mktemp("simulated") / "cohort"
    llnm("simulate", "--patients", 1, "--seed", 17, "--out", folder)
    with (folder / "cohort.csv").open(encoding="utf-8", newline="") as file:
        row = next(csv.DictReader(file))
    paths = ("transverse", "longitudinal", "report")
    return {
        name: str(folder / value) if name in paths or name.endswith("_mask") else value for name, value in row.items()
    }


@pytest.fixture(scope="session")
def atlas_folder(llnm, tmp_path_factory):
    """An atlas over the real template with a risk that rises towards the head; the left half of it has no evidence."""
    folder = tmp_path_factory.mktemp("atlas") / "atlas"
    code = """
import sys
import numpy as np
from pathlib import Path
from llnm.atlas.mesh import write_mesh
from llnm.atlas.model import Atlas
from llnm.atlas.template import thyroid_template
template = thyroid_template()
inside = template.labels > 0
height = template.position(np.argwhere(np.ones_like(inside))).reshape(*inside.shape, 3)[..., 2]
risk = np.where(inside, 0.2 + 0.6 * (height - height.min()) / np.ptp(height), np.nan).astype(np.float32)
count = np.where(inside, 10, 0).astype(np.float32)
atlas = Atlas(template, risk, risk - 0.1, risk + 0.1, count, "beta", {"patients": 800, "cohort": "simulated"})
atlas.save(Path(sys.argv[1]))
write_mesh(Path(sys.argv[1], "template.vtp"), atlas)
"""
    llnm(code, folder, program=("-c",))
    return folder


@pytest.fixture
def scene():
    """An empty scene."""
    made, _served_by = new_scene()
    yield made
    made.Clear(1)


@pytest.fixture
def runner():
    """The real runner; nothing it started is left after a test."""
    made = ProcessRunner()
    yield made
    made.cancel_all()


@pytest.fixture
def logic(scene, runner, core_python):
    """The logic on an empty scene, computing on this machine."""
    return LLNMLogic(scene, runner, SystemClock(), Local(core_python))


@pytest.fixture
def simulated_patient(logic, patient_row):
    """The simulated patient in the scene, with everything that is known of it."""
    return add_patient(logic, patient_row)
