"""A training killed in the middle beside an undisturbed one."""

import random
import signal
import subprocess
import time

import torch


def run_to_its_end(command):
    found = subprocess.run(command, check=False, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr[-3000:]


def assert_a_kill_changes_nothing(train, folder, within, resume=("--resume",), last="training.json"):
    """`train` gives the command for an output folder; killed `within` seconds of its first checkpoint, then resumed.

    `last` is the file that it writes at its end.
    """
    whole, parts = folder / "whole", folder / "parts"
    run_to_its_end(train(whole))
    process = subprocess.Popen(train(parts), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (parts / "checkpoint.pt").is_file():
        assert process.poll() is None
        time.sleep(0.02)
    time.sleep(random.Random(0).uniform(0, within))
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (parts / last).is_file(), "it was killed before its end"
    run_to_its_end([*train(parts), *resume])
    expected, found = (torch.load(run / "model.pt", weights_only=True) for run in (whole, parts))
    assert all(torch.equal(expected[name], found[name]) for name in expected)
