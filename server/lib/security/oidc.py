"""Users of an OpenID Connect provider, by the settings MONAILabel has for it (`MONAI_LABEL_AUTH_*`).

Comes in: a signed token. Goes out: the user it names. MONAILabel's own check passes no list of algorithms to PyJWT,
which therefore refuses every token; this one takes the provider's published keys, asymmetric signatures alone, and
checks issuer, audience and expiry.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jwt
import requests
from lib.security.users import NAME, User
from monailabel.config import settings

from llnm.errors import InputError

ALGORITHMS = ("RS256", "RS384", "RS512", "ES256", "ES384", "PS256", "PS384", "PS512")
LEEWAY_S = 30


class OpenIdUsers:
    """Users known to the provider at `MONAI_LABEL_AUTH_REALM_URI`.

    A token's audience (`aud` or, as Keycloak has it, `azp`) must be `MONAI_LABEL_AUTH_CLIENT_ID`. Raises InputError
    where the provider cannot be reached at the start.
    """

    def __init__(self) -> None:
        self.realm = settings.MONAI_LABEL_AUTH_REALM_URI.rstrip("/")
        self.client = settings.MONAI_LABEL_AUTH_CLIENT_ID
        address = f"{self.realm}/.well-known/openid-configuration"
        try:
            answer = requests.get(address, timeout=settings.MONAI_LABEL_AUTH_TIMEOUT)
            answer.raise_for_status()
            self.provider: Mapping[str, Any] = answer.json()
            self.issuer = self.provider["issuer"]
            # Single keys are not kept: one that the provider withdraws is forgotten with the set, after five minutes.
            self.keys = jwt.PyJWKClient(self.provider["jwks_uri"], timeout=settings.MONAI_LABEL_AUTH_TIMEOUT)
        except (requests.RequestException, ValueError, KeyError) as error:
            raise InputError(
                f"{address}: the provider does not answer ({type(error).__name__}); check MONAI_LABEL_AUTH_REALM_URI"
            ) from error

    def user(self, token: str) -> User | None:
        """The user, or None for a token that is not good or names no role of this server."""
        try:
            key = self.keys.get_signing_key_from_jwt(token)
            claims = jwt.decode(
                token,
                key.key,
                algorithms=list(ALGORITHMS),
                issuer=self.issuer,
                leeway=LEEWAY_S,
                options={"require": ["exp", "iss"], "verify_aud": False},
            )
        except (jwt.PyJWTError, ValueError):
            return None
        if self.client not in _texts(claims.get("aud")) | _texts(claims.get("azp")):
            return None
        name, role = str(claims.get(settings.MONAI_LABEL_AUTH_TOKEN_USERNAME, "")), self._role(claims)
        return User(name, role) if role and NAME.fullmatch(name) else None

    def _role(self, claims: Mapping[str, Any]) -> str | None:
        """The highest role that the claims give."""
        given: Any = claims
        for part in settings.MONAI_LABEL_AUTH_TOKEN_ROLES.split("#"):
            given = given.get(part) if isinstance(given, Mapping) else None
        names = _texts(given)
        for setting, role in (
            (settings.MONAI_LABEL_AUTH_ROLE_ADMIN, "admin"),
            (settings.MONAI_LABEL_AUTH_ROLE_REVIEWER, "reviewer"),
            (settings.MONAI_LABEL_AUTH_ROLE_ANNOTATOR, "annotator"),
        ):
            if setting in names:
                return role
        return None

    def token(self, username: str, password: str) -> Mapping[str, Any] | None:
        """A token for a name and password from the provider, as MONAILabel's plugin asks for it; None if refused."""
        form = {"client_id": self.client, "username": username, "password": password, "grant_type": "password"}
        try:
            answer = requests.post(
                self.provider["token_endpoint"], data=form, timeout=settings.MONAI_LABEL_AUTH_TIMEOUT
            )
            given = answer.json() if answer.ok else {}
            return given if isinstance(given.get("access_token"), str) else None
        except (requests.RequestException, ValueError, AttributeError):
            return None


def _texts(value: Any) -> set[str]:
    """What a claim names: one text, or those in a list."""
    return {text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)}
