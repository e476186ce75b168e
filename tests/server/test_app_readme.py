"""Every command of server/README.md runs as it stands there, and MONAILabel's own client works unchanged."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import requests
import SimpleITK as sitk  # noqa: N813
from server_process import REPOSITORY, free_port

README = (REPOSITORY / "server" / "README.md").read_text(encoding="utf-8")


def blocks(kind):
    """The code blocks of a kind."""
    return re.findall(rf"^```{kind}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def as_here(text, port):
    """A command with this test's port and Python."""
    return (
        text.replace(":8000", f":{port}")
        .replace("--port 8000", f"--port {port}")
        .replace(".venv-server/bin/python", sys.executable)
    )


@pytest.fixture
def started(small_study, tmp_path):
    """The server, started by the command of the README."""
    port = free_port()
    (command,) = blocks("sh start")
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            ["bash", "-c", f"exec {as_here(command, port).strip()}"],
            cwd=REPOSITORY,
            env={**os.environ, "STUDIES": str(small_study)},
            stdout=log,
            stderr=log,
        )
    for _ in range(1800):
        try:
            requests.get(f"http://127.0.0.1:{port}/auth/", timeout=5)
            break
        except requests.ConnectionError:
            assert process.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.1)
    yield port
    process.terminate()
    process.wait(30)


def test_the_commands_and_the_script_of_the_readme_run(started, small_study, tmp_path):
    (commands,) = blocks("sh curl")
    run = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", as_here(commands, started)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, f"{run.stdout[-1500:]}\n{run.stderr[-1500:]}"
    mask, final = (
        sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / name))) for name in ("label.nrrd", "final.seg.nrrd")
    )
    assert np.array_equal(mask, final) and mask.any()
    assert (small_study / "labels" / "final" / "P1_transverse.png.seg.nrrd").is_file()

    (script,) = blocks("python")
    run = subprocess.run(
        [sys.executable, "-c", as_here(script, started)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-1500:]
    assert "'status': 'published'" in run.stdout or "'status': 'rolled back'" in run.stdout, run.stdout


def test_monailabels_own_client_does_all_that_slicers_plugin_asks_of_it(shared_server, tmp_path):
    from monailabel.client import MONAILabelClient

    client = MONAILabelClient(shared_server.address, tmpdir=str(tmp_path), client_id="slicer-user")
    assert client.auth_enabled() is False
    info = client.info()
    assert info["labels"] == ["nodule", "gland"] and info["models"]["interactive"]["type"] == "deepgrow"
    sample = client.next_sample("hybrid", {})
    assert sample["id"] and "path" not in sample and sample["checksum"].startswith("SHA256:")
    result, params = client.infer("nodule", sample["id"], {"result_extension": ".nrrd", "result_dtype": "uint8"})
    assert result.endswith(".nrrd") and params["label_names"] in ({"nodule": 1}, {})
    saved = client.save_label(sample["id"], result, params={"label_info": [{"name": "nodule", "idx": 1}]})
    assert saved["label"] == sample["id"]
    stored = client.download_label(sample["id"], "final")
    assert stored.endswith(".seg.nrrd")
    assert np.array_equal(*(sitk.GetArrayFromImage(sitk.ReadImage(name)) for name in (result, stored)))
    label = client.datastore()["objects"][sample["id"]]["labels"]["final"]
    assert label["info"]["annotator"] == "slicer-user"
    image = shared_server.studies / "P1_transverse.png"
    session = client.create_session(str(image))["session_id"]
    result, params = client.infer("nodule", "", {}, session_id=session)
    assert Path(result).is_file() and params["found"]["nodule"]["found"]
    client.remove_session(session)
    assert client.upload_image(str(image), "uploaded")["image"] == "uploaded.png"
    assert "uploaded.png" in client.datastore()["objects"]
    assert client.train_status(check_if_running=True) is False
