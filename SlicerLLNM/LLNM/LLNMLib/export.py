"""What leaves the scene: report, result, masks, the scene itself.

Comes in: a patient, a folder. Goes out: files, each whole or not there, and words on what could not be written.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from LLNMLib import masks, patient_node
from LLNMLib.interfaces import PLANES, STRUCTURES, Clock, ExportReport, LogicError, Run, Runner, logic_error
from LLNMLib.patient_node import PatientNode
from LLNMLib.rasters import write_mask

KINDS = ("report", "result", "masks", "scene", "dicom")
_FULL = "free some space or choose another folder"
Written = tuple[list[Path], list[str]]


def export(
    patient: PatientNode,
    folder: Path,
    what: Sequence[str] | None,
    runner: Runner,
    python: Path | None,
    clock: Clock,
) -> ExportReport:
    """Write the `KINDS` in `what` (all without) of a patient into `folder`.

    Raises LogicError for an unknown kind, and where the folder cannot be written.
    """
    kinds = KINDS if what is None else tuple(what)
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise logic_error("InputError", f"export: {unknown[0]!r} is not known", f"choose from {', '.join(KINDS)}")
    stem = file_stem(patient.name)
    writers: dict[str, Callable[[Path], Written]] = {
        "report": lambda place: _text(patient, patient_node.REPORT_PAGE, place / f"{stem}_report.html", "report"),
        "result": lambda place: _text(patient, patient_node.RESULT, place / f"{stem}_result.json", "result"),
        "masks": lambda place: _masks(patient, place, stem),
        "scene": lambda place: _scene(patient.node.GetScene(), place / f"{stem}.mrb"),
        "dicom": lambda place: _dicom(patient, place, stem, runner, python, clock),
    }
    files: list[Path] = []
    left_out: list[str] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Written beside its place first, so that a full disk leaves nothing that is half a file.
        with tempfile.TemporaryDirectory(dir=folder, prefix=".llnm-") as scratch:
            for kind in KINDS:
                if kind in kinds:
                    written, missing = writers[kind](Path(scratch))
                    left_out += missing
                    files += [file.replace(folder / file.name) for file in written]
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise logic_error("DiskFull", f"{folder}: cannot be written ({reason})", _FULL) from error
    return ExportReport(tuple(files), tuple(left_out))


def file_stem(name: str) -> str:
    """A patient's pseudonym as the beginning of a file name."""
    return re.sub(r"[^\w.-]+", "_", name).strip("._") or "patient"


def _text(patient: PatientNode, role: str, path: Path, word: str) -> Written:
    node = patient.reference(role)
    if node is None:
        return [], [f"{word}: there is none yet; predict first"]
    path.write_text(node.GetText(), encoding="utf-8", newline="\n")
    note = [f"{word}: it is older than the scene's images, outlines or values; predict again"] if patient.stale else []
    return [path], note


def _masks(patient: PatientNode, folder: Path, stem: str) -> Written:
    files = []
    for plane in PLANES:
        volume, segmentation = patient.view(plane), patient.segmentation(plane)
        if volume is None or segmentation is None:
            continue
        for structure in STRUCTURES:
            mask = masks.mask_of(segmentation, structure, volume)
            if mask is not None:
                path = folder / f"{stem}_{plane}_{structure}.png"
                write_mask(path, mask)
                files.append(path)
        path = folder / f"{stem}_{plane}.seg.nrrd"
        masks.write_segmentation(segmentation, path)
        files.append(path)
    return files, [] if files else ["masks: there are none yet; outline gland and nodule first"]


def _scene(scene: Any, path: Path) -> Written:
    if not scene.WriteToMRB(str(path)) or not path.is_file():
        raise logic_error("DiskFull", f"{path.name}: the scene cannot be written", _FULL)
    return [path], []


def _dicom(patient: PatientNode, folder: Path, stem: str, runner: Runner, python: Path | None, clock: Clock) -> Written:
    """DICOM SEG and SR by `llnm export`, where the installed llnm has it."""
    if python is None:
        return [], ["dicom: no Python environment with llnm is chosen, which would write it"]
    values, page = patient.reference(patient_node.RESULT), patient.reference(patient_node.REPORT_PAGE)
    if values is None or page is None:
        return [], ["dicom: there is no result yet; predict first"]
    if _wait(runner.start([str(python), "-m", "llnm", "export", "--help"]), clock) is not None:
        return [], ["dicom: the installed llnm does not write DICOM SEG and SR; the masks are written as .seg.nrrd"]
    with tempfile.TemporaryDirectory(prefix="LLNM-") as scratch:
        result = Path(scratch)
        (result / "masks").mkdir()
        (result / "result.json").write_text(values.GetText(), encoding="utf-8")
        (result / "report.html").write_text(page.GetText(), encoding="utf-8")
        for plane in PLANES:
            for structure in STRUCTURES:
                volume = patient.view(plane)
                mask = None if volume is None else masks.mask_of(patient.segmentation(plane), structure, volume)
                if mask is not None:
                    write_mask(result / "masks" / f"{plane}_{structure}.png", mask)
        seg, report = folder / f"{stem}_seg.dcm", folder / f"{stem}_sr.dcm"
        command = [str(python), "-m", "llnm", "export", str(result), "--dicom-seg", str(seg), "--dicom-sr", str(report)]
        problem = _wait(runner.start(command), clock)
    if problem is not None:
        return [], [f"dicom: {problem}"]
    return [file for file in (seg, report) if file.is_file()], []


def _wait(run: Run, clock: Clock) -> LogicError | None:
    """Wait for a child; gives its problem."""
    while not run.poll():
        clock.sleep(0.05)
    return None if run.problem is None else LogicError(run.problem)
