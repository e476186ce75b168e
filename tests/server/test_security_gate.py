"""Who gets in, what is refused, and that nothing outside the study folder is ever read or written."""

import gzip
import io
import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from server_process import REPOSITORY, ServerProcess

SIZE_LIMIT_MB = 2


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """Tokens of an annotator, a reviewer and an admin, as the command makes them; `file` knows their hashes."""
    file = tmp_path_factory.mktemp("people") / "users.json"
    found = {"file": file}
    for name, role in (("ann", "annotator"), ("rob", "reviewer"), ("ada", "admin")):
        command = ["token", "--name", name, "--role", role, "--tokens", str(file)]
        found[name] = start_command(*command).stdout.strip()
    return found


@pytest.fixture(scope="module")
def guarded(simulated_study, people, tmp_path_factory):
    """A server with users, on all interfaces, with a small limit for uploads."""
    import shutil

    folder = tmp_path_factory.mktemp("guarded")
    study = Path(shutil.copytree(simulated_study, folder / "study"))
    (folder / "secret.png").write_bytes((study / "P1_transverse.png").read_bytes())
    options = ["--host", "0.0.0.0", "--tokens", str(people["file"]), "--largest-upload-mb", str(SIZE_LIMIT_MB)]
    server = ServerProcess(study, folder / "server.log", options).start()
    yield server
    server.stop()


def start_command(*arguments):
    """`python -m server ARGUMENTS`, to its end."""
    command = [sys.executable, "-m", "server", *map(str, arguments)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)


def ask(server, method, path, token=None, **options):
    headers = options.pop("headers", {})
    if token:
        headers["Authorization"] = f"Bearer {token}"
    return requests.request(method, f"{server.address}{path}", headers=headers, timeout=120, **options)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "ward.hospital.example"])
def test_an_address_that_others_reach_needs_users_and_the_refusal_says_how(simulated_study, host):
    run = start_command("--studies", simulated_study, "--host", host)
    assert run.returncode == 2
    assert "--tokens" in run.stderr and "127.0.0.1" in run.stderr and len(run.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--studies", "/nowhere/at/all"], "/nowhere/at/all"),
        ([], "--studies"),
        (["--studies", ".", "--conf", "models", "spleen"], "spleen"),
        (["--studies", ".", "--conf", "colour", "red"], "colour"),
        (["--studies", ".", "--tokens", "/nowhere/users.json"], "users.json"),
    ],
)
def test_a_start_that_cannot_be_ends_with_one_line(arguments, named, tmp_path):
    arguments = [str(tmp_path) if word == "." else word for word in arguments]
    run = start_command(*arguments)
    assert run.returncode == 2, run.stderr
    assert named in run.stderr.strip().splitlines()[-1] and "Traceback" not in run.stderr


def test_without_a_good_token_nothing_is_told(guarded, people):
    paths = ("/info/", "/datastore/", "/datastore/image?image=P1_transverse.png", "/logs/", "/openapi.json", "/train/")
    for path in (*paths, "/campaign/status", "/nothing"):
        assert ask(guarded, "GET", path).status_code == 401, path
        assert ask(guarded, "GET", path, token="x" * 43).status_code == 401, path
    basic = ask(guarded, "GET", "/info/", headers={"Authorization": f"Basic {people['ada']}"})
    assert basic.status_code == 401 and basic.headers["WWW-Authenticate"] == "Bearer"
    assert ask(guarded, "GET", "/auth/").json()["enabled"] is True
    page = ask(guarded, "GET", "/campaign/")
    assert page.status_code == 200 and "P1_transverse" not in page.text


def test_the_token_file_does_not_hold_the_tokens_and_only_its_owner_reads_it(people):
    content = people["file"].read_text()
    assert all(people[name] not in content for name in ("ann", "rob", "ada"))
    assert people["file"].stat().st_mode & 0o077 == 0


def test_roles_are_kept_apart(guarded, people):
    ann, rob, ada = people["ann"], people["rob"], people["ada"]
    assert ask(guarded, "GET", "/datastore/", token=ann).status_code == 200
    for method, path in (
        ("POST", "/train/nodule"),
        ("DELETE", "/train/"),
        ("GET", "/logs/"),
        ("GET", "/model/nodule"),
        ("POST", "/batch/infer/nodule"),
        ("DELETE", "/datastore/image?id=P1_transverse.png"),
        ("DELETE", "/datastore/label?id=P1_transverse.png&tag=final"),
    ):
        for token in (ann, rob):
            assert ask(guarded, method, path, token=token).status_code == 403, path
    for path in ("/campaign/adjudication", "/campaign/audit"):
        assert ask(guarded, "GET", path, token=ann).status_code == 403, path
        assert ask(guarded, "GET", path, token=rob).status_code == 200, path
    assert ask(guarded, "GET", "/logs/", token=ada).status_code == 200
    assert "not a medical device" in ask(guarded, "GET", "/info/", token=ann).text


def test_slicers_plugin_logs_in_with_name_and_token(guarded, people):
    form = {"username": "ann", "password": people["ann"], "grant_type": "password"}
    token = ask(guarded, "POST", "/auth/token", data=form).json()["access_token"]
    who = ask(guarded, "GET", "/auth/token/valid", token=token).json()
    assert (who["username"], who["roles"]) == ("ann", ["annotator"])
    assert ask(guarded, "POST", "/auth/token", data={**form, "username": "ada"}).status_code == 401


def test_the_name_on_a_label_is_the_tokens_and_not_what_the_client_says(guarded, people, tmp_path):
    import SimpleITK as sitk  # noqa: N813

    image = sitk.ReadImage(str(guarded.studies / "P1_transverse.png"))
    path = tmp_path / "label.nrrd"
    sitk.WriteImage(sitk.Cast(image[:, :] > 200, sitk.sitkUInt8), str(path))
    params = {"structures": ["nodule"], "client_id": "somebody else"}
    with path.open("rb") as file:
        answer = ask(
            guarded,
            "PUT",
            "/datastore/label?image=P1_transverse.png",
            token=people["ann"],
            headers={"X-Annotator": "somebody else"},
            files={"label": ("label.nrrd", file)},
            data={"params": json.dumps(params)},
        )
    assert answer.status_code == 200, answer.text
    info = ask(guarded, "GET", "/datastore/label/info?label=P1_transverse.png&tag=final", token=people["ann"]).json()
    assert info["annotator"] == "ann"


TRAVERSALS = (
    "../secret.png",
    "..%2Fsecret.png",
    "P1_transverse.png/../../secret.png",
    "/etc/passwd",
    "file:///etc/passwd",
    "....//secret.png",
    "..\\secret.png",
    ".llnm/logs/server.log",
    "cases.csv",
    "labels/../../secret.png",
    "P1_transverse.png\x00",
    "%00",
    "~/secret.png",
    "http://127.0.0.1:1/x.png",
    "x" * 5000,
)


@pytest.mark.parametrize("name", TRAVERSALS, ids=lambda name: repr(name[:30]))
def test_no_path_leaves_the_study_folder(guarded, people, name):
    token = people["ada"]
    before = snapshot(guarded.studies.parent)
    query = {"image": name}
    answers = [
        ask(guarded, "GET", "/datastore/image", token, params=query),
        ask(guarded, "HEAD", "/datastore/image", token, params=query),
        ask(guarded, "GET", "/datastore/image/info", token, params=query),
        ask(guarded, "PUT", "/datastore/image/info", token, params=query, data={"info": "{}"}),
        ask(guarded, "DELETE", "/datastore/image", token, params={"id": name}),
        ask(guarded, "GET", "/datastore/label", token, params={"label": name, "tag": "final"}),
        ask(guarded, "GET", "/datastore/label", token, params={"label": "P1_transverse.png", "tag": name}),
        ask(guarded, "DELETE", "/datastore/label", token, params={"id": name, "tag": "final"}),
        ask(guarded, "PUT", "/datastore/label", token, params=query, files={"label": ("a.nrrd", b"x")}),
        ask(guarded, "POST", "/infer/nodule", token, params=query, data={"params": "{}"}),
        ask(guarded, "POST", "/infer/nodule", token, params={"session_id": name}, data={"params": "{}"}),
        ask(guarded, "PUT", "/datastore/image", token, params=query, files={"file": ("a.png", b"x")}),
    ]
    assert all(400 <= answer.status_code < 500 for answer in answers), [answer.status_code for answer in answers]
    assert snapshot(guarded.studies.parent) == before


def test_a_path_among_the_parameters_of_inference_is_not_looked_at(guarded, people):
    secret = str(guarded.studies.parent / "secret.png")
    for params in ({"image": secret}, {"file": secret}, {"label": secret}, {"result_extension": "/../../x.png"}):
        query = (
            {"image": "P1_transverse.png", "output": "json"} if "result_extension" in params else {"image": "no.png"}
        )
        answer = ask(guarded, "POST", "/infer/nodule", people["ann"], params=query, data={"params": json.dumps(params)})
        assert answer.status_code == (200 if "result_extension" in params else 404), params
        assert secret not in answer.text


def test_the_name_of_an_upload_is_never_a_path(guarded, people):
    content = (guarded.studies / "P1_transverse.png").read_bytes()
    before = snapshot(guarded.studies.parent)
    for name in ("../../planted.png", "/tmp/planted.png", "labels/final/planted.png", "..\\planted.png", ".hidden.png"):
        answer = ask(guarded, "PUT", "/datastore/image", people["ann"], params={"image": name}, files={"file": content})
        assert answer.status_code in (400, 422), name
    assert snapshot(guarded.studies.parent) == before


def snapshot(folder):
    """Every file but the log and what the server remembers, with its size and time."""
    files = (
        path for path in folder.rglob("*") if path.is_file() and ".llnm" not in path.parts and path.suffix != ".log"
    )
    return {str(path): path.stat().st_mtime_ns for path in files}


def test_a_body_over_the_limit_is_refused_with_and_without_a_length(guarded, people):
    big = b"\0" * ((SIZE_LIMIT_MB << 20) + 1)
    path, token = "/datastore/label?image=P1_transverse.png", people["ann"]
    assert ask(guarded, "PUT", path, token, files={"label": ("a.nrrd", big)}).status_code == 413

    def trickle():
        yield b'--x\r\nContent-Disposition: form-data; name="label"; filename="a.nrrd"\r\n\r\n'
        for start in range(0, len(big), 1 << 16):
            yield big[start : start + (1 << 16)]

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    assert ask(guarded, "PUT", path, token, data=trickle(), headers=headers).status_code == 413
    assert ask(guarded, "POST", "/activelearning/random", token, json={"x": "y" * (2 << 20)}).status_code == 413
    assert ask(guarded, "GET", "/info/", token).status_code == 200


def test_a_label_that_unpacks_to_gigabytes_is_refused_by_its_header(guarded, people):
    import struct

    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, 30000, 30000, 4, 1, 1, 1, 1)
    struct.pack_into("<hh", header, 70, 2, 8)
    struct.pack_into("<8f", header, 76, 1, 1, 1, 1, 1, 1, 1, 1)
    struct.pack_into("<f", header, 108, 352)
    header[344:348] = b"n+1\0"
    packed = gzip.compress(bytes(header) + bytes(1 << 20))
    path = "/datastore/label?image=P1_transverse.png"
    answer = ask(guarded, "PUT", path, people["ann"], files={"label": ("a.nii.gz", packed)})
    assert answer.status_code == 400 and "30000" in answer.json()["detail"]


class Attack:
    """Would write a file if it were unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_a_pickle_from_a_client_is_never_opened(guarded, people, tmp_path):
    attack, token = pickle.dumps(Attack(tmp_path / "opened")), people["ada"]
    for name in ("a.pt", "a.pkl", "a.npy", "a.nrrd", "a.png", "a.nii.gz", "model.pt"):
        for method, path, field in (
            ("PUT", "/datastore/label?image=P1_transverse.png", "label"),
            ("PUT", "/datastore/image?image=new", "file"),
            ("POST", "/infer/nodule", "file"),
            ("PUT", "/model/nodule", "file"),
        ):
            answer = ask(guarded, method, path, token, files={field: (name, io.BytesIO(attack))})
            assert 400 <= answer.status_code < 500, (name, path, answer.status_code)
    assert not (tmp_path / "opened").exists()


@pytest.mark.parametrize(
    ("method", "path", "options"),
    [
        ("PUT", "/datastore/label?image=P1_transverse.png", {"data": b"not multipart"}),
        ("PUT", "/datastore/label?image=P1_transverse.png", {"files": {"label": ("a.nrrd", b"NRRD0004\nrubbish")}}),
        ("PUT", "/datastore/label?image=P1_transverse.png", {"files": {"label": ("a.png", b"\x89PNG\r\n\x1a\n")}}),
        ("PUT", "/datastore/label?image=P1_transverse.png", {"files": {"label": ("a.nrrd", b"")}}),
        ("POST", "/infer/nodule?image=P1_transverse.png", {"data": {"params": "[1,2]"}}),
        ("POST", "/infer/nodule?image=P1_transverse.png", {"data": {"params": "{"}}),
        ("POST", "/infer/interactive?image=P1_transverse.png", {"data": {"params": '{"point": [NaN, 1]}'}}),
        ("POST", "/infer/nodule?image=P1_transverse.png", {"data": {"params": "[" * 100_000}}),
        ("PUT", "/datastore/image/info?image=P1_transverse.png", {"data": {"info": '{"note": "\\ud800"}'}}),
        ("PUT", "/datastore/image/info?image=P1_transverse.png", {"data": {"info": '{"note": 1e999}'}}),
        ("POST", "/infer/spleen?image=P1_transverse.png", {"data": {"params": "{}"}}),
        ("POST", "/infer/nodule", {"data": {"params": "{}"}}),
        ("POST", "/activelearning/none", {"json": {}}),
        ("POST", "/activelearning/random", {"data": "{"}),
        ("POST", "/train/nodule", {"json": {"epochs": "many"}}),
        ("POST", "/train/nodule", {"json": {"epochs": 10**9}}),
        ("POST", "/train/spleen", {"json": {}}),
        ("POST", "/scoring/none", {"json": {}}),
        ("GET", "/logs/?lines=-1", {}),
        ("GET", "/session/..%2F..%2Fx", {}),
    ],
)
def test_malformed_requests_are_refused_and_the_server_stays(guarded, people, method, path, options):
    answer = ask(guarded, method, path, people["ada"], **options)
    assert 400 <= answer.status_code < 500, answer.text
    assert isinstance(answer.json()["detail"], str | list)


def test_pages_of_other_sites_get_nothing(guarded, people):
    token = people["ann"]
    own = ask(guarded, "GET", "/info/", token)
    assert not [name for name in own.headers if name.lower().startswith("access-control")]
    assert ask(guarded, "GET", "/info/", token, headers={"Origin": "https://evil.example"}).status_code == 403
    assert ask(guarded, "GET", "/info/", token, headers={"Origin": "null"}).status_code == 403
    assert ask(guarded, "GET", "/info/", token, headers={"Host": "evil.example"}).status_code == 421
    preflight = {"Origin": "https://evil.example", "Access-Control-Request-Method": "PUT"}
    assert ask(guarded, "OPTIONS", "/info/", headers=preflight).status_code == 403


@pytest.mark.parametrize("path", ["/proxy/dicom/wado/x", "/ohif/", "/infer/wsi/nodule", "/reload", "/static/x"])
def test_what_monailabel_offers_and_nobody_here_needs_is_not_there(guarded, people, path):
    method = "POST" if "infer" in path or path == "/reload" else "GET"
    assert ask(guarded, method, path, people["ada"], json={}).status_code in (404, 405)
