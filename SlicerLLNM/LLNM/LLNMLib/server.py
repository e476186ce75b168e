"""Masks from a MONAILabel server by its address, with a login where it asks for one.

Comes in: an address, a login, image files. Goes out: what the server offers and masks as arrays. It speaks the REST
interface of MONAILabel 0.8 (`/auth/`, `/info/`, `/infer/{model}`) with what Python itself has. A server predicts no
risk: `llnm` on this machine does, with the server's masks. Passwords and tokens are neither written nor shown.
"""

from __future__ import annotations

import base64
import json
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import uuid
from pathlib import Path
from typing import Any

import numpy as np

from LLNMLib.interfaces import STRUCTURES, LogicError, Login, Problem, ServerReport, logic_error
from LLNMLib.rasters import SUFFIXES, read_mask

TIMEOUT_S = 120.0
CONNECT_TIMEOUT_S = 10.0
_WORDS = {"nodule": ("nodule",), "gland": ("gland", "thyroid")}


class LabelServer:
    """One server. Every method waits for the network: call it in a `Call`, not in the window's thread."""

    def __init__(self, address: str, login: Login | None = None) -> None:
        """Raises LogicError for an address that is none, or a login that would travel unprotected."""
        self.address = _checked(address, login)
        self._login = login
        self._headers: dict[str, str] = {}

    def report(self) -> ServerReport:
        """What the server is and which of our structures it segments; a problem instead of an error."""
        try:
            info = self.info()
        except LogicError as error:
            return ServerReport(False, problem=error.problem)
        models = models_of(info)
        problem = None
        if not models:
            text = f"{self.address}: none of its models segments a nodule or a gland"
            problem = Problem("NotOffered", text, "start it with the app in server/, or compute on this machine")
        return ServerReport(problem is None, str(info.get("name", "")), str(info.get("version", "")), models, problem)

    def info(self) -> dict[str, Any]:
        """What the server says of itself; raises LogicError."""
        self._log_in()
        return self._json("/info/")

    def infer(self, model: str, image: Path) -> np.ndarray:
        """The mask (row, column) bool of an image file; raises LogicError."""
        self._log_in()
        body, kind = _form({"params": json.dumps({"result_extension": ".nrrd"})}, image)
        path = f"/infer/{urllib.parse.quote(model)}?output=image"
        content, name = self._ask(path, body, kind)
        suffix = next((end for end in (*SUFFIXES, ".nrrd", ".nii.gz", ".nii", ".mha") if name.endswith(end)), ".nrrd")
        with tempfile.TemporaryDirectory(prefix="LLNM-") as folder:
            file = Path(folder, f"mask{suffix}")
            file.write_bytes(content)
            return _mask_in(file)

    def _log_in(self) -> None:
        """Get what later requests carry: a token that was given, or one for a name with its password."""
        login = self._login
        if login is None or self._headers:
            return
        if login.token:
            self._headers = {"Authorization": f"Bearer {login.token}"}
            return
        basic = base64.b64encode(f"{login.user}:{login.password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {basic}"}
        if not self._wants_token():
            return
        words = {"username": login.user or "", "password": login.password or "", "grant_type": "password"}
        body = urllib.parse.urlencode(words).encode()
        try:
            answer = json.loads(self._ask("/auth/token", body, "application/x-www-form-urlencoded")[0])
            self._headers = {"Authorization": f"Bearer {answer['access_token']}"}
        except LogicError as error:
            self._headers = {}
            # MONAILabel answers 500 where the identity provider refuses a password.
            raise _wrong_login(self.address, login) if error.problem.kind == "ServerFailed" else error from error
        except (ValueError, KeyError) as error:
            self._headers = {}
            raise _wrong_login(self.address, login) from error

    def _wants_token(self) -> bool:
        """Whether the server has logins of its own; a server behind a guard of its own answers to the password."""
        try:
            return bool(self._json("/auth/").get("enabled"))
        except LogicError as error:
            if error.problem.kind == "NotOffered":
                return False
            self._headers = {}
            raise

    def _json(self, path: str) -> dict[str, Any]:
        content, _ = self._ask(path)
        try:
            value = json.loads(content)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            text = f"{self.address}: answers, but is no MONAILabel server"
            raise logic_error("NotOffered", text, "check the address")
        return value

    def _ask(self, path: str, body: bytes | None = None, kind: str = "") -> tuple[bytes, str]:
        """The content of an answer and the name of the file in it."""
        headers = {**self._headers, **({"Content-Type": kind} if body is not None else {})}
        request = urllib.request.Request(self.address + path, data=body, headers=headers)
        try:
            # A proxy of the environment would see the images; servers of a clinic are asked directly.
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())
            with opener.open(request, timeout=CONNECT_TIMEOUT_S if body is None else TIMEOUT_S) as answer:
                return answer.read(), answer.headers.get_filename() or ""
        except urllib.error.HTTPError as error:
            raise self._refused(error) from error
        except (OSError, ValueError) as error:  # URLError, timeouts, a connection that breaks off
            reason = getattr(error, "reason", None) or error
            text = f"{self.address}: the server cannot be reached ({reason})"
            raise logic_error(
                "ServerAway", text, "check the address and that the server runs, then try again"
            ) from error

    def _refused(self, error: urllib.error.HTTPError) -> LogicError:
        with error:
            if error.code in {401, 403}:
                return _wrong_login(self.address, self._login, error.code == 403)
            if error.code in {404, 405}:
                text = f"{self.address}: it does not offer {urllib.parse.urlsplit(error.url).path}"
                return logic_error("NotOffered", text, "check the address, or compute on this machine")
            told = " ".join(error.read(500).decode("utf-8", "replace").split())
            text = f"{self.address}: the server failed ({error.code}: {told})"
            return logic_error("ServerFailed", text, "read the server's log, or compute on this machine")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A login must not follow a redirection to another machine."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        same = urllib.parse.urlsplit(newurl)[:2] == urllib.parse.urlsplit(req.full_url)[:2]
        return super().redirect_request(req, fp, code, msg, headers, newurl) if same else None


def models_of(info: dict[str, Any]) -> dict[str, str]:
    """Which model segments which of our structures, told from names and labels of the server's models."""
    found: dict[str, str] = {}
    for name, about in sorted((info.get("models") or {}).items()):
        labels = about.get("labels") or {}
        words = " ".join([name, *map(str, labels)]).lower()
        for structure in STRUCTURES:
            if structure in name.lower() or (len(labels) == 1 and any(word in words for word in _WORDS[structure])):
                found.setdefault(structure, name)
                break
    return found


def _checked(address: str, login: Login | None) -> str:
    parts = urllib.parse.urlsplit(address.strip().rstrip("/"))
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username:
        raise logic_error("InputError", f"{address!r} is no address of a server", "write it like https://host:8000")
    if login is not None and parts.scheme == "http" and parts.hostname not in {"localhost", "127.0.0.1", "::1"}:
        text = f"{address}: a login would travel unprotected"
        raise logic_error("InputError", text, "use an https address, or a tunnel to localhost")
    return parts.geturl()


def _wrong_login(address: str, login: Login | None, known: bool = False) -> LogicError:
    """What a refusal means; `known`: the server knows the user, who may not do that."""
    if known:
        return logic_error("WrongLogin", f"{address}: this user may not do that", "ask the server's administrator")
    if login is None:
        return logic_error(
            "WrongLogin", f"{address}: the server asks for a login", "give a name and password or a token"
        )
    return logic_error("WrongLogin", f"{address}: the server refused the login", "correct name and password or token")


def _form(fields: dict[str, str], file: Path) -> tuple[bytes, str]:
    """A form with a file (multipart/form-data) and its content type."""
    mark = uuid.uuid4().hex
    parts = [
        f'--{mark}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    head = f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="view{file.suffix}"\r\n'
    parts.append(head.encode() + b"Content-Type: application/octet-stream\r\n\r\n" + file.read_bytes() + b"\r\n")
    return b"".join(parts) + f"--{mark}--\r\n".encode(), f"multipart/form-data; boundary={mark}"


def _mask_in(file: Path) -> np.ndarray:
    from LLNMLib.ultrasound import read_frames

    if file.suffix in SUFFIXES:
        return read_mask(file)
    values = read_frames(file).values
    if len(values) != 1 or values.ndim != 3:
        raise logic_error(
            "ServerFailed", f"the server's mask has the form {values.shape}", "ask for its app in server/"
        )
    return values[0] > 0
