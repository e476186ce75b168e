"""Sessions: an image that a client sent for inference only, kept for an hour and never among the images of the study.

Comes in: one file. Goes out: a random id under which `/infer/` finds it. Archives are not unpacked.
"""

from __future__ import annotations

import re
import shutil
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, File, UploadFile
from fastapi.responses import FileResponse
from lib.api.parts import suffix_of
from lib.stores.durable import publish, temporary_beside
from monailabel.interfaces.exception import ImageNotFoundException

from llnm.errors import InputError

if TYPE_CHECKING:
    from main import LLNMApp

LIFETIME_S = 3600
ID = re.compile(r"[0-9a-f]{32}")


class Sessions:
    """Files of all sessions below `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, upload: UploadFile) -> str:
        """Keep an upload; gives the id."""
        self.remove_old()
        name = uuid.uuid4().hex
        file = self.folder / f"{name}{suffix_of(upload.filename, '.nii.gz')}"
        temporary = temporary_beside(file)
        with temporary.open("wb") as target:
            shutil.copyfileobj(upload.file, target)
        if temporary.stat().st_size == 0:
            temporary.unlink()
            raise InputError("files: the file is empty; send it again")
        publish(temporary, file)
        return name

    def file(self, session: str) -> Path:
        """The file of a session; raises ImageNotFoundException where there is none."""
        found = sorted(self.folder.glob(f"{session}.*")) if ID.fullmatch(session) else []
        if not found:
            raise ImageNotFoundException("session: there is none of this id; send the image again")
        return found[0]

    def remove(self, session: str) -> None:
        """Forget a session."""
        self.file(session).unlink(missing_ok=True)

    def remove_old(self) -> None:
        """Forget what is older than an hour."""
        for path in self.folder.glob("*") if self.folder.is_dir() else ():
            if time.time() - path.stat().st_mtime > LIFETIME_S:
                path.unlink(missing_ok=True)


def session_router(app: LLNMApp) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/session", tags=["Session"])

    @router.put("/")
    def create(files: Annotated[list[UploadFile], File()], uncompress: bool = False, expiry: int = 0) -> dict[str, Any]:
        """Keep one image for inference."""
        if uncompress or len(files) != 1:
            raise InputError("files: one image file is expected; archives and series are not unpacked")
        return {"session_id": app.sessions.add(files[0]), "session_info": {"expiry": LIFETIME_S}}

    @router.get("/{session_id}", response_model=None)
    def read(session_id: str, update_ts: bool = False, image: bool = False) -> FileResponse | dict[str, Any]:
        """Whether the session is still there, or its file."""
        path = app.sessions.file(session_id)
        if image:
            return FileResponse(path, media_type="application/octet-stream", filename=f"image{suffix_of(path.name)}")
        return {"name": session_id, "expiry": LIFETIME_S, "create_ts": int(path.stat().st_mtime)}

    @router.delete("/{session_id}")
    def remove(session_id: str) -> dict[str, Any]:
        """Forget a session."""
        app.sessions.remove(session_id)
        return {}

    return router
