"""Work in the background over HTTP: training, batch inference, scoring.

Comes in: what to start, stop or tell about. Goes out: the task as MONAILabel's `AsyncTask` runs it, in a process of its
own. What a request may change is named; everything else it sends is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import psutil
from fastapi import APIRouter, Body, HTTPException
from lib.configs import ORIGINAL
from lib.trainers.finetune import LIMITS, changed_settings
from monailabel.utils.async_tasks.task import AsyncTask
from monailabel.utils.async_tasks.utils import tasks

from llnm.errors import InputError

if TYPE_CHECKING:
    from main import LLNMApp

SAME = ("model", "method", "images")
"""Two requests that agree in these are for the same work."""
Kind = Literal["train", "scoring", "batch_infer"]
Params = Annotated[dict[str, Any] | None, Body()]


def jobs_router(app: LLNMApp) -> APIRouter:
    """The routes; starting and stopping a training is for admins (`lib.security.gate`)."""
    router = APIRouter()
    _watch_routes(router, "train", "/train/", "Train")
    _watch_routes(router, "scoring", "/scoring/", "Scoring")
    _watch_routes(router, "batch_infer", "/batch/infer", "Infer")
    _start_routes(router, app)
    return router


def _watch_routes(router: APIRouter, kind: Kind, prefix: str, tag: str) -> None:
    @router.get(prefix, tags=[tag], name=f"{kind} status")
    def status(all: bool = False, check_if_running: bool = False) -> Any:
        """The task that runs, or the last one, or all."""
        answer, detail = AsyncTask.status(kind, all, check_if_running)
        if answer is None:
            raise HTTPException(404, detail)
        # A copy, since the thread that reads the task's output goes on writing.
        told = [dict(task) for task in answer] if isinstance(answer, list) else [dict(answer)]
        for task in told:
            task["details"] = list(task.get("details", ()))
        return told if all and not check_if_running else told[0]

    @router.delete(prefix, tags=[tag], name=f"stop {kind}")
    def stop() -> Any:
        """Stop the task that runs."""
        try:
            task = AsyncTask.stop(kind)
        except (psutil.Error, StopIteration):
            return {}  # it ended by itself in this moment
        return _plain(task) if task else {}


def _start_routes(router: APIRouter, app: LLNMApp) -> None:
    @router.post("/train/", tags=["Train"])
    def train_all(params: Params = None) -> dict[str, Any]:
        """Train every network, one after the other; `params`: {model: {epochs, ...}}."""
        given = params or {}
        # MONAILabel's client sends values of its own along; settings are for a model that there is.
        for name in (name for name, value in given.items() if isinstance(value, Mapping)):
            _trainer(app, name)
        requests = {name: _training(app, name, given.get(name)) for name in app.trainers}
        return {name: {"result": _run("train", request, enqueue=True)} for name, request in requests.items()}

    @router.post("/train/{model}", tags=["Train"])
    def train(model: str, params: Params = None, enqueue: bool = False) -> Any:
        """Train one network on the team's labels; `params`: epochs, learning_rate, batch_size, seed."""
        return _run("train", _training(app, model, params), enqueue=enqueue)

    @router.post("/batch/infer/{model}", tags=["Infer"])
    def batch(model: str, images: Literal["all", "labeled", "unlabeled"] = "all", params: Params = None) -> Any:
        """Run a model on many images; what it finds is kept under the tag `original`."""
        app.task(model)
        most = (params or {}).get("max_batch_size", 0)
        if isinstance(most, bool) or not isinstance(most, int) or most < 0:
            raise HTTPException(400, "max_batch_size: give a number of images")
        request = {"model": model, "images": images, "label_tag": ORIGINAL, "max_workers": 1, "max_batch_size": most}
        return _run("batch_infer", {**request, "save_label": True, "multi_gpu": False, "device": "cpu"})

    @router.post("/scoring/", tags=["Scoring"])
    def score_all() -> dict[str, Any]:
        """Run every scoring method."""
        return {name: {"result": _run("scoring", {"method": name}, enqueue=True)} for name in app.scoring_methods}

    @router.post("/scoring/{method}", tags=["Scoring"])
    def score(method: str) -> Any:
        """Run one scoring method."""
        if method not in app.scoring_methods:
            raise HTTPException(
                404, f"scoring: {method[:40]!r} is not known; choose from {', '.join(app.scoring_methods)}"
            )
        return _run("scoring", {"method": method})


def _trainer(app: LLNMApp, model: str) -> None:
    """Refuse a network that cannot be trained here."""
    if model not in app.trainers:
        raise HTTPException(404, f"train: {model[:40]!r} is not known; choose from {', '.join(app.trainers)}")


def _training(app: LLNMApp, model: str, params: Any) -> dict[str, Any]:
    """The request for one training, checked before a process is started for it."""
    _trainer(app, model)
    if not isinstance(params, Mapping | None):
        raise InputError(f'{model}: its settings are no JSON object; send for instance {{"epochs": 20}}')
    given = params or {}
    wanted = {name: given[name] for name in LIMITS if given.get(name) is not None}
    changed_settings(app.settings.training, wanted)
    return {"model": model, **wanted}


def _run(kind: Kind, request: dict[str, Any], enqueue: bool = False) -> Any:
    """Start a task, or put it behind the one that runs; one that waits or runs already is not started again."""
    for task in tasks(kind):
        asked = task["request"]
        if task["status"] in {"SUBMITTED", "RUNNING"} and all(asked.get(name) == request.get(name) for name in SAME):
            if enqueue:
                return _plain(task)
            raise HTTPException(429, f"{kind}: it is running already; wait for it or stop it")
    task, detail = AsyncTask.run(kind, request=request, enqueue=enqueue)
    if task is None:
        raise HTTPException(429, detail)
    return _plain(task)


def _plain(task: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in task.items() if key != "details"}
