"""The campaign over HTTP, and its page.

Comes in: a `Campaign` and how a request's sender is known. Goes out: a FastAPI router.

| request | what for | who |
|---|---|---|
| GET `/campaign/` | the page | everybody |
| GET `/campaign/status` | progress as JSON, with an ETag | everybody |
| POST `/campaign/next` | `{strategy, count}` -> leases | annotator |
| POST `/campaign/leases/{lease}/renew`, `/release` | keep or give back an image | annotator |
| POST `/campaign/labels` | form: `image, label (file), seconds, submission, revise` -> receipt | annotator |
| POST `/campaign/readers` | `{images, readers}`: read by several | reviewer |
| GET `/campaign/adjudication`, `/campaign/adjudication/picture?image=` | disagreements, and one as PNG | reviewer |
| POST `/campaign/adjudication` | `{image, choice}`: decide | reviewer |
| POST `/campaign/adjudication/mask` | form: `image, label (file)`: decide by a mask of one's own | reviewer |
| GET `/campaign/export` | the agreed set as a zip | reviewer |
| GET `/campaign/audit` | the audit log and whether it is whole | reviewer |

A refusal is `{"detail": "what is wrong and what to do"}` with 400, 403, 404, 409 (the image has passed on) or 413.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, File, Form, Query, Request, Response, UploadFile
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from fastapi.routing import APIRoute
from lib.campaign.campaign import Campaign
from lib.campaign.errors import CampaignError, NotAllowedError, TooLargeError, UnknownError
from lib.campaign.export import export_agreed
from lib.campaign.page import render_page
from lib.campaign.picture import CONSENSUS_COLOUR, colour_of, disagreement_png
from lib.campaign.types import CONSENSUS, Disagreement, Lease
from pydantic import BaseModel, Field
from starlette.background import BackgroundTask

from llnm.errors import InputError
from llnm.imaging import load_image

# Lossless formats that hold a mask; two suffixes are one format of two parts.
LABEL_SUFFIXES = (".png", ".nrrd", ".nii", ".nii.gz", ".mha", ".tif", ".tiff", ".bmp")
_BLOCK = 1 << 20
# Is told the id of an image whose mask may be settled now, before the request is answered.
Changed = Callable[[str], None]


@dataclass(frozen=True)
class Person:
    """Who sends a request: the name labels are kept under, and whether they may review."""

    name: str
    reviewer: bool = False


def local_person(request: Request) -> Person:
    """On loopback without authentication: the header `X-Annotator` says who it is, and everybody may review."""
    return Person(request.headers.get("X-Annotator", "annotator"), reviewer=True)


class NextRequest(BaseModel):
    """How the next images are chosen, and how many."""

    strategy: str = "hybrid"
    count: int = 1


class ReadersRequest(BaseModel):
    """Which images several annotators are to read."""

    images: list[str] = Field(min_length=1, max_length=10_000)
    readers: int


class Decision(BaseModel):
    """Whose mask of an image counts: an annotator's name, or `consensus`."""

    image: str
    choice: str


class _Route(APIRoute):
    """Turns what the campaign refuses into an answer that says so, in one place."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler of FastAPI, with the campaign's errors caught."""
        handler = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handler(request)
            except InputError as error:
                return JSONResponse({"detail": str(error)}, getattr(error, "status_code", 400))

        return answer


def campaign_router(
    campaign: Campaign,
    *,
    person: Callable[..., Person] = local_person,
    prefix: str = "/campaign",
    largest_label_bytes: int = 64 << 20,
    changed: Changed = lambda _: None,
) -> APIRouter:
    """The routes of this module's table. `person` is a FastAPI dependency (it may have parameters of its own)."""
    router = APIRouter(prefix=prefix, tags=["Campaign"], route_class=_Route)

    def reviewer(someone: Annotated[Person, Depends(person)]) -> Person:
        if not someone.reviewer:
            raise NotAllowedError(f"{someone.name}: is no reviewer; ask somebody who is one")
        return someone

    _add_reading(router, campaign, person)
    _add_annotating(router, campaign, person, largest_label_bytes, changed)
    _add_reviewing(router, campaign, reviewer)
    _add_decisions(router, campaign, reviewer, largest_label_bytes, changed)
    return router


def _add_reading(router: APIRouter, campaign: Campaign, person: Callable[..., Person]) -> None:
    @router.get("/", response_class=HTMLResponse, summary="The campaign's page")
    def page() -> HTMLResponse:
        return HTMLResponse(render_page(), headers={"Cache-Control": "no-cache"})

    @router.get("/status", summary="How the campaign stands")
    def status(request: Request, someone: Annotated[Person, Depends(person)]) -> Response:
        body = json.dumps({**campaign.status(), "you": asdict(someone)}).encode()
        tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        headers = {"ETag": tag, "Cache-Control": "no-cache"}
        if request.headers.get("If-None-Match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(body, media_type="application/json", headers=headers)


def _add_annotating(
    router: APIRouter,
    campaign: Campaign,
    person: Callable[..., Person],
    largest_label_bytes: int,
    changed: Changed,
) -> None:
    @router.post("/next", summary="The next images to annotate")
    def next_images(wanted: NextRequest, someone: Annotated[Person, Depends(person)]) -> list[Lease]:
        return campaign.next_images(someone.name, wanted.strategy, wanted.count)

    @router.post("/leases/{lease}/renew", summary="Keep an image for longer")
    def renew(lease: str, someone: Annotated[Person, Depends(person)]) -> Lease:
        return campaign.renew(lease, someone.name)

    @router.post("/leases/{lease}/release", summary="Give an image back; skip: do not offer it to me again")
    def release(lease: str, someone: Annotated[Person, Depends(person)], skip: bool = False) -> dict[str, str]:
        campaign.release(lease, someone.name, skip=skip)
        return {"released": lease}

    @router.post("/labels", summary="Submit a label")
    def submit(
        someone: Annotated[Person, Depends(person)],
        image: Annotated[str, Form()],
        label: Annotated[UploadFile, File()],
        seconds: Annotated[float | None, Form()] = None,
        submission: Annotated[str | None, Form()] = None,
        revise: Annotated[bool, Form()] = False,
    ) -> dict[str, Any]:
        with _on_disk(label, largest_label_bytes) as path:
            receipt = campaign.submitted(image, someone.name, path, seconds, submission=submission, revise=revise)
        changed(image)
        return asdict(receipt)


def _add_reviewing(router: APIRouter, campaign: Campaign, reviewer: Callable[..., Person]) -> None:
    @router.post("/readers", summary="Have images read by several annotators")
    def readers(asked: ReadersRequest, someone: Annotated[Person, Depends(reviewer)]) -> dict[str, int]:
        campaign.ask_readers(asked.images, asked.readers, someone.name)
        return {"images": len(asked.images), "readers": asked.readers}

    @router.get("/adjudication", dependencies=[Depends(reviewer)], summary="Images whose readers disagree")
    def adjudication() -> list[dict[str, Any]]:
        return [_told(disagreement) for disagreement in campaign.adjudication()]

    @router.get(
        "/adjudication/picture",
        dependencies=[Depends(reviewer)],
        summary="The readers' outlines on an image",
        response_class=Response,
        responses={200: {"content": {"image/png": {}}}},
    )
    def picture(image: Annotated[str, Query()]) -> Response:
        for found in campaign.adjudication():
            if found.image == image:
                masks = {name: campaign.read_label(label, found.path) for name, label in found.labels.items()}
                agreed_on = campaign.read_label(found.consensus, found.path)
                png = disagreement_png(load_image(found.path).pixels, masks, agreed_on)
                return Response(png, media_type="image/png", headers={"Cache-Control": "no-cache"})
        raise UnknownError(f"{image}: its readers do not wait for a decision; look at the adjudication queue")

    @router.get("/export", dependencies=[Depends(reviewer)], summary="The agreed set as a training folder")
    def export() -> FileResponse:
        folder = Path(tempfile.mkdtemp(prefix="llnm-export-"))
        try:
            export_agreed(campaign, folder / "campaign")
            archive = shutil.make_archive(str(folder / "archive"), "zip", folder, "campaign")
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        clean_up = BackgroundTask(shutil.rmtree, folder, ignore_errors=True)
        return FileResponse(archive, media_type="application/zip", filename="campaign.zip", background=clean_up)

    @router.get("/audit", dependencies=[Depends(reviewer)], summary="The audit log, and whether it is whole")
    def audit() -> dict[str, Any]:
        try:
            return {"whole": True, "problem": None, "entries": [entry.as_dict() for entry in campaign.audit()]}
        except InputError as error:
            return {"whole": False, "problem": str(error), "entries": []}


def _add_decisions(
    router: APIRouter,
    campaign: Campaign,
    reviewer: Callable[..., Person],
    largest_label_bytes: int,
    changed: Changed,
) -> None:
    @router.post("/adjudication", summary="Decide whose mask counts")
    def decide(decision: Decision, someone: Annotated[Person, Depends(reviewer)]) -> dict[str, str]:
        campaign.decide(decision.image, someone.name, decision.choice)
        changed(decision.image)
        return {"image": decision.image, "choice": decision.choice}

    @router.post("/adjudication/mask", summary="Decide by a mask of one's own")
    def decide_by_own_mask(
        someone: Annotated[Person, Depends(reviewer)],
        image: Annotated[str, Form()],
        label: Annotated[UploadFile, File()],
    ) -> dict[str, str]:
        with _on_disk(label, largest_label_bytes) as path:
            campaign.decide(image, someone.name, path)
        changed(image)
        return {"image": image, "choice": someone.name}


def _told(disagreement: Disagreement) -> dict[str, Any]:
    """A disagreement without the server's own paths, each choice with the colour of its outline."""
    names = sorted(disagreement.labels)
    choices = [{"name": name, "colour": colour_of(index)} for index, name in enumerate(names)]
    return {
        "image": disagreement.image,
        "choices": [*choices, {"name": CONSENSUS, "colour": CONSENSUS_COLOUR}],
        "pairs": [{"readers": list(pair), "dice": value} for pair, value in disagreement.dice.items()],
    }


@contextmanager
def _on_disk(upload: UploadFile, largest: int) -> Iterator[Path]:
    """An uploaded label as a file that is gone afterwards. Raises CampaignError for a format that is none of ours."""
    name = (upload.filename or "").lower()
    suffix = next((suffix for suffix in sorted(LABEL_SUFFIXES, key=len, reverse=True) if name.endswith(suffix)), None)
    if suffix is None:
        raise CampaignError(f"label: is no file of a lossless format; send one of {', '.join(LABEL_SUFFIXES)}")
    with tempfile.TemporaryDirectory(prefix="llnm-label-") as folder:
        # The client's own name never becomes a path.
        path, size = Path(folder) / f"label{suffix}", 0
        with path.open("wb") as file:
            while block := upload.file.read(_BLOCK):
                size += len(block)
                if size > largest:
                    raise TooLargeError(
                        f"label: is over the limit of {largest} bytes; compress it or send the mask alone"
                    )
                file.write(block)
        yield path
