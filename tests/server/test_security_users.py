"""Users of a token file and of an OpenID Connect provider (a real one of our own, with real signatures)."""

import time

import jwt
import pytest
from lib.security.gate import needed_role
from lib.security.users import TokenUsers, User, add_user
from openid_provider import OpenIdProvider, new_key

from llnm.errors import InputError

OTHER_KEY = new_key()


@pytest.fixture
def provider():
    """A provider that publishes one key."""
    provider = OpenIdProvider()
    yield provider
    provider.stop()


@pytest.fixture
def users(provider, monkeypatch):
    from lib.security.oidc import OpenIdUsers
    from monailabel.config import settings

    monkeypatch.setattr(settings, "MONAI_LABEL_AUTH_REALM_URI", provider.realm)
    return OpenIdUsers()


def test_a_good_token_gives_the_name_and_the_highest_role(users, provider):
    assert users.user(provider.signed(provider.claims())) == User("rob", "reviewer")


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
    assert users.user(provider.signed(provider.claims(**changes))) is None


def test_a_token_signed_by_somebody_else_or_not_at_all_is_nobodys(users, provider):
    assert users.user(provider.signed(provider.claims(), key=OTHER_KEY)) is None
    assert users.user(provider.signed(provider.claims(), kid="two")) is None
    assert users.user(jwt.encode(provider.claims(), None, algorithm="none", headers={"kid": "one"})) is None
    assert users.user(jwt.encode(provider.claims(), "secret" * 8, algorithm="HS256", headers={"kid": "one"})) is None
    assert users.user("rubbish") is None


def test_a_key_that_the_provider_withdraws_is_soon_forgotten_and_its_new_one_known(users, provider):
    old = provider.signed(provider.claims())
    assert users.user(old) == User("rob", "reviewer")
    provider.keys = {"two": OTHER_KEY}
    users.keys.jwk_set_cache = type(users.keys.jwk_set_cache)(0.01)  # else five minutes
    time.sleep(0.05)
    assert users.user(provider.signed(provider.claims(), key=OTHER_KEY, kid="two")) == User("rob", "reviewer")
    assert users.user(old) is None


def test_monailabels_own_check_would_refuse_every_token(users, provider, monkeypatch):
    """Why there is a check of our own; once this fails, theirs can be used."""
    from cryptography.hazmat.primitives import serialization
    from monailabel.config import settings
    from monailabel.endpoints.user import auth

    public = (
        provider.keys["one"]
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )
    monkeypatch.setattr(settings, "MONAI_LABEL_AUTH_ENABLE", True)
    monkeypatch.setattr(auth, "get_public_key", lambda _: public)
    with pytest.raises(jwt.DecodeError):
        auth.from_token(provider.signed(provider.claims()))


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
