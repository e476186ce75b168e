"""Shares the patients of a cohort among processes: on this machine, or on a Dask cluster that sees the same files.

Comes in: a function of one patient and how many processes, or a scheduler's address. Goes out: answers as they come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

from llnm.errors import InputError, MissingExtraError

Answer = TypeVar("Answer")
Answers = Iterator[tuple[int, Answer]]


@contextmanager
def executor(
    task: Callable[..., Answer], workers: int, dask: str | None
) -> Iterator[Callable[[Sequence[tuple[Any, ...]]], Answers[Answer]]]:
    """What gives (place, `task(*job)`) of each job as it is done; `task` is a module's function and never raises.

    Raises InputError where no scheduler answers, MissingExtraError where Dask is needed and not installed.
    """
    if workers == 1 and dask is None:
        yield lambda jobs: ((place, task(*job)) for place, job in enumerate(jobs))
        return
    try:
        from distributed import Client, as_completed
    except ImportError as error:
        raise MissingExtraError("dask", "scale") from error
    try:
        client = (
            Client(dask, timeout=10)
            if dask
            else Client(n_workers=workers, threads_per_worker=1, dashboard_address=None)
        )
    except (OSError, ValueError) as error:
        raise InputError(f"dask: no scheduler answers at {dask}; check the address") from error
    with client:

        def answers(jobs: Sequence[tuple[Any, ...]]) -> Answers[Answer]:
            place = {client.submit(_on_one_thread, task, *job, pure=False): index for index, job in enumerate(jobs)}
            for future in as_completed(list(place)):
                yield place[future], future.result()

        yield answers


def _on_one_thread(task: Callable[..., Answer], *job: Any) -> Answer:
    """A process of several must not take all cores."""
    _one_thread()
    return task(*job)


@cache
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
