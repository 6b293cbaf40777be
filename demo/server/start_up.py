"""Before the page is built: places that can be written, a free port, and the environment that gradio reads."""

import errno
import os
import socket
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from demo.settings import FIRST_PORT, Settings
from valm_core.corrections.database import may_hold_corrections

PORTS_TRIED = 100
LOOPBACK = ("127.0.0.1", "localhost", "::1")
PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy")  # read in capitals too


def check_places(settings: Settings) -> None:
    """Make sure that folders can be written and nothing else lies among uploads, before anything is loaded. Raises
    ValueError."""
    _keep_apart(settings)
    places = {"GRADIO_TEMP_DIR": settings.temp_dir and Path(settings.temp_dir)}
    if settings.feedback:
        database = Path(settings.feedback).resolve()
        if database.is_dir():
            raise ValueError(f"VALM_FEEDBACK is {settings.feedback!r}, a folder. Name a file in it.")
        places["VALM_FEEDBACK"] = database.parent
        if database.is_file() and not may_hold_corrections(database):
            raise ValueError(
                f"VALM_FEEDBACK is {settings.feedback!r}, which is no database of corrections. Name another file."
            )
    for name, folder in places.items():
        if folder:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                tempfile.TemporaryFile(dir=folder).close()
            except OSError as error:
                reason = error.strerror or error
                raise ValueError(f"{name}: the folder {folder} can't be written ({reason}). Name another.") from error


def _keep_apart(settings: Settings) -> None:
    """Refuse what isn't for visitors among their uploads, which anyone may fetch who knows a file's name, and uploads
    among photos that every visitor may find. Raises ValueError."""
    if not settings.temp_dir:  # then it is a new folder of its own
        return
    uploads = Path(settings.temp_dir).resolve()
    own = {
        "VALM_FEEDBACK": settings.feedback,
        "VALM_COLLECTION": settings.collection,
        "VALM_COLLECTION_INDEX": settings.collection_index,
    }
    for name, place in own.items():
        if place and Path(place).resolve().is_relative_to(uploads):
            raise ValueError(
                f"{name} is {place!r}, which lies in GRADIO_TEMP_DIR, {settings.temp_dir!r}: files there can be "
                "downloaded by visitors. Name a place outside of it."
            )
    if settings.collection and uploads.is_relative_to(Path(settings.collection).resolve()):
        raise ValueError(
            f"GRADIO_TEMP_DIR is {settings.temp_dir!r}, which lies in VALM_COLLECTION, {settings.collection!r}: every "
            "visitor could find the others' uploads. Name a place outside of it."
        )


def free_port(settings: Settings) -> int:
    """The port to serve on, found free.

    Raises:
        ValueError: the address is none of this machine's, or the port can't be had.
    """
    wanted = [settings.server_port] if settings.server_port else range(FIRST_PORT, FIRST_PORT + PORTS_TRIED)
    for port in wanted:
        try:
            for name in {settings.address, LOOPBACK[0]}:  # gradio itself tries the latter
                _bind(name, port)
        except (OSError, UnicodeError) as error:  # the latter of a name that no address can have
            if isinstance(error, UnicodeError | socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
                raise ValueError(
                    f"GRADIO_SERVER_NAME is {settings.address!r}, which is no address of this machine. "
                    "Use 127.0.0.1, ::1, 0.0.0.0 or another address of it."
                ) from error
            if error.errno != errno.EADDRINUSE or settings.server_port:
                used = "in use" if error.errno == errno.EADDRINUSE else f"not to be had ({error.strerror or error})"
                raise ValueError(f"GRADIO_SERVER_PORT is {port}, which is {used}. Set another.") from error
        else:
            return port
    raise ValueError(f"The ports {wanted[0]} to {wanted[-1]} are all in use. Set GRADIO_SERVER_PORT to a free one.")


def bind_address(address: str) -> str:
    """An address as gradio takes it, and as it stands before ``:PORT``: IPv6 in brackets."""
    return f"[{address}]" if ":" in address else address


def _bind(name: str, port: int) -> None:
    """Take a port and give it back. Raises OSError."""
    family, kind, _, _, address = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind) as tried:
        if os.name == "posix":  # elsewhere the option would let two servers share a port
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tried.bind(address)


def prepare_environment(settings: Settings) -> None:
    """Set what gradio, uvicorn and the hub's client read out of the environment; call it before gradio is imported."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = str(settings.analytics)
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.pop("GRADIO_SERVER_NAME", None)  # launch gets it; from here gradio takes only IPv4 addresses
    if not settings.trusted_proxies:
        # uvicorn believes X-Forwarded-For of everybody on this machine; the guard counts who really connected.
        os.environ.setdefault("FORWARDED_ALLOW_IPS", "")
    keep_proxies_out(settings.address)


def keep_proxies_out(address: str) -> None:
    """Tell HTTP clients that this machine is reached without the environment's proxies: gradio asks its own page.

    A SOCKS proxy is passed over where the package for it is missing, since clients would fail on any address.
    """
    names = [name for lower in PROXY_VARIABLES for name in (lower, lower.upper()) if os.environ.get(name)]
    for name in names:
        if os.environ[name].lower().startswith("socks") and find_spec("socksio") is None:
            print(f"{name} is passed over: SOCKS needs the package socksio (pip install socksio).", file=sys.stderr)
            del os.environ[name]
    if not names:  # with no_proxy alone, the system's own proxies would no longer be asked for
        return
    before = (os.environ.get("no_proxy", "") + "," + os.environ.get("NO_PROXY", "")).split(",")
    direct = dict.fromkeys(filter(None, [*map(str.strip, before), *LOOPBACK, address]))
    for name in ("no_proxy", "NO_PROXY"):
        os.environ[name] = ",".join(direct)
