"""The result folder: written whole or not at all.

Comes in: the result of one patient and its views. Goes out: `result.json`, `report.html`,
`masks/<plane>_<structure>.png` (0/255, the size of the input) and, where the result was explained, `heat/<plane>.nrrd`
(points of probability that move where a place is covered, the size of the input). Everything is written to a temporary
folder on the same disk first and then moved, so that a full disk or an interruption leaves what was there before.
"""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK

from llnm.case import PLANES, STRUCTURES, Plane
from llnm.errors import InputError
from llnm.files import write_mask
from llnm.report.page import render_report
from llnm.report.picture import ReportView
from llnm.report.schema import checked_result

RESULT_FILES = (
    Path("result.json"),
    Path("report.html"),
    *(Path("masks", f"{plane}_{structure}.png") for plane in PLANES for structure in STRUCTURES),
    *(Path("heat", f"{plane}.nrrd") for plane in PLANES),
)
"""Every file that a result may have; an older one that the new result lacks is removed with it."""


def write_result_folder(out: Path, result: dict[str, Any], views: Mapping[Plane, ReportView]) -> None:
    """Write the result folder `out`, which may be new, or replace the result in it; other files there stay.

    `result.json` is UTF-8 with sorted keys, an indent of two and floats of `llnm.report.DECIMALS` decimals, so that
    equal results give equal bytes.

    Raises InputError, with nothing left behind, if the folder cannot be written or the disk is full; LLNMError if the
    result breaks its schema.
    """
    out = Path(out)
    checked = checked_result(result)
    page = render_report(checked, views)
    # A new folder is made beside its place and moved there at once, with those of its parents that are new as well. In
    # a folder that exists the files are made inside, because it may be the only place on its disk we may write to.
    try:
        exists = out.is_dir()
        target = out if exists else _first_new(out)
        if out.exists() and not exists:
            raise NotADirectoryError(errno.ENOTDIR, "a file stands in its place")
        with tempfile.TemporaryDirectory(dir=out if exists else target.parent, prefix=".llnm-") as scratch:
            new = Path(scratch, "new")
            _write(new if exists else new / out.relative_to(target), checked, page, views)
            if exists:
                _swap(out, new, Path(scratch, "old"))
            else:
                new.replace(target)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(
            f"{out}: the result folder cannot be written ({reason}); free some space or choose another folder"
        ) from error


def _first_new(path: Path) -> Path:
    while not path.parent.exists():
        path = path.parent
    return path


def _write(folder: Path, result: dict[str, Any], page: str, views: Mapping[Plane, ReportView]) -> None:
    folder.mkdir(parents=True)
    text = json.dumps(result, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / "result.json").write_bytes(f"{text}\n".encode())
    (folder / "report.html").write_bytes(page.encode())
    for plane, view in views.items():
        for structure, mask in view.masks.items():
            write_mask(folder / "masks" / f"{plane}_{structure}.png", mask)
        if view.attention is not None:
            _write_heat(folder / "heat" / f"{plane}.nrrd", view)


def _write_heat(path: Path, view: ReportView) -> None:
    """A heat map as NRRD, float32, with the spacing of its view where that is known (1 otherwise)."""
    assert view.attention is not None
    image = SimpleITK.GetImageFromArray(view.attention.astype(np.float32))
    rows, columns = view.spacing_mm or (1.0, 1.0)
    image.SetSpacing((columns, rows))
    path.parent.mkdir(exist_ok=True)
    try:
        SimpleITK.WriteImage(image, str(path), useCompression=True)
    except RuntimeError as error:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error


def _swap(out: Path, new: Path, old: Path) -> None:
    """Move the files of an older result away and the new ones in; undo both if any move fails."""
    moved: list[tuple[Path, Path]] = []

    def move(source: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)
        moved.append((source, target))

    folders = {name.parent for name in RESULT_FILES} - {Path()}
    had = {folder for folder in folders if (out / folder).exists()}
    try:
        for name in RESULT_FILES:
            if (out / name).exists():
                move(out / name, old / name)
        for name in RESULT_FILES:
            if (new / name).exists():
                move(new / name, out / name)
    except BaseException:
        for source, target in reversed(moved):
            target.rename(source)
        for folder in folders - had:
            if (out / folder).exists():
                (out / folder).rmdir()
        raise
    for folder in folders:
        if (out / folder).is_dir() and not any((out / folder).iterdir()):
            (out / folder).rmdir()
