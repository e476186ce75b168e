"""What every room's tests may use: real images, one simulated patient, and the command line as a user runs it."""

import os
import sys
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def data():
    """The folder of real images; a missing one is a failure, since CI has it."""
    folder = Path(os.environ.get("LLNM_DATA", REPOSITORY.parent / "shared" / "data"))
    assert (folder / "ddti" / "images").is_dir(), f"{folder} holds no test data; set LLNM_DATA"
    return folder


@pytest.fixture(scope="session")
def cohort(tmp_path_factory):
    """`cohort.csv` of two simulated patients."""
    from llnm.simulate import write_cohort

    return write_cohort(2, seed=3, out=tmp_path_factory.mktemp("simulated") / "cohort")


@pytest.fixture(scope="session")
def patient_files(cohort):
    """The files and values of the first simulated patient, by column of the cohort table."""
    import csv

    with cohort.open(encoding="utf-8", newline="") as file:
        row = next(csv.DictReader(file))
    paths = ("transverse", "longitudinal", "report")
    return {
        name: str(cohort.parent / value) if name in paths or name.endswith("_mask") else value
        for name, value in row.items()
    }


@pytest.fixture
def llnm(monkeypatch, capfd):
    """Run the command line in this process; gives (exit code, standard output, standard error)."""
    from llnm.cli import main

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["llnm", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        out, err = capfd.readouterr()
        return code, out, err

    return run
