"""Images and labels over HTTP: `/datastore/...`.

Comes in: ids, which are looked up and never joined to a path, and files. Goes out: the annotators' copy of an image
(NRRD, no identifiers), labels as `.seg.nrrd`, and what is known of both.
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, BackgroundTasks, File, Form, Query, Response, UploadFile
from fastapi.responses import FileResponse
from lib.api.parts import Sender, attachment, read_params, received, suffix_of
from lib.configs import FINAL
from lib.stores.folder import copy_name

from llnm.errors import InputError
from llnm.weights import file_sha256

if TYPE_CHECKING:
    from main import LLNMApp

BINARY = "application/octet-stream"
IdOf = Annotated[str, Query(min_length=1, max_length=1024)]
Tag = Annotated[str, Query(max_length=64)]


class Output(str, Enum):
    """How much of the datastore is wanted."""

    train = "train"
    stats = "stats"
    all = "all"


def datastore_router(app: LLNMApp) -> APIRouter:
    """The routes; images and labels are removed by admins alone (`lib.security.gate`)."""
    router = APIRouter(prefix="/datastore", tags=["Datastore"])
    _read_routes(router, app)
    _write_routes(router, app)
    return router


def _read_routes(router: APIRouter, app: LLNMApp) -> None:
    @router.get("/")
    def contents(output: Output = Output.stats) -> Any:
        """Counts, or everything by image, or the labelled pairs."""
        store = app.store
        if output is Output.all:
            return store.json()
        return store.datalist(full_path=False) if output is Output.train else store.status()

    @router.get("/image", response_class=FileResponse)
    def image(image: IdOf) -> FileResponse:
        """The image as NRRD: its pixels and its grid, nothing about the patient."""
        return FileResponse(app.store.copy_for_annotators(image), media_type=BINARY, filename=copy_name(image))

    @router.head("/image")
    def has_image(image: IdOf, check_sum: str | None = None) -> None:
        """Whether there is such an image, and with this SHA-256 (of the NRRD copy)."""
        copy = app.store.copy_for_annotators(image)
        if check_sum and check_sum.removeprefix("SHA256:") != file_sha256(copy):
            raise InputError("check_sum: the image is another one now; load it again")

    @router.get("/image/info")
    def image_info(image: IdOf) -> dict[str, Any]:
        """What is noted on an image."""
        return app.store.get_image_info(image)

    @router.get("/label", response_class=FileResponse)
    def label(label: IdOf, tag: Tag) -> Response:
        """A label as `.seg.nrrd`."""
        # Read at once: a FileResponse asks for the length first, and a label may be replaced before it is opened.
        return attachment(app.store.label_path(label, tag).read_bytes(), copy_name(label, ".seg.nrrd"))

    @router.head("/label")
    def has_label(image: IdOf, tag: Tag) -> None:
        """Whether there is such a label."""
        app.store.label_path(image, tag)

    @router.get("/label/info")
    def label_info(label: IdOf, tag: Tag) -> dict[str, Any]:
        """The record of a label: who, when, what was drawn."""
        return app.store.get_label_info(label, tag)

    @router.get("/dataset", response_class=FileResponse)
    def dataset(background: BackgroundTasks, limit_cases: Annotated[int | None, Query(ge=1)] = None) -> FileResponse:
        """All labelled images with their final labels as a zip."""
        path = Path(app.store.get_dataset_archive(limit_cases))
        background.add_task(path.unlink, missing_ok=True)
        return FileResponse(path, media_type="application/zip", filename="dataset.zip")


def _write_routes(router: APIRouter, app: LLNMApp) -> None:
    @router.put("/", include_in_schema=False)
    @router.put("/image")
    def add_image(
        sender: Sender,
        file: Annotated[UploadFile, File()],
        image: Annotated[str | None, Query(max_length=200)] = None,
        params: Annotated[str, Form()] = "{}",
    ) -> dict[str, str]:
        """Take a new image into the study folder."""
        read_params(params)
        with received(file) as path:
            name = image or Path((file.filename or "").replace("\\", "/")).name.removesuffix(suffix_of(file.filename))
            added = app.store.add_image(name, str(path), {"user": sender.name})
        app.refresh_pool()
        return {"image": added}

    @router.delete("/", include_in_schema=False)
    @router.delete("/image")
    def remove_image(id: IdOf) -> dict[str, Any]:
        """Move an image and its labels to the history."""
        app.store.remove_image(id)
        return {}

    @router.put("/image/info")
    def note_on_image(sender: Sender, image: IdOf, info: Annotated[str, Form()] = "{}") -> dict[str, Any]:
        """Note something on an image."""
        app.store.update_image_info(image, {**read_params(info), "user": sender.name})
        return {}

    @router.put("/label")
    def save_label(
        sender: Sender,
        image: IdOf,
        label: Annotated[UploadFile, File()],
        params: Annotated[str, Form()] = "{}",
        tag: Tag = FINAL,
    ) -> dict[str, Any]:
        """Submit a label. Once this answers, nothing loses it."""
        with received(label) as path:
            return app.submit_label(image, path, tag or FINAL, read_params(params), sender)

    @router.delete("/label")
    def remove_label(id: IdOf, tag: Tag) -> dict[str, Any]:
        """Move a label to the history."""
        app.store.remove_label(id, tag)
        return {}

    @router.put("/updatelabelinfo", include_in_schema=False)
    @router.put("/label/info")
    def note_on_label(
        sender: Sender,
        label: IdOf,
        tag: Tag,
        info: Annotated[str, Form()] = "{}",
        params: Annotated[str, Form()] = "{}",
    ) -> dict[str, Any]:
        """Note something on a label (the reviewer's plugin keeps its verdicts here)."""
        app.store.update_label_info(label, tag, {**read_params(info), **read_params(params), "user": sender.name})
        return {}
