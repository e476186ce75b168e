"""Inference over HTTP: `POST /infer/{model}`, and the next image: `POST /activelearning/{strategy}`.

Comes in: the id of an image, or a session, or a file. Goes out: a label map (`.nrrd`) and what is said of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, BackgroundTasks, Body, File, Form, Query, UploadFile
from fastapi.responses import FileResponse, JSONResponse, Response
from lib.api.parts import Sender, read_params, received
from requests_toolbelt import MultipartEncoder

from llnm.errors import InputError

if TYPE_CHECKING:
    from main import LLNMApp

TAKEN = ("label", "point", "box", "foreground", "background", "roi")
"""Parameters that reach a task; all others (file paths among them) are left out."""


class Output(str, Enum):
    """What of the answer is wanted; `all` is multipart."""

    image = "image"
    json = "json"
    all = "all"
    dicom_seg = "dicom_seg"


def infer_router(app: LLNMApp) -> APIRouter:
    """The routes."""
    router = APIRouter()

    @router.post("/infer/{model}", tags=["Infer"])
    def infer(
        background: BackgroundTasks,
        model: str,
        image: Annotated[str, Query(max_length=1024)] = "",
        session_id: Annotated[str, Query(max_length=64)] = "",
        params: Annotated[str, Form()] = "{}",
        file: Annotated[UploadFile | None, File()] = None,
        label: Annotated[UploadFile | None, File()] = None,
        output: Output = Output.all,
    ) -> Response:
        """Run a model. `params`: see README.md; `label` (scribbles) is not used by any model here."""
        wanted = {key: value for key, value in read_params(params).items() if key in TAKEN}
        with ExitStack() as stack:
            if file is not None and file.filename:
                source = app.open_file(stack.enter_context(received(file)))
            elif session_id:
                source = app.open_file(app.sessions.file(session_id))
            elif image:
                source = app.store.source(image)
            else:
                raise InputError("image: none given; send the id of an image, a session or a file")
            path, about = app.run_model(model, source, wanted)
        background.add_task(Path(path).unlink, missing_ok=True)
        if output is Output.dicom_seg:
            raise InputError(
                "output: DICOM SEG is written to the PACS when a label is saved; ask for image, json or all"
            )
        if output is Output.json:
            return JSONResponse(about, background=background)
        if output is Output.image:
            return FileResponse(
                path, media_type="application/octet-stream", filename="label.nrrd", background=background
            )
        return _multipart(Path(path), about, background)

    @router.post("/activelearning/{strategy}", tags=["ActiveLearning"])
    def next_image(
        sender: Sender, strategy: str, params: Annotated[dict[str, Any] | None, Body()] = None
    ) -> dict[str, Any]:
        """The next image for an annotator, kept for them until the lease ends; empty when nothing is left."""
        return app.next_image(strategy, params or {}, sender)

    return router


def _multipart(path: Path, about: Mapping[str, Any], background: BackgroundTasks) -> Response:
    """As MONAILabel's client reads it: a form field `params` and a file."""
    fields = {
        "params": (None, json.dumps(about), "application/json"),
        "image": ("label.nrrd", path.read_bytes(), "application/octet-stream"),
    }
    message = MultipartEncoder(fields=fields)
    return Response(message.to_string(), media_type=message.content_type, background=background)
