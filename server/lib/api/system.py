"""What the server is, its log, its weights, and how to get a token.

Comes in: nothing but who asks. Goes out: `/info/`, `/logs/`, `/model/...`, `/auth/...`. Weights are given to admins and
taken from nobody: a file of weights can carry code.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Form, HTTPException, Query
from fastapi.responses import FileResponse, PlainTextResponse
from lib.api.parts import Sender

from llnm.weights import file_sha256

if TYPE_CHECKING:
    from main import LLNMApp

Login = Callable[[str, str], Mapping[str, Any] | None]
"""Name and password to a token, or None."""


def system_router(app: LLNMApp, login: Login | None) -> APIRouter:
    """The routes; the log and the weights are for admins (`lib.security.gate`)."""
    router = APIRouter()
    _auth_routes(router, login)

    @router.get("/info/", tags=["App"])
    def info() -> dict[str, Any]:
        """Models, trainers, strategies, scoring methods, and how far everything is."""
        return app.info()

    @router.get("/logs/", tags=["Others"], response_class=PlainTextResponse)
    def logs(lines: Annotated[int, Query(ge=1, le=100_000)] = 300) -> str:
        """The end of the server's log; there is no way to name another file."""
        if not app.log_file.is_file():
            raise HTTPException(404, "log: nothing has been logged yet")
        with app.log_file.open(encoding="utf-8", errors="replace") as file:
            return "".join(deque(file, lines))

    @router.get("/model/info/{model}", tags=["Model"])
    def model_info(model: str) -> dict[str, Any]:
        """Hash and version of the weights in use."""
        path = Path(app.task(model).get_path())
        return {"checksum": f"SHA256:{file_sha256(path)}", "modified_time": int(path.stat().st_mtime)}

    @router.get("/model/{model}", tags=["Model"], response_class=FileResponse)
    def model_file(model: str) -> FileResponse:
        """The weights in use."""
        path = app.task(model).get_path()
        return FileResponse(path, media_type="application/octet-stream", filename=f"{model}.pt")

    return router


def _auth_routes(router: APIRouter, login: Login | None) -> None:
    @router.get("/auth/", tags=["Auth"])
    def enabled() -> dict[str, Any]:
        """Whether a token is needed."""
        return {"enabled": login is not None, "client_id": "", "realm": ""}

    @router.post("/auth/token", tags=["Auth"])
    def token(
        username: Annotated[str, Form()],
        password: Annotated[str, Form()],
        grant_type: Annotated[Literal["password"], Form()] = "password",
    ) -> dict[str, Any]:
        """A token for a name and its password (where users have tokens, the token is the password)."""
        if login is None:
            return {"access_token": "", "token_type": "bearer"}
        given = login(username, password)
        if given is None:
            raise HTTPException(401, "username, password: they do not fit", {"WWW-Authenticate": "Bearer"})
        return {"access_token": given["access_token"], "token_type": given.get("token_type", "bearer")}

    @router.get("/auth/token/valid", tags=["Auth"])
    def valid(sender: Sender) -> dict[str, Any]:
        """Who the token belongs to."""
        return {"username": sender.name, "email": "", "name": sender.name, "roles": [sender.role]}
