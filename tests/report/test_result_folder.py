"""The result folder: equal bytes for equal input, whole or not there at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from report_examples import full_result, minimal_result, real_views

from llnm.errors import InputError, LLNMError
from llnm.report import ReportView, checked_result, render_report, write_result_folder

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def views() -> dict[str, ReportView]:
    return real_views(attention=False)


@pytest.fixture(scope="module")
def full(views: dict[str, ReportView]) -> dict[str, Any]:
    return full_result(views)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def test_the_folder_holds_the_result_the_page_and_the_masks_as_given(
    tmp_path: Path, full: dict[str, Any], views: dict[str, ReportView]
) -> None:
    out = tmp_path / "out"
    write_result_folder(out, full, views)
    written = contents(out)
    assert set(written) == {"result.json", "report.html"} | {
        f"masks/{plane}_{structure}.png" for plane in views for structure in ("nodule", "gland")
    }
    assert json.loads(written["result.json"]) == checked_result(full)
    assert written["report.html"].decode() == render_report(full, views)
    for plane, view in views.items():
        for structure, mask in view.masks.items():
            with Image.open(out / "masks" / f"{plane}_{structure}.png") as image:
                assert image.mode == "L"
                assert np.array_equal(np.asarray(image), mask * 255)
    assert [path.name for path in tmp_path.iterdir()] == ["out"], "no temporary folder stays"


def test_same_input_gives_the_same_bytes_whatever_the_order_of_its_fields(
    tmp_path: Path, full: dict[str, Any], views: dict[str, ReportView]
) -> None:
    write_result_folder(tmp_path / "a", full, views)
    write_result_folder(tmp_path / "b", dict(reversed(full.items())), dict(reversed(views.items())))
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    noisy = {**full, "location": {**full["location"], "atlas_probability": 0.57 + 1e-12}}
    write_result_folder(tmp_path / "c", noisy, {})
    assert contents(tmp_path / "a")["result.json"] == contents(tmp_path / "c")["result.json"]


def test_result_json_is_readable_utf8_with_sorted_keys(tmp_path: Path, full: dict[str, Any]) -> None:
    # A path with a byte that is no UTF-8 reaches Python as a lone surrogate.
    write_result_folder(tmp_path / "out", {**full, "warnings": ["右叶上极 é", "bad \udce9 name"]}, {})
    text = (tmp_path / "out" / "result.json").read_bytes().decode("utf-8")
    assert "右叶上极 é" in text and "bad ? name" in text
    assert text == json.dumps(json.loads(text), sort_keys=True, indent=2, ensure_ascii=False) + "\n"
    assert "右叶上极 é" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_a_second_result_replaces_the_first_and_leaves_other_files_alone(
    tmp_path: Path, full: dict[str, Any], views: dict[str, ReportView]
) -> None:
    write_result_folder(tmp_path, full, views)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "masks" / "drawn_by_hand.png").write_bytes(b"mine too")
    bare = replace(views["transverse"], masks={}, capsule_line=None)
    write_result_folder(tmp_path, minimal_result(), {"transverse": bare})
    written = contents(tmp_path)
    assert set(written) == {"result.json", "report.html", "notes.txt", "masks/drawn_by_hand.png"}
    assert written["notes.txt"] == b"mine" and written["masks/drawn_by_hand.png"] == b"mine too"
    assert json.loads(written["result.json"])["risk"]["probability"] is None


def test_a_new_folder_is_made_with_its_parents_and_ordinary_permissions(tmp_path: Path) -> None:
    out = tmp_path / "études" / "patient 1" / "out"
    write_result_folder(out, minimal_result(), {})
    ordinary = tmp_path / "ordinary"
    ordinary.mkdir()
    assert out.stat().st_mode == ordinary.stat().st_mode
    assert (out / "report.html").exists()


def test_a_relative_folder_and_one_reached_by_a_link_work(
    tmp_path: Path, full: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_result_folder(Path("out"), full, {})
    (tmp_path / "link").symlink_to(tmp_path / "out", target_is_directory=True)
    write_result_folder(Path("link"), minimal_result(), {})
    assert set(contents(tmp_path / "out")) == {"result.json", "report.html"}
    assert (tmp_path / "link").is_symlink()


def test_what_cannot_be_a_folder_is_refused_with_one_line(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    # The kernel's own folder refuses every new name, even to an administrator.
    for out in (file, file / "out", Path("/proc/llnm/out"), tmp_path / ("x" * 300)):
        with pytest.raises(InputError) as caught:
            write_result_folder(out, minimal_result(), {})
        assert str(out) in str(caught.value) and "\n" not in str(caught.value)
    assert contents(tmp_path) == {"file": b"in the way"}
    assert len(list(tmp_path.iterdir())) == 1


def test_an_invalid_result_writes_nothing(tmp_path: Path, full: dict[str, Any], views: dict[str, ReportView]) -> None:
    risk = {**full["risk"], "probability": float("nan")}
    with pytest.raises(LLNMError, match="probability"):
        write_result_folder(tmp_path / "new" / "out", {**full, "risk": risk}, views)
    assert list(tmp_path.iterdir()) == []


FILL = """
import resource, sys
from pathlib import Path
from report_examples import full_result, real_views
from llnm.errors import InputError
from llnm.report import write_result_folder
views = real_views(attention=False)
result = full_result(views)
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
for room, out in zip(sys.argv[1::2], sys.argv[2::2]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(room), hard))
    try:
        write_result_folder(Path(out), result, views)
    except InputError as error:
        failure = str(error)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        print(failure)
"""


def test_a_disk_that_fills_up_leaves_nothing_new_and_an_older_result_whole(tmp_path: Path) -> None:
    """In a process whose files may not grow beyond 1 kB (stops result.json) or 100 kB (stops report.html)."""
    older = tmp_path / "older"
    write_result_folder(older, minimal_result(), {})
    before = contents(older)
    targets = ["1000", "new/a", "100000", "new/b", "1000", "older", "100000", "older"]
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-B", "-c", FILL, *targets],
        env={**os.environ, "PYTHONPATH": path},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == targets[1::2]
    assert all("free some space" in line for line in lines)
    assert [item.name for item in tmp_path.iterdir()] == ["older"]
    assert contents(older) == before
    assert {item.name for item in older.iterdir()} == set(before)


def test_a_move_that_fails_half_way_is_undone(
    tmp_path: Path, full: dict[str, Any], views: dict[str, ReportView]
) -> None:
    write_result_folder(tmp_path, minimal_result(), {})
    (tmp_path / "masks").write_text("a file where the masks should go")
    before = contents(tmp_path)
    with pytest.raises(InputError, match="masks|result folder"):
        write_result_folder(tmp_path, full, views)
    assert contents(tmp_path) == before
    assert {path.name for path in tmp_path.iterdir()} == set(before)
