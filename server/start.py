"""The start command: checks that it is safe to listen where it is asked to, then serves.

Comes in: options. Goes out: a running server, or one line that says what to do. MONAILabel's own start command listens
on all interfaces without authentication and with CORS open; this one listens on loopback, and elsewhere only with
authentication. Nothing is downloaded.
"""

from __future__ import annotations

import argparse
import hashlib
import ipaddress
import json
import logging
import logging.handlers
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.configs import ABOUT, read_conf

from llnm.errors import InputError, LLNMError

if TYPE_CHECKING:
    from lib.api.system import Login
    from lib.security.users import Authenticator
    from main import LLNMApp

HERE = Path(__file__).resolve().parent
LOG_BYTES, LOG_FILES = 10 << 20, 5
MEGABYTE = 1 << 20


def arguments() -> argparse.ArgumentParser:
    """The options, with `--conf NAME VALUE` as MONAILabel has it."""
    parser = argparse.ArgumentParser("python -m server", description=__doc__, epilog=ABOUT)
    commands = parser.add_subparsers(dest="command", metavar="[token]")
    add = parser.add_argument
    add("--studies", metavar="DIR_OR_URL", help="folder with the images, or the address of a DICOMweb service")
    add("--host", default="127.0.0.1", help="address to listen on")
    add("--port", default=8000, type=int, help="port to listen on")
    add(
        "--conf", nargs=2, action="append", metavar=("NAME", "VALUE"), help="models, epochs, structure, ... (README.md)"
    )
    add("--state", type=Path, metavar="DIR", help="what the server remembers; STUDIES/.llnm else")
    add("--tokens", type=Path, metavar="FILE", help="users by token; see: python -m server token --help")
    add("--oidc", action="store_true", help="users of an OpenID Connect provider (MONAI_LABEL_AUTH_*)")
    add("--allowed-host", action="append", default=[], metavar="NAME", help="name under which clients reach the server")
    add("--largest-upload-mb", type=int, default=256, metavar="MB", help="limit of an upload")
    add("--ssl-keyfile", metavar="FILE", help="private key, for HTTPS")
    add("--ssl-certfile", metavar="FILE", help="certificate, for HTTPS")
    token = commands.add_parser("token", help="give a user a (new) token: printed once, kept as a hash")
    token.add_argument("--name", required=True, help="the user's name; labels are kept under it")
    token.add_argument("--tokens", required=True, type=Path, metavar="FILE", help="token file; made if it is new")
    token.add_argument("--role", default="annotator", help="annotator, reviewer or admin")
    return parser


def serve(options: argparse.Namespace) -> None:
    """Start the annotation server. Raises InputError for options that cannot be used together."""
    if options.studies is None:
        raise InputError("--studies: none given; give the folder with the images, or a DICOMweb address")
    check_listening(options.host, has_users=bool(options.tokens or options.oidc), has_tls=bool(options.ssl_certfile))
    state = state_folder(options.studies, options.state)
    read_conf(dict(options.conf or ()))  # before anything heavy is loaded
    prepare(options.studies, state, dict(options.conf or ()), options.port)
    authenticator, login = users(options.tokens, options.oidc)
    from lib.api import create_application
    from lib.security.gate import LOOPBACK_HOSTS, Gate, Limits

    web = Gate(
        create_application(open_app(), login),
        authenticator=authenticator,
        hosts=(*LOOPBACK_HOSTS, *options.allowed_host, options.host),
        limits=Limits(options.largest_upload_mb * MEGABYTE),
    )
    import uvicorn

    uvicorn.run(
        web,
        host=options.host,
        port=options.port,
        log_config=None,
        access_log=False,
        server_header=False,
        ssl_keyfile=options.ssl_keyfile,
        ssl_certfile=options.ssl_certfile,
    )


def check_listening(host: str, *, has_users: bool, has_tls: bool) -> None:
    """Raises InputError for an address that others reach where nobody would be asked who they are."""
    if _is_loopback(host):
        return
    if not has_users:
        raise InputError(
            f"--host {host}: others can reach this address, so they must prove who they are; make tokens with "
            "'python -m server token --name NAME --tokens users.json' and add '--tokens users.json', or use --oidc, "
            "or listen on 127.0.0.1"
        )
    if not has_tls:
        print(
            f"warning: --host {host} without --ssl-certfile: tokens and images travel unencrypted; "
            "put a proxy with HTTPS in front, or give a certificate",
            file=sys.stderr,
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_any(host: str) -> bool:
    return host in {"0.0.0.0", "::"}


def state_folder(studies: str, state: Path | None) -> Path:
    """Where the server remembers things; raises InputError for a study folder that is not there."""
    if studies.startswith(("http://", "https://")):
        digest = hashlib.sha256(studies.rstrip("/").encode()).hexdigest()[:16]
        return (state or Path.home() / ".cache" / "llnm-server" / digest).absolute()
    if not Path(studies).is_dir():
        raise InputError(f"--studies {studies}: there is no such folder; give the one that holds the images")
    return (state or Path(studies) / ".llnm").absolute()


def prepare(studies: str, state: Path, conf: dict[str, str], port: int) -> None:
    """Settings of MONAILabel, for this process and, by the environment, for those that training runs in."""
    try:
        _log_to(state / "logs" / "server.log")
    except OSError as error:
        raise InputError(f"--state {state}: cannot be written ({error.strerror}); choose another place") from error
    os.environ["MONAI_LABEL_RELOAD_APP_LIB"] = "false"  # `lib` must be one package, not two
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from monailabel.config import settings

    settings.MONAI_LABEL_APP_DIR = str(HERE)
    settings.MONAI_LABEL_STUDIES = studies if "://" in studies else str(Path(studies).resolve())
    settings.MONAI_LABEL_APP_CONF = {**conf, "state": str(state)}
    settings.MONAI_LABEL_SERVER_PORT = port
    settings.MONAI_LABEL_AUTO_UPDATE_SCORING = False
    settings.MONAI_LABEL_SESSIONS = False
    settings.MONAI_LABEL_INFER_CONCURRENCY = 1
    if "MONAI_LABEL_DICOMWEB_SEARCH_FILTER" not in os.environ:
        settings.MONAI_LABEL_DICOMWEB_SEARCH_FILTER = {"Modality": "US"}  # MONAILabel would show CT alone
    for name, value in settings.model_dump().items():
        if value is not None:
            os.environ[name] = json.dumps(value) if isinstance(value, list | dict) else str(value)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH"))))


def _log_to(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    to_file = logging.handlers.RotatingFileHandler(file, maxBytes=LOG_BYTES, backupCount=LOG_FILES, encoding="utf-8")
    logging.basicConfig(level=logging.INFO, format=form, handlers=[to_file, logging.StreamHandler()], force=True)


def users(tokens: Path | None, oidc: bool) -> tuple[Authenticator | None, Login | None]:
    """Who tells users by their tokens, and how clients get one; both None where nobody is asked."""
    if tokens is not None and oidc:
        raise InputError("--tokens, --oidc: both are given; give one")
    if tokens is not None:
        from lib.security.users import TokenUsers

        known = TokenUsers(tokens)

        def login(name: str, password: str) -> Mapping[str, Any] | None:
            user = known.user(password)
            return {"access_token": password} if user is not None and user.name == name else None

        return known, login
    if oidc:
        from lib.security.oidc import OpenIdUsers

        provider = OpenIdUsers()
        return provider, provider.token
    return None, None


def open_app() -> LLNMApp:
    """The app, loaded as MONAILabel does."""
    from monailabel.interfaces.utils.app import app_instance

    return app_instance()


def cli() -> None:
    """The command line: failures are one line and an exit code."""
    options = arguments().parse_args()
    try:
        if options.command == "token":
            from lib.security.users import add_user

            print(add_user(options.tokens, options.name, options.role))
        else:
            serve(options)
            # All is closed and on the disk; taking PyTorch apart, module by module, would only keep the user waiting.
            logging.shutdown()
            sys.stdout.flush()
            os._exit(0)
    except LLNMError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
