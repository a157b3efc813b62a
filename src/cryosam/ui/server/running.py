"""Running the server: its address, start and end."""

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

_PORTS = range(8765, 8785)  # tried if no port is given
_WILDCARDS = ("0.0.0.0", "::")
_PATIENCE = 1  # seconds for open connections when the server ends
_WARMING = 10  # seconds to wait for the warm-up when the server ends


def serve(
    session: Session,
    *,
    token: str,
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
        The session that is shown; it is closed at the end.
    token
        Secret that the address contains. With the same one, a page that is open finds a server that was restarted.
    host
        Address to listen on.
    port
        Port to listen on. None takes the first free one of a fixed list, so that the address often stays the same; 0
        takes any free port.
    opens_browser
        Whether to open the page in a browser.
    command
        Command line as typed, for ``run.json``.
    announce
        Called with the address of the page when it can be opened.

    Raises
    ------
    InputError
        If the server cannot listen on the address.
    """
    listener = _listen(host, port)
    warm_up = threading.Thread(target=session.warm_up, daemon=True, name="warm-up")
    warm_up.start()
    port = int(listener.getsockname()[1])
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
    except KeyboardInterrupt:  # uvicorn raises it again after the shutdown; it is the normal end of a server
        return
    finally:
        session.close()
        listener.close()
        warm_up.join(_WARMING)  # if the interpreter ended during the warm-up, it would abort with a message


class _Server(uvicorn.Server):
    """Ends event streams before it waits for open connections."""

    def __init__(self, config: uvicorn.Config, session: Session) -> None:
        super().__init__(config)
        self._session = session

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Inform every page, then shut down."""
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
    text = reason.strerror if reason is not None else "no port is free"
    raise InputError(f"cannot listen on {host}, port {port}: {text}; choose another --port")


def _names(host: str, port: int) -> list[str]:
    """Return the host names of the server, with the port."""
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
