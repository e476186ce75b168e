"""Works through the patients of a cohort: goes on after an interruption, and one bad patient stops nobody else.

Comes in: a task of one patient, its jobs, and a file for each answer. Goes out: the files of those who have an answer,
and a `Failure` of each of the others, which `write_failures` lists in `errors.csv`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import pandas as pd

from llnm.cohort.parallel import executor
from llnm.cohort.table import REQUIRED
from llnm.errors import LLNMError, MissingExtraError
from llnm.files import write_text

ERRORS, PATIENTS = "errors.csv", "patients"
Answer = TypeVar("Answer")
Progress = Callable[[int, int], None]


class Failure(NamedTuple):
    """Why a patient has no answer: an input that cannot be used, or a defect of ours."""

    kind: Literal["input", "defect"]
    reason: str


@dataclass(frozen=True)
class Finished:
    """How many answers are of an earlier run, and who has none."""

    taken_over: int
    failures: Mapping[int, Failure]


def attempt(compute: Callable[[], Answer]) -> Answer | Failure:
    """What `compute` gives, or why it failed; raises only where an optional part is missing, which stops everybody."""
    try:
        return compute()
    except MissingExtraError:
        raise
    except LLNMError as error:
        return Failure("input", str(error))
    except Exception as error:  # whatever it is, the other patients go on
        return Failure("defect", f"{type(error).__name__}: {error}")


def run_each(
    task: Callable[..., Answer | Failure],
    jobs: Sequence[tuple[Any, ...]],
    files: Sequence[Path],
    write: Callable[[Path, Answer], None],
    *,
    workers: int = 1,
    dask: str | None = None,
    resume: bool = False,
    progress: Progress = lambda done, whole: None,
) -> Finished:
    """`task(*job)` of each job, its answer written to the job's own file, which all lie in one folder.

    `resume`: an answer whose file is there is taken over; without it the folder is emptied first. `workers` and `dask`
    as in `executor`; `progress` hears (done, of how many).
    """
    if not resume and files:
        shutil.rmtree(files[0].parent, ignore_errors=True)
    left = [index for index, file in enumerate(files) if not file.is_file()]
    earlier = len(files) - len(left)
    progress(earlier, len(files))
    failures: dict[int, Failure] = {}
    with executor(task, workers, dask) as answers:
        for count, (place, answer) in enumerate(answers([jobs[index] for index in left]), start=1):
            if isinstance(answer, Failure):
                failures[left[place]] = answer
            else:
                write(files[left[place]], answer)
            progress(earlier + count, len(files))
    return Finished(earlier, failures)


def write_failures(out: Path, table: pd.DataFrame, failures: Mapping[int, Failure]) -> None:
    """`errors.csv` in `out`: spreadsheet row, patient, kind and reason of each failure, empty where there is none."""
    lines = [(index + 2, table.at[index, REQUIRED[0]], *failures[index]) for index in sorted(failures)]
    columns = ["row", "patient_id", *Failure._fields]
    write_text(out / ERRORS, pd.DataFrame(lines, columns=columns).to_csv(index=False))
