"""What the routes share: parameters as JSON in a form, uploads as files with a safe name, files that go after sending.

Comes in: parts of a request. Goes out: checked values, or InputError.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Depends, Response, UploadFile
from lib.security import User, current_user

from llnm.errors import InputError

Sender = Annotated[User, Depends(current_user)]
SUFFIX = re.compile(r"(\.seg\.nrrd|\.nii\.gz|\.[A-Za-z0-9]{1,8})$")


def read_params(text: str) -> dict[str, Any]:
    """The JSON object in a form's field; raises InputError for anything else."""
    if text.count("[") + text.count("{") > 10_000:
        raise InputError("params: is nested too deep")
    try:
        values = json.loads(text or "{}", parse_constant=_no_constant)
        # Numbers beyond all limits and halves of characters are read, but could never be told again.
        json.dumps(values, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise InputError("params: is no JSON object") from error
    if not isinstance(values, dict):
        raise InputError("params: is no JSON object")
    return values


def _no_constant(name: str) -> None:
    raise ValueError(name)


def suffix_of(name: str | None, default: str = "") -> str:
    """The suffix of a client's file name, all that is ever taken from it."""
    found = SUFFIX.search(PurePosixPath((name or "").replace("\\", "/")).name)
    return found[0].lower() if found else default


def attachment(content: bytes, name: str) -> Response:
    """Bytes to be kept as a file of this name."""
    quoted = quote(name)
    filename = f'filename="{name}"' if quoted == name else f"filename*=utf-8''{quoted}"
    headers = {"Content-Disposition": f"attachment; {filename}"}
    return Response(content, media_type="application/octet-stream", headers=headers)


@contextmanager
def received(upload: UploadFile, default_suffix: str = ".nii.gz") -> Iterator[Path]:
    """The upload as a file of our own name, removed at the end. Raises InputError for an empty one."""
    with TemporaryDirectory(prefix="llnm-") as folder:
        path = Path(folder) / f"upload{suffix_of(upload.filename, default_suffix)}"
        with path.open("wb") as file:
            shutil.copyfileobj(upload.file, file)
        if path.stat().st_size == 0:
            raise InputError("file: it is empty; send it again")
        yield path
