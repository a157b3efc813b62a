"""The server as a process: where it listens, and what it prints."""

import secrets
import socket
import threading
import webbrowser
from collections.abc import Callable

import uvicorn

from cryosam.errors import InputError
from cryosam.ui.server.app import make_app
from cryosam.ui.session import Session

__all__ = ["LOCAL", "is_local", "serve"]

LOCAL = "127.0.0.1"

_PORTS = range(8765, 8785)  # that are tried where none is asked for
_WILDCARDS = ("0.0.0.0", "::")
_PATIENCE = 1  # seconds for open connections when the server ends
_WARMING = 10  # seconds for what the first click needs, when the server ends


def serve(
    session: Session,
    *,
    host: str = LOCAL,
    port: int | None = None,
    opens_browser: bool = True,
    command: str = "",
    announce: Callable[[str], None] = print,
) -> None:
    """Serve a session until it is interrupted.

    Parameters
    ----------
    session
        What is shown; it is closed at the end.
    host
        Address to listen at.
    port
        To listen at; None takes the first free one of a few, so that an address can be kept, 0 any.
    opens_browser
        Whether to open the page.
    command
        That was typed, for ``run.json``.
    announce
        Given the page's address once it can be opened.

    Raises
    ------
    InputError
        If the address cannot be listened at.
    """
    listener = _listen(host, port)
    warm_up = threading.Thread(target=session.warm_up, daemon=True, name="warm-up")
    warm_up.start()
    port = int(listener.getsockname()[1])
    token = secrets.token_urlsafe(24)
    app = make_app(session, token=token, hosts=_names(host, port), command=command)
    shown = _bracketed(LOCAL if host in _WILDCARDS else host)
    address = f"http://{shown}:{port}/?token={token}"
    settings = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=_PATIENCE
    )
    announce(address)
    if opens_browser:
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
    try:
        _Server(settings, session).run(sockets=[listener])
    except KeyboardInterrupt:  # uvicorn raises it again once it has ended; it is how a server is meant to end
        return
    finally:
        session.close()
        listener.close()
        warm_up.join(_WARMING)  # an interpreter that ends beneath it would be aborted, with a message


class _Server(uvicorn.Server):
    """Ends streams of events before it waits for open connections."""

    def __init__(self, config: uvicorn.Config, session: Session) -> None:
        super().__init__(config)
        self._session = session

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Say so to every page, then end."""
        self._session.say_farewell()
        await super().shutdown(sockets)


def is_local(host: str) -> bool:
    """Whether only this machine can reach an address."""
    return host in ("localhost", "::1") or host.startswith("127.")


def _listen(host: str, port: int | None) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    reason: OSError | None = None
    for candidate in (*_PORTS, 0) if port is None else (port,):
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, candidate))
            listener.listen(128)
        except OSError as error:
            listener.close()
            reason = error
            continue
        return listener
    said = reason.strerror if reason is not None else "no port is free"
    raise InputError(f"cannot listen at {host}, port {port}: {said}; choose another --port")


def _names(host: str, port: int) -> list[str]:
    """Under which the server is asked, with the port."""
    names = {LOCAL, "localhost", _bracketed(host)} - {_bracketed(wildcard) for wildcard in _WILDCARDS}
    if host in _WILDCARDS:
        names |= {socket.gethostname(), socket.getfqdn(), *_own_addresses()}
    return [f"{name}:{port}" for name in names]


def _own_addresses() -> list[str]:
    try:
        return socket.gethostbyname_ex(socket.gethostname())[2]
    except OSError:
        return []


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
