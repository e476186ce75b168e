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
| GET `/campaign/export` | the agreed set as a zip | reviewer |
| GET `/campaign/audit` | the audit log and whether it is whole | reviewer |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request

if TYPE_CHECKING:
    from lib.campaign.campaign import Campaign


@dataclass(frozen=True)
class Person:
    """Who sends a request: the name labels are kept under, and whether they may review."""

    name: str
    reviewer: bool = False


def local_person(request: Request) -> Person:
    """On loopback without authentication: the header `X-Annotator` says who it is, and everybody may review."""
    return Person(request.headers.get("X-Annotator", "annotator"), reviewer=True)


def campaign_router(
    campaign: Campaign,
    *,
    person: Callable[..., Person] = local_person,
    prefix: str = "/campaign",
    largest_label_bytes: int = 64 << 20,
) -> APIRouter:
    """The routes of this module's table. `person` is a FastAPI dependency (it may have parameters of its own)."""
    raise NotImplementedError
