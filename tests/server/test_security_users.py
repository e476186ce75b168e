"""Users of a token file and of an OpenID Connect provider (a real one of our own, with real signatures)."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from lib.security.gate import needed_role
from lib.security.users import TokenUsers, User, add_user

from llnm.errors import InputError

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(scope="module")
def provider():
    """Address of a provider that publishes KEY."""
    public = {
        **json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key())),
        "kid": "one",
        "use": "sig",
        "alg": "RS256",
    }

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self):
            documents = {
                "/realm/.well-known/openid-configuration": {
                    "issuer": f"{address}/realm",
                    "jwks_uri": f"{address}/keys",
                    "token_endpoint": f"{address}/token",
                },
                "/keys": {"keys": [public]},
            }
            body = json.dumps(documents.get(self.path, {})).encode()
            self.send_response(200 if self.path in documents else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield address
    server.shutdown()


@pytest.fixture
def users(provider, monkeypatch):
    from lib.security.oidc import OpenIdUsers
    from monailabel.config import settings

    monkeypatch.setattr(settings, "MONAI_LABEL_AUTH_REALM_URI", f"{provider}/realm")
    return OpenIdUsers()


def claims(provider, **changes):
    """Claims as Keycloak has them."""
    good = {
        "iss": f"{provider}/realm",
        "azp": "monailabel-app",
        "exp": time.time() + 300,
        "preferred_username": "rob",
        "realm_access": {"roles": ["offline_access", "monailabel-reviewer", "monailabel-annotator"]},
    }
    return {**good, **changes}


def signed(values, key=KEY, algorithm="RS256", kid="one"):
    return jwt.encode(values, key, algorithm=algorithm, headers={"kid": kid})


def test_a_good_token_gives_the_name_and_the_highest_role(users, provider):
    assert users.user(signed(claims(provider))) == User("rob", "reviewer")


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": 1},
        {"iss": "https://elsewhere.example"},
        {"azp": "another-app"},
        {"realm_access": {"roles": ["offline_access"]}},
        {"realm_access": None},
        {"realm_access": ["monailabel-admin"]},
        {"preferred_username": "../../x"},
        {"preferred_username": ""},
    ],
)
def test_a_token_that_is_old_or_for_others_or_without_a_role_is_nobodys(users, provider, changes):
    assert users.user(signed(claims(provider, **changes))) is None


def test_a_token_signed_by_somebody_else_or_not_at_all_is_nobodys(users, provider):
    assert users.user(signed(claims(provider), key=OTHER_KEY)) is None
    assert users.user(signed(claims(provider), kid="two")) is None
    assert users.user(jwt.encode(claims(provider), None, algorithm="none", headers={"kid": "one"})) is None
    assert users.user(jwt.encode(claims(provider), "secret" * 8, algorithm="HS256", headers={"kid": "one"})) is None
    assert users.user("rubbish") is None


def test_monailabels_own_check_would_refuse_every_token(users, provider, monkeypatch):
    """Why there is a check of our own; once this fails, theirs can be used."""
    from cryptography.hazmat.primitives import serialization
    from monailabel.config import settings
    from monailabel.endpoints.user import auth

    public = (
        KEY.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )
    monkeypatch.setattr(settings, "MONAI_LABEL_AUTH_ENABLE", True)
    monkeypatch.setattr(auth, "get_public_key", lambda _: public)
    with pytest.raises(jwt.DecodeError):
        auth.from_token(signed(claims(provider)))


def test_a_provider_that_does_not_answer_is_named(monkeypatch):
    from lib.security.oidc import OpenIdUsers
    from monailabel.config import settings

    monkeypatch.setattr(settings, "MONAI_LABEL_AUTH_REALM_URI", "http://127.0.0.1:9/realm")
    with pytest.raises(InputError, match="MONAI_LABEL_AUTH_REALM_URI"):
        OpenIdUsers()


def test_a_new_token_takes_the_place_of_the_old_one_at_once(tmp_path):
    file = tmp_path / "users.json"
    first = add_user(file, "ann", "annotator")
    users = TokenUsers(file)
    assert users.user(first) == User("ann", "annotator")
    time.sleep(0.01)
    second = add_user(file, "ann", "reviewer")
    assert users.user(first) is None and users.user(second) == User("ann", "reviewer")
    assert users.user("") is None and users.user("\udcff") is None


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"users": [{"name": "a"}]}', '{"users": []}', "{"])
def test_a_token_file_without_users_is_refused(tmp_path, content):
    (tmp_path / "users.json").write_text(content)
    with pytest.raises(InputError, match=r"users\.json"):
        TokenUsers(tmp_path / "users.json")


@pytest.mark.parametrize(("name", "role"), [("../x", "admin"), ("", "admin"), ("a b", "admin"), ("a", "king")])
def test_names_and_roles_that_cannot_be_are_refused(tmp_path, name, role):
    with pytest.raises(InputError):
        add_user(tmp_path / "users.json", name, role)


def test_who_may_draw_may_not_remove_train_or_read_the_log():
    for method, path in (
        ("POST", "/train/nodule"),
        ("DELETE", "/datastore/label"),
        ("GET", "/logs/"),
        ("GET", "/model/nodule"),
        ("POST", "/batch/infer/nodule"),
    ):
        assert needed_role(method, path) == "admin"
    for method, path in (("GET", "/train/"), ("PUT", "/datastore/label"), ("POST", "/infer/nodule"), ("GET", "/info/")):
        assert needed_role(method, path) == "annotator"
    assert User("a", "admin").may("reviewer") and not User("a", "annotator").may("reviewer")
