"""A tiny OpenID Connect provider: discovery, published keys (JWKS), tokens for a name and a password; real signatures.

Comes in: names with their passwords and roles. Goes out: signed tokens, as Keycloak has them, over HTTP on loopback.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

CLIENT = "monailabel-app"


def new_key() -> rsa.RSAPrivateKey:
    """A key to sign with."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class OpenIdProvider:
    """Answers at `address` until `stop`. `keys`: what it publishes, by id; `people`: (password, roles) by name."""

    def __init__(self, people: Mapping[str, tuple[str, list[str]]] | None = None) -> None:
        self.people = dict(people or {})
        self.keys = {"one": new_key()}
        self.fetched = 0
        self._start(0)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self.realm = f"{self.address}/realm"

    def _start(self, port: int) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()

    @contextmanager
    def away(self) -> Iterator[None]:
        """Answer nobody for a while."""
        self.stop()
        try:
            yield
        finally:
            self._start(self._server.server_port)

    def claims(self, name: str = "rob", roles: list[str] | None = None, **changes: Any) -> dict[str, Any]:
        """Claims as Keycloak has them; a change to None takes a claim out."""
        roles = ["monailabel-reviewer", "monailabel-annotator"] if roles is None else roles
        good = {
            "iss": self.realm,
            "azp": CLIENT,
            "exp": time.time() + 300,
            "preferred_username": name,
            "realm_access": {"roles": ["offline_access", *roles]},
        }
        return {key: value for key, value in {**good, **changes}.items() if value is not None}

    def signed(self, claims: Mapping[str, Any], key: Any = None, algorithm: str = "RS256", kid: str = "one") -> str:
        """A token; by the provider's own key where no other is given."""
        return jwt.encode(dict(claims), key or self.keys["one"], algorithm=algorithm, headers={"kid": kid})

    def _get(self, path: str) -> Any:
        if path == "/realm/.well-known/openid-configuration":
            places = {"jwks_uri": f"{self.address}/keys", "token_endpoint": f"{self.address}/token"}
            return {"issuer": self.realm, **places}
        if path == "/keys":
            self.fetched += 1
            return {"keys": [self._public(kid, key) for kid, key in self.keys.items()]}
        return None

    @staticmethod
    def _public(kid: str, key: rsa.RSAPrivateKey) -> dict[str, Any]:
        values = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
        return {**values, "kid": kid, "use": "sig", "alg": "RS256"}

    def _token(self, form: Mapping[str, list[str]]) -> Any:
        name = form.get("username", [""])[0]
        password, roles = self.people.get(name, (None, []))
        if form.get("password", [""])[0] != password or form.get("client_id") != [CLIENT]:
            return None
        return {"access_token": self.signed(self.claims(name, roles)), "token_type": "Bearer"}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        provider = self

        class Answers(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.tell(provider._get(self.path), 404)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                self.tell(provider._token(parse_qs(body)) if self.path == "/token" else None, 401)

            def tell(self, answer: Any, refusal: int) -> None:
                body = json.dumps(answer or {}).encode()
                self.send_response(refusal if answer is None else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        return Answers
