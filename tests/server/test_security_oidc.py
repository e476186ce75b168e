"""Users of an OpenID Connect provider at a real server that was started with `--oidc`: who gets in, and as whom."""

import base64
import hashlib
import hmac
import json
import shutil
import time

import jwt
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from openid_provider import OpenIdProvider, new_key
from server_process import ServerProcess

ROLES = ("annotator", "reviewer", "admin")
PEOPLE = {
    "ann": ("ann's password", ["monailabel-annotator"]),
    "rob": ("rob's password", ["monailabel-annotator", "monailabel-reviewer"]),
    "ada": ("ada's password", ["monailabel-reviewer", "monailabel-admin"]),
    "eve": ("eve's password", ["another-app-admin"]),
}
OTHER_KEY = new_key()
NAMES = dict(zip(ROLES, PEOPLE, strict=False))


@pytest.fixture(scope="module")
def provider():
    provider = OpenIdProvider(PEOPLE)
    yield provider
    provider.stop()


@pytest.fixture(scope="module")
def server(provider, simulated_study, tmp_path_factory):
    folder = tmp_path_factory.mktemp("oidc")
    study = shutil.copytree(simulated_study, folder / "study")
    environment = {"MONAI_LABEL_AUTH_REALM_URI": provider.realm}
    server = ServerProcess(study, folder / "server.log", ["--oidc"], environment=environment).start()
    yield server
    server.stop()


def ask(server, token, method="GET", path="/info/", **options):
    headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
    return requests.request(method, f"{server.address}{path}", headers=headers, timeout=60, **options)


def log_in(server, name, password=None):
    """As 3D Slicer's plugin does it."""
    form = {"username": name, "password": password or PEOPLE[name][0], "grant_type": "password"}
    return requests.post(f"{server.address}/auth/token", data=form, timeout=60)


@pytest.mark.parametrize("role", ROLES)
def test_somebody_logs_in_at_the_provider_and_may_what_their_role_may(server, role):
    assert requests.get(f"{server.address}/auth/", timeout=60).json()["enabled"] is True
    token = log_in(server, NAMES[role]).json()["access_token"]
    who = ask(server, token, path="/auth/token/valid").json()
    assert (who["username"], who["roles"]) == (NAMES[role], [role])
    rank = ROLES.index(role)
    for needed, method, path, body in (
        ("annotator", "GET", "/info/", None),
        ("annotator", "GET", "/datastore/", None),
        ("annotator", "GET", "/campaign/status", None),
        ("annotator", "POST", "/activelearning/random", {}),
        ("annotator", "GET", "/train/?all=true", None),
        ("reviewer", "GET", "/campaign/adjudication", None),
        ("reviewer", "GET", "/campaign/audit", None),
        ("reviewer", "POST", "/campaign/readers", {"images": ["P1_transverse.png"], "readers": 2}),
        ("admin", "GET", "/logs/", None),
        ("admin", "GET", "/model/info/nodule", None),
        ("admin", "DELETE", "/train/", None),
        # Refused by its content, once who asks is known to be an admin.
        ("admin", "POST", "/train/nodule", {"epochs": -1}),
    ):
        code = ask(server, token, method, path, json=body).status_code
        if rank < ROLES.index(needed):
            assert code == 403, (role, method, path)
        else:
            assert code == (400 if body == {"epochs": -1} else 404 if path == "/train/?all=true" else 200), path
    status = ask(server, token, path="/campaign/status").json()
    assert status["you"] == {"name": NAMES[role], "reviewer": rank > 0}


def test_a_wrong_password_and_somebody_without_a_role_here_get_nothing(server):
    assert log_in(server, "ann", "wrong").status_code == 401
    assert log_in(server, "nobody", "x").status_code == 401
    # The provider knows them, this server does not.
    token = log_in(server, "eve").json()["access_token"]
    assert ask(server, token).status_code == 401


def test_an_image_is_kept_for_the_name_in_the_token_and_not_what_the_client_says(server, provider):
    token = provider.signed(provider.claims("dora.k", ["monailabel-annotator"]))
    sample = ask(server, token, "POST", "/activelearning/random", json={"client_id": "somebody else"}).json()
    status = ask(server, token, path="/campaign/status").json()
    assert (sample["id"], "dora.k") in {(lease["image"], lease["annotator"]) for lease in status["in_work"]}


def unsigned(claims):
    """A token whose header says that it needs no signature."""
    parts = ({"alg": "none", "typ": "JWT", "kid": "one"}, claims)
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + "."


def signed_with_the_public_key(provider):
    """HS256 with the published key as its secret, for a check that takes the algorithm from the token."""
    public = provider.keys["one"].public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    plain = {"alg": "HS256", "typ": "JWT", "kid": "one"}, provider.claims()
    text = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in plain)
    seal = hmac.new(pem, text.encode(), hashlib.sha256).digest()
    return f"{text}.{base64.urlsafe_b64encode(seal).decode().rstrip('=')}"


FORGERIES = {
    "expired": lambda p: p.signed(p.claims(exp=time.time() - 120)),
    "without an end": lambda p: p.signed(p.claims(exp=None)),
    "not yet good": lambda p: p.signed(p.claims(nbf=time.time() + 600)),
    "for another application": lambda p: p.signed(p.claims(azp="another-app")),
    "for others": lambda p: p.signed(p.claims(azp=None, aud=["account", "another-app"])),
    "for nobody": lambda p: p.signed(p.claims(azp=None)),
    "for nothing that is a name": lambda p: p.signed(p.claims(azp={"a": 1}, aud=[["x"], {"y": 1}])),
    "of another issuer": lambda p: p.signed(p.claims(iss="https://elsewhere.example/realm")),
    "of no issuer": lambda p: p.signed(p.claims(iss=None)),
    "without a role": lambda p: p.signed(p.claims(roles=[])),
    "roles of a strange form": lambda p: p.signed(p.claims(realm_access={"roles": [{"a": 1}, ["monailabel-admin"]]})),
    "a name that is none": lambda p: p.signed(p.claims("../../x")),
    "signed by somebody else": lambda p: p.signed(p.claims(), key=OTHER_KEY),
    "by a key that nobody published": lambda p: p.signed(p.claims(), key=OTHER_KEY, kid="two"),
    "without the key's name": lambda p: jwt.encode(p.claims(), p.keys["one"], algorithm="RS256"),
    "not signed": lambda p: unsigned(p.claims()),
    "signed with the public key as a secret": signed_with_the_public_key,
    "signed with a secret": lambda p: p.signed(p.claims(), key="secret" * 8, algorithm="HS256"),
    "changed": lambda p: p.signed(p.claims())[:-8] + "AAAAAAAA",
    "no token": lambda _: "rubbish",
    "three parts of nothing": lambda _: "a.b.c",
    "much too long": lambda _: "a" * 20_000,
}


@pytest.mark.parametrize("forgery", FORGERIES, ids=list(FORGERIES))
def test_a_token_that_is_not_good_is_refused(server, provider, forgery):
    answer = ask(server, FORGERIES[forgery](provider))
    assert answer.status_code == 401, answer.text
    assert answer.headers["WWW-Authenticate"] == "Bearer" and "\n" not in answer.json()["detail"]
    assert "Traceback" not in server.log.read_text()


def test_a_good_token_for_several_applications_is_good_here(server, provider):
    for claims in ({"azp": None, "aud": "monailabel-app"}, {"azp": "portal", "aud": ["account", "monailabel-app"]}):
        assert ask(server, provider.signed(provider.claims(**claims))).status_code == 200, claims
    # A minute of difference between two clocks is forgiven in part.
    assert ask(server, provider.signed(provider.claims(exp=time.time() - 10))).status_code == 200


def test_nobody_can_make_the_server_ask_the_provider_over_and_over(server, provider):
    before = provider.fetched
    for number in range(20):
        assert ask(server, provider.signed(provider.claims(), key=OTHER_KEY, kid=f"k{number}")).status_code == 401
    assert provider.fetched - before <= 2


def test_those_who_are_known_go_on_while_the_provider_is_away(server, provider):
    token = provider.signed(provider.claims())
    assert ask(server, token).status_code == 200
    with provider.away():
        assert ask(server, token).status_code == 200
        assert log_in(server, "ann").status_code == 401
        assert ask(server, provider.signed(provider.claims(), key=OTHER_KEY, kid="two")).status_code == 401
    assert log_in(server, "ann").status_code == 200


def test_a_provider_that_cannot_be_reached_ends_the_start_with_one_line(simulated_study, tmp_path):
    environment = {"MONAI_LABEL_AUTH_REALM_URI": "http://127.0.0.1:9/realm"}
    server = ServerProcess(simulated_study, tmp_path / "server.log", ["--oidc"], environment=environment)
    with pytest.raises(AssertionError, match="MONAI_LABEL_AUTH_REALM_URI"):
        server.start()
    assert server.process.returncode == 2 and "Traceback" not in server.log.read_text()
