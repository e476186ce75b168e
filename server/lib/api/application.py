"""The web application: all routes, and one way to say what went wrong.

Comes in: the `LLNMApp`. Goes out: a FastAPI application; every error is one line under `detail`.
"""

from __future__ import annotations

import concurrent.futures
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from lib.api import datastore, infer, jobs, sessions, system
from lib.api.campaigns import person
from lib.campaign.api import campaign_router
from lib.configs import ABOUT, APP_NAME, VERSION
from monailabel.interfaces.exception import ImageNotFoundException, LabelNotFoundException, MONAILabelException
from starlette.responses import Response

from llnm.errors import InputError, LLNMError

if TYPE_CHECKING:
    from lib.api.system import Login
    from main import LLNMApp

logger = logging.getLogger(__name__)
THREADS = 96
"""Requests that wait (for inference, for the disk) at a time; all others wait for a thread."""


def create_application(app: LLNMApp, login: Login | None = None) -> FastAPI:
    """All routes around `app`. `login`: how clients get a token, where authentication is on."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        app.server_mode(True)
        app.on_init_complete()
        yield
        app.close()

    web = FastAPI(title=APP_NAME, version=VERSION, description=ABOUT, docs_url=None, redoc_url=None, lifespan=lifespan)
    for router in (
        system.system_router(app, login),
        datastore.datastore_router(app),
        infer.infer_router(app),
        sessions.session_router(app),
        jobs.jobs_router(app),
    ):
        web.include_router(router)
    web.include_router(campaign_router(app.desk.campaign, person=person, changed=app.keep_settled))

    @web.get("/", include_in_schema=False)
    def home() -> Response:
        return RedirectResponse("/campaign/")

    _explain_errors(web)
    return web


def _explain_errors(web: FastAPI) -> None:
    """Turn the project's errors into answers of one line."""

    def answer(status: int, text: Callable[[Any], str] = str) -> Any:
        def handle(_: Request, error: Exception) -> Response:
            return JSONResponse({"detail": text(error)}, status)

        return handle

    def ours(_: Request, error: Exception) -> Response:
        return JSONResponse({"detail": str(error)}, getattr(error, "status_code", 400))

    web.add_exception_handler(RequestValidationError, answer(422, _misfit))
    web.add_exception_handler(InputError, ours)
    web.add_exception_handler(ImageNotFoundException, answer(404, lambda error: error.msg))
    web.add_exception_handler(LabelNotFoundException, answer(404, lambda error: error.msg))
    web.add_exception_handler(MONAILabelException, answer(400, lambda error: error.msg))
    web.add_exception_handler(
        concurrent.futures.TimeoutError, answer(503, lambda _: "infer: too much is waiting; try again later")
    )
    web.add_exception_handler(LLNMError, answer(500))


def _misfit(error: RequestValidationError) -> str:
    """What does not fit the description, by its field.

    FastAPI's own answer says the client's values again, which may be long and cannot be done with all of them (NaN,
    half a character).
    """
    problem = error.errors()[0]
    place = ".".join(str(part) for part in problem["loc"])[:80]
    return f"{place}: {problem['msg'][:160]}".encode("ascii", "backslashreplace").decode().replace("\n", " ")
