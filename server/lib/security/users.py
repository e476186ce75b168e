"""Users, their roles, and the file that knows their tokens by hash alone.

Comes in: a token. Goes out: the user it belongs to. The file is JSON: `{"users": [{"name", "role", "token_sha256"}]}`;
`python -m server token` writes it. Tokens are 256 random bits, so one round of SHA-256 is enough.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lib.stores.durable import write_durably

from llnm.errors import InputError

ROLES = ("annotator", "reviewer", "admin")
"""Each may do what those before it may."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


@dataclass(frozen=True)
class User:
    """Somebody who sends requests. `local`: on loopback without authentication, where nobody is told apart."""

    name: str
    role: str
    local: bool = False

    def may(self, role: str) -> bool:
        """Whether this user has at least `role`."""
        return ROLES.index(self.role) >= ROLES.index(role)


class Authenticator(Protocol):
    """Tells whose a token is."""

    def user(self, token: str) -> User | None:
        """The user, or None for a token that is not (or no longer) good."""


class TokenUsers:
    """Users of a token file; changes to the file are seen at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp = 0
        self._users: list[dict[str, str]] = []
        self._read()
        if not self._users:
            raise InputError(
                f"{path}: it names no user; add one with: python -m server token --tokens {path} --name NAME"
            )

    def _read(self) -> None:
        try:
            stamp = self.path.stat().st_mtime_ns
            if stamp != self._stamp:
                self._users = read_users(self.path)
                self._stamp = stamp
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read ({error.strerror}); check the path") from error

    def user(self, token: str) -> User | None:
        """The user with this token; every entry is compared, so that time tells nothing."""
        self._read()
        digest = _digest(token)
        found = None
        for entry in self._users:
            if hmac.compare_digest(entry["token_sha256"], digest):
                found = User(entry["name"], entry["role"])
        return found


def check_name(name: str, field: str) -> str:
    """What somebody calls themselves where nobody is told apart; raises InputError for what cannot be shown."""
    if len(name) > 64 or not name.isprintable():
        raise InputError(f"{field}: give a name of at most 64 characters that can be shown")
    return name


def read_users(path: Path) -> list[dict[str, str]]:
    """The entries of a token file; raises InputError for a file that is none."""
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        users = content["users"]
        for user in users:
            if user["role"] not in ROLES or not NAME.fullmatch(user["name"]) or len(user["token_sha256"]) != 64:
                raise ValueError(user["name"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: is no token file; make one with: python -m server token") from error
    return list(users)


def add_user(path: Path, name: str, role: str) -> str:
    """Add a user (or give an old one a new token and role); gives the token, which is not kept."""
    if not NAME.fullmatch(name):
        raise InputError(f"name: {name!r} cannot be used; take letters, digits and . _ @ -")
    if role not in ROLES:
        raise InputError(f"role: {role!r} is not known; choose from {', '.join(ROLES)}")
    token = secrets.token_urlsafe(32)
    users = [user for user in (read_users(path) if path.exists() else []) if user["name"] != name]
    users.append({"name": name, "role": role, "token_sha256": _digest(token)})
    write_durably(path, json.dumps({"users": users}, indent=1).encode())
    path.chmod(0o600)
    return token


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
