"""A campaign from the shell, as an administrator looks after it."""

import json
import sqlite3
import subprocess
import sys

import pytest

from llnm.training.data import find_items


@pytest.fixture
def shell(campaign, study, repository):
    """Run a command on a campaign with two labels, in a process of its own; gives (exit code, output, error)."""
    for name in study.names[:2]:
        campaign.submitted(name, "ann", study.mask(name))

    def run(command, *more):
        line = [sys.executable, "-m", "lib.campaign", command, str(campaign.folder), *map(str, more)]
        done = subprocess.run(line, cwd=repository / "server", capture_output=True, text=True, timeout=300, check=False)
        return done.returncode, done.stdout, done.stderr

    return run


def test_the_log_is_verified_against_a_head_noted_earlier_and_against_the_labels(shell, campaign, study):
    head = campaign.status()["audit"]
    noted = f"{head['entries']} {head['head']}"
    campaign.submitted(study.names[2], "ann", study.mask(study.names[2]))
    code, out, _ = shell("verify", "--head", noted)
    assert (code, out.startswith("whole: 8 entries, every label as submitted; head: 8 ")) == (0, True)
    database = sqlite3.connect(campaign.folder / "campaign.sqlite")
    database.execute("DROP TRIGGER audit_is_not_shortened")
    database.execute("DELETE FROM audit WHERE n >= 6")
    database.commit()
    database.close()
    code, _, error = shell("verify", "--head", noted)
    assert (code, "entries were cut off" in error, error.count("\n")) == (2, True, 1)


def test_status_is_json_and_the_export_trains(shell, tmp_path):
    code, out, _ = shell("status")
    assert (code, json.loads(out)["labels"]) == (0, 2)
    code, out, _ = shell("export", "--out", tmp_path / "out")
    assert (code, "2 images" in out) == (0, True)
    assert len(find_items(tmp_path / "out", "nodule")) == 2


def test_a_folder_without_a_campaign_is_named_and_left_alone(repository, tmp_path):
    line = [sys.executable, "-m", "lib.campaign", "status", str(tmp_path)]
    done = subprocess.run(line, cwd=repository / "server", capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 2
    assert "holds no campaign" in done.stderr
    assert list(tmp_path.iterdir()) == []
