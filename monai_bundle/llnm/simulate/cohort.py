"""A simulated cohort on disk, in the format every command of the project reads.

Comes in: number of patients, seed, folder. Goes out: `cohort.csv`, images and masks as PNG, reports as text, the same
bytes for the same seed. Everything is written to a temporary folder that takes its name when complete.
"""

from __future__ import annotations

import csv
import multiprocessing
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from llnm.case import FINDINGS, PLANES, View
from llnm.errors import InputError
from llnm.simulate.patients import simulate_patient
from llnm.simulate.risk import RiskModel

COLUMNS = (
    "patient_id",
    "transverse",
    "longitudinal",
    "report",
    "age",
    "sex",
    "transverse_spacing_mm",
    "longitudinal_spacing_mm",
    "transverse_nodule_mask",
    "transverse_gland_mask",
    "longitudinal_nodule_mask",
    "longitudinal_gland_mask",
    "side",
    "subtype",
    "llnm",
    "node_count",
    "largest_node_mm",
    "stage",
    *FINDINGS,
    "true_probability",
)
# Speckle hardly shrinks: a tenth smaller files would take four times as long.
_COMPRESS_LEVEL = 2
_SEED_STRIDE = 1_000_000


def write_cohort(
    patients: int,
    seed: int,
    out: Path,
    model: RiskModel | None = None,
    progress: Callable[[int], None] | None = None,
    workers: int = 1,
) -> Path:
    """Simulate a cohort into the folder `out` (new or empty) and return its `cohort.csv`.

    Patient i has the seed `seed * 1,000,000 + i`. `progress` is called with the number of patients done. The files are
    the same however many processes (`workers`) share the work. Raises InputError for an impossible number, or a folder
    that is not empty or cannot be written.
    """
    if not 1 <= patients <= _SEED_STRIDE:
        raise InputError(f"patients: {patients} is outside 1-{_SEED_STRIDE}; give a number in this range")
    if seed < 0:
        raise InputError(f"seed: {seed} is negative; give 0 or more")
    if workers < 1:
        raise InputError(f"workers: {workers} is too few; give 1 or more")
    out = Path(out)
    with new_folder(out) as unfinished, _shared_among(workers) as each:
        digits = len(str(patients))
        names = [f"P{number + 1:0{digits}d}" for number in range(patients)]
        seeds = [seed * _SEED_STRIDE + number for number in range(patients)]
        # A model's effects may be a read-only view, which cannot be handed to another process.
        known = None if model is None else replace(model, effects=dict(model.effects))
        with (unfinished / "cohort.csv").open("w", newline="", encoding="utf-8") as stream:
            table = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
            table.writeheader()
            for done, row in enumerate(each(partial(_write_patient, folder=unfinished, model=known), names, seeds), 1):
                table.writerow(row)
                if progress is not None:
                    progress(done)
    return out / "cohort.csv"


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A temporary folder that becomes `out` when the block ends well, and vanishes when it does not.

    Raises InputError where `out` is not new or empty, or cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: it is not an empty folder; give a new one")
    unfinished: Path | None = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{out.name}-", suffix=".tmp", dir=out.parent))
        yield unfinished
        unfinished.chmod(0o755)
        unfinished.replace(out)
    except OSError as error:
        reason = error.strerror or "unknown reason"
        raise InputError(f"{out}: cannot be written ({reason}); free space or choose another folder") from error
    finally:
        if unfinished is not None:
            shutil.rmtree(unfinished, ignore_errors=True)


@contextmanager
def _shared_among(workers: int) -> Iterator[Callable[..., Iterator[dict[str, object]]]]:
    """`map`, by as many processes; its answers come in the order of the patients.

    Not `llnm.cohort.parallel`, whose answers come as they are done, by an extra that a simulation does without.
    """
    if workers == 1:
        yield map
        return
    # Ctrl-C reaches every process of the terminal: this one alone answers it, and ends the others.
    ignore = (signal.signal, (signal.SIGINT, signal.SIG_IGN))
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), *ignore)
    try:
        yield partial(pool.map, chunksize=8)
    finally:
        pool.shutdown(cancel_futures=True)


def _write_patient(name: str, seed: int, folder: Path, model: RiskModel | None) -> dict[str, object]:
    """Simulate one patient, write the files, give the row of the table."""
    patient = simulate_patient(seed, model)
    case = patient.case
    row: dict[str, object] = {
        "patient_id": name,
        "report": f"reports/{name}.txt",
        "age": f"{case.age:g}",
        "sex": case.sex,
        "side": patient.side,
        "subtype": patient.subtype,
        "llnm": int(patient.llnm),
        "node_count": patient.nodes.count if patient.nodes else 0,
        "largest_node_mm": patient.nodes.largest_mm if patient.nodes else "",
        "stage": patient.nodes.level if patient.nodes else "",
        **{name: int(patient.truth[name]) for name in FINDINGS},
        "true_probability": f"{patient.true_probability:.6f}",
    }
    _new(folder / f"reports/{name}.txt").write_text(f"{case.report}\n", encoding="utf-8")
    for plane in PLANES:
        row |= _write_view(case.views[plane], name, folder)
    return row


def _write_view(view: View, name: str, folder: Path) -> dict[str, object]:
    assert view.image.spacing_mm is not None
    files: dict[str, npt.NDArray[np.uint8]] = {view.plane: np.round(view.image.pixels * 255).astype(np.uint8)}
    files |= {f"{view.plane}_{structure}_mask": mask.astype(np.uint8) * 255 for structure, mask in view.masks.items()}
    row: dict[str, object] = {f"{view.plane}_spacing_mm": f"{view.image.spacing_mm[0]:g}"}
    for column, pixels in files.items():
        kind = "images" if column == view.plane else "masks"
        row[column] = f"{kind}/{name}_{column.removesuffix('_mask')}.png"
        Image.fromarray(pixels).save(_new(folder / str(row[column])), compress_level=_COMPRESS_LEVEL)
    return row


def _new(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    return path
