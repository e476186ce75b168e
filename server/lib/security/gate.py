"""The gate: ASGI middleware that every request passes before anything reads it.

Comes in: a request. Goes out: the same request with its `User` in `scope["state"]`, or an answer that refuses it:
421 for a host name that is not ours (a page that rebinds its name to loopback), 403 for a page of another origin and
for a role that does not suffice, 401 without a good token, 413 for a body over the limit, counted as it arrives.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from fastapi import Request
from lib.security.users import Authenticator, User, check_name
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger(__name__)
LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")
LOCAL = User("local", "admin", local=True)
OPEN = {("GET", "/auth/"), ("POST", "/auth/token"), ("GET", "/campaign/")}
"""What needs no token: how to get one, and the campaign's page, which holds nothing until it is given one."""
ADMIN_PATHS = ("/logs", "/model", "/batch")
ADMIN_REQUESTS = {
    "POST": ("/train",),
    "DELETE": ("/train", "/datastore", "/scoring", "/batch"),
}
LARGEST_FORM_BYTES = 1 << 20
UPLOADS = (
    "/datastore/image",
    "/datastore/label",
    "/datastore/",
    "/session/",
    "/infer/",
    "/campaign/labels",
    "/campaign/adjudication/mask",
)
"""The only paths that take files; all other bodies are small."""


@dataclass(frozen=True)
class Limits:
    """Bytes that an upload may have."""

    largest_upload: int = 256 << 20


class _TooLargeError(Exception):
    """The body is over the limit."""


class Gate:
    """The middleware. `authenticator` is None only on loopback, where everybody is `local`."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        authenticator: Authenticator | None,
        hosts: Sequence[str] = LOOPBACK_HOSTS,
        limits: Limits | None = None,
    ) -> None:
        self.app, self.authenticator, self.hosts = app, authenticator, tuple(host.lower() for host in hosts)
        self.limits = limits or Limits()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI's entrance."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        headers, method, path = Headers(scope=scope), scope["method"], scope["path"]
        # In a thread: a token may need the provider's keys, and the others are not to wait for those.
        user, refusal = await run_in_threadpool(self._judge, headers, method, path)
        if refusal is not None:
            await _refuse(send, *refusal)
            return
        scope.setdefault("state", {})["user"] = user
        largest = self.limits.largest_upload if path.startswith(UPLOADS) else LARGEST_FORM_BYTES
        await self._pass_on(scope, receive, send, headers, largest)

    def _judge(self, headers: Headers, method: str, path: str) -> tuple[User, tuple[int, str] | None]:
        """The sender, and what to refuse the request with, if it is refused."""
        host = headers.get("host", "").lower()
        origin = headers.get("origin")
        if _without_port(host) not in self.hosts:
            return LOCAL, (421, "host: this server does not answer to that name; see --allowed-host")
        if origin is not None and origin.split("://")[-1].lower() != host:
            return LOCAL, (403, "origin: pages of other sites may not call this server")
        return (LOCAL, None) if self.authenticator is None else self._know(headers, method, path)

    def _know(self, headers: Headers, method: str, path: str) -> tuple[User, tuple[int, str] | None]:
        """`_judge` where users are known by their tokens."""
        if (method, path) in OPEN:
            return User("anonymous", "annotator"), None
        kind, _, token = headers.get("authorization", "").partition(" ")
        known = self.authenticator.user(token.strip()) if self.authenticator and kind.lower() == "bearer" else None
        user = known if token else None
        if user is None:
            return LOCAL, (401, "authorization: send a good token as: Authorization: Bearer TOKEN")
        needed = needed_role(method, path)
        if not user.may(needed):
            return user, (403, f"role: {user.name} is {user.role}, {needed} is needed")
        return user, None

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send, headers: Headers, largest: int) -> None:
        length = headers.get("content-length", "0")
        if not length.isdigit():
            await _refuse(send, 400, "content-length: is no number")
            return
        text = f"body: over the limit of {largest} bytes"
        if int(length) > largest:
            await _refuse(send, 413, text)
            return
        taken, started, over = 0, False, False

        async def counted() -> Message:
            nonlocal taken, over
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > largest:
                over = True
                raise _TooLargeError
            return message

        async def watched(message: Message) -> None:
            nonlocal started
            if over and not started:
                return  # what the application makes of a body that breaks off; ours is the answer
            started = True
            if message["type"] == "http.response.start":
                said = {name.lower() for name, _ in message["headers"]}
                added = [pair for pair in SAFE_HEADERS if pair[0] not in said]
                message = {**message, "headers": [*message["headers"], *added]}
            await send(message)

        with suppress(_TooLargeError):
            await self.app(scope, counted, watched)
        if over and not started:
            await _refuse(send, 413, text)


SAFE_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
]


def needed_role(method: str, path: str) -> str:
    """The least role for a request; the campaign's own routes ask for a reviewer where they need one."""
    if path.startswith(ADMIN_PATHS) or path.startswith(ADMIN_REQUESTS.get(method, ("\0",))):
        return "admin"
    return "annotator"


def current_user(request: Request) -> User:
    """FastAPI dependency: who sends the request; where nobody is told apart, the header `X-Annotator` names them."""
    user: User = request.scope.get("state", {}).get("user", LOCAL)
    if user.local and (name := request.headers.get("x-annotator")):
        return User(check_name(name, "X-Annotator"), user.role, local=True)
    return user


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[: host.find("]") + 1]
    return host.partition(":")[0]


async def _refuse(send: Send, status: int, text: str) -> None:
    body = json.dumps({"detail": text}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *SAFE_HEADERS]
    headers.append((b"connection", b"close"))
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
