"""Many patients of a folder, one after the other, each by the same command as one patient.

Comes in: a folder. It holds either `cohort.csv` (the table of `llnm cohort`), or a folder for each patient, or is the
folder of one patient. A patient's folder holds the images, whose names or DICOM descriptions say `transverse` or
`longitudinal`, and may hold `report.txt` and masks (`transverse_nodule_mask.png` and so on). Goes out: a result folder
for each patient and `batch.csv` with a line for each; who could not be predicted stands there with the reason.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from LLNMLib import command
from LLNMLib.dicom_regions import age_and_sex, is_dicom, read_header
from LLNMLib.export import file_stem
from LLNMLib.interfaces import PLANES, STRUCTURES, LogicError, Options, Problem, Runner, logic_error
from LLNMLib.tasks import Body, StepTask

TABLE, COHORT = "batch.csv", "cohort.csv"
_COLUMNS = ("patient", "state", "folder", "problem")
_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".nrrd", ".nii", ".nii.gz", ".mha", ".dcm", ".dicom", "")
_WORDS = {"transverse": ("transverse", "trans", "axial"), "longitudinal": ("longitudinal", "long", "sagittal")}
_MASKS = tuple((plane, structure) for plane in PLANES for structure in STRUCTURES)


@dataclass(frozen=True)
class BatchPatient:
    """A patient as `llnm predict` takes it: arguments by option name; `problem`: why there are none."""

    name: str
    arguments: Mapping[str, str] = field(default_factory=dict)
    side: str = ""
    problem: str = ""


def find_patients(folder: Path) -> list[BatchPatient]:
    """The patients of a folder; raises LogicError where there is none, or the table cannot be used."""
    if not folder.is_dir():
        raise logic_error("InputError", f"{folder}: there is no such folder", "choose a folder of patients")
    if (folder / COHORT).is_file():
        return _of_table(folder / COHORT)
    inside = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    found = [patient for part in inside for patient in _of_folder(part)]
    found += list(_of_folder(folder)) if not found else []
    if not found:
        text = f"{folder}: holds no patient"
        raise logic_error("InputError", text, f"put each patient's images into a folder of its own, or add {COHORT}")
    names = [file_stem(patient.name) for patient in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise logic_error("InputError", f"{twice}: two patients would share this name", "rename one of them")
    return found


def run(
    task: StepTask, runner: Runner, python: Path, patients: Sequence[BatchPatient], out: Path, options: Options
) -> Body:
    """The body of a batch's task; a patient whose result is there already is not predicted again."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        text = f"{out}: cannot be made ({error.strerror})"
        raise logic_error("InputError", text, "choose another folder for the results") from error
    rows: list[tuple[str, str, str, str]] = []
    for number, patient in enumerate(patients):
        task.part(number / len(patients), (number + 1) / len(patients))
        task.tell(f"{patient.name}: {number + 1} of {len(patients)}")
        place = out / file_stem(patient.name)
        state, problem = "taken over" if (place / "result.json").is_file() else "done", ""
        if patient.problem:
            state, problem = "failed", patient.problem
        elif state == "done":
            try:
                yield runner.start(_command(python, patient, options, place), command.threads_of(options))
            except LogicError as error:
                if error.problem.kind == "DiskFull":
                    raise
                state, problem = "failed", str(error)
                task.tell(f"{patient.name}: {problem}")
        rows.append((patient.name, state, place.name if state != "failed" else "", problem))
        _write_table(out / TABLE, rows)
    failed = sum(row[1] == "failed" for row in rows)
    task.report = tuple(rows)
    task.tell(
        f"{len(rows) - failed} of {len(rows)} patients have a result in {out}; {TABLE} says why others have none."
    )


def _command(python: Path, patient: BatchPatient, options: Options, place: Path) -> list[str]:
    given = [part for name, value in patient.arguments.items() for part in (f"--{name}", value)]
    if options.atlas is not None and patient.side not in {"left", "right"}:
        raise LogicError(Problem("InputError", "side: the atlas needs the lobe", "add a column side to cohort.csv"))
    words = command.option_arguments(options, patient.side)
    head = [str(python), "-m", "llnm", "predict", "--progress", "json", "--out", str(place)]
    return [*head, *given, *words, "--patient", patient.name]


def _of_table(path: Path) -> list[BatchPatient]:
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
        patients = [_of_row({name: (value or "").strip() for name, value in row.items()}, path.parent) for row in rows]
    except (OSError, UnicodeDecodeError, KeyError, AttributeError, csv.Error) as error:
        text = f"{path}: is no table of patients ({error})"
        raise logic_error("InputError", text, "check it with: llnm cohort check cohort.csv") from error
    if not patients:
        raise logic_error("InputError", f"{path}: has no patient", "add a row for each")
    return patients


def _of_row(row: Mapping[str, str], folder: Path) -> BatchPatient:
    files = {plane: row.get(plane, "") for plane in PLANES}
    files |= {f"{plane}-{structure}-mask": row.get(f"{plane}_{structure}_mask", "") for plane, structure in _MASKS}
    arguments = {name: str(folder / value) for name, value in files.items() if value}
    values = {"age": row.get("age", ""), "sex": row.get("sex", "")}
    values |= {f"{plane}-spacing": row.get(f"{plane}_spacing_mm", "") for plane in PLANES}
    report = row.get("report", "")
    if report.endswith(".txt"):
        arguments["report"] = str(folder / report)
    elif report:
        values["report-text"] = report
    arguments |= {name: value for name, value in values.items() if value}
    return BatchPatient(row["patient_id"], arguments, row.get("side", ""))


def _of_folder(folder: Path) -> Iterator[BatchPatient]:
    """The patient of a folder, if it holds images."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    arguments: dict[str, str] = {}
    unknown, seen = [], False
    for path in files:
        mask = next((pair for pair in _MASKS if path.name.startswith(f"{pair[0]}_{pair[1]}_mask.")), None)
        if mask is not None:
            arguments[f"{mask[0]}-{mask[1]}-mask"] = str(path)
        elif path.name == "report.txt":
            arguments["report"] = str(path)
        elif "".join(path.suffixes[-2:]).lower() in _SUFFIXES or path.suffix.lower() in _SUFFIXES:
            plane, clinical = _plane_of(path)
            seen = seen or plane is not None or is_dicom(path)
            if plane is None or plane in arguments:
                unknown.append(path.name)
                continue
            arguments[plane] = str(path)
            arguments |= {name: value for name, value in clinical.items() if value}
    if not seen:
        return
    problem = ""
    if not any(plane in arguments for plane in PLANES):
        problem = f"{', '.join(unknown)}: the plane is not known; put transverse or longitudinal into the names"
    yield BatchPatient(folder.name, arguments, problem=problem)


def _plane_of(path: Path) -> tuple[str | None, dict[str, str]]:
    """The plane that a file's name or DICOM descriptions tell, with age and sex from its header."""
    words, clinical = path.stem.lower(), {}
    if path.stat().st_size and is_dicom(path):
        try:
            header = read_header(path)
        except ValueError:
            return None, {}
        described = (header.get(word) for word in ("SeriesDescription", "ImageComments", "ViewName", "ProtocolName"))
        words += " " + " ".join(str(text).lower() for text in described if text)
        clinical = dict(zip(("age", "sex"), age_and_sex(header), strict=True))
    told = [plane for plane in PLANES if any(word in words for word in _WORDS[plane])]
    return (told[0] if len(told) == 1 else None), clinical


def _write_table(path: Path, rows: Sequence[tuple[str, ...]]) -> None:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_COLUMNS)
    table.writerows(rows)
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        temporary.write_text(text.getvalue(), encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise logic_error("DiskFull", f"{path}: cannot be written ({error.strerror})", "free some space") from error
