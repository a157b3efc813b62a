"""Access control: only a browser that has the token may send requests, and only to the own name of the server.

Other pages in the same browser can make it send requests to this server too. They are stopped by the cookie, which the
browser does not send for them (``SameSite=Strict``), and by the checks of ``Host`` (for a foreign name that points to
this server) and ``Origin`` (for a foreign page).
"""

import secrets
from collections.abc import Awaitable, Callable, Collection
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Guard"]

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; object-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_LOCKED = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="color-scheme" content="dark">
<title>CryoSAM</title><main><h1>This page needs the complete address</h1>
<p>Open the address that <code>cryosam serve</code> printed when it started, including everything after
<code>?token=</code>. It changes each time the command starts.</p></main></html>"""


class Guard:
    """Passes on requests that have the token; every other request gets an error.

    Parameters
    ----------
    app
        The protected application.
    token
        Secret of this run.
    hosts
        Host names with port of the server, such as ``127.0.0.1:8000``.
    """

    def __init__(self, app: ASGIApp, *, token: str, hosts: Collection[str]) -> None:
        self._app, self._token = app, token
        self._hosts = {host.lower() for host in hosts}
        self._origins = {f"http://{host}" for host in self._hosts}
        port = next(iter(self._hosts)).rpartition(":")[2]
        self.cookie = f"cryosam-{port}"  # cookies do not depend on the port, and two servers may run

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it to the application."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        answer = self._answer(scope)
        await (answer or self._app)(scope, receive, _with_headers(send, is_api=scope["path"].startswith("/api/")))

    def _answer(self, scope: Scope) -> Response | None:
        """Return the answer to a request that is refused or brings the token; None if it may pass."""
        headers = Headers(scope=scope)
        if len(headers.getlist("host")) != 1 or headers["host"].lower() not in self._hosts:
            return _refuse(
                403, "This server does not accept requests under that name; use the address that it printed."
            )
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in self._origins:
            return _refuse(403, "The request came from a page of another site and was refused.")
        if scope["path"] == "/" and scope["method"] == "GET":
            given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
            if given and self._is_token(given[0]):
                answer = RedirectResponse("/", status_code=303)
                answer.set_cookie(self.cookie, self._token, httponly=True, samesite="strict", path="/")
                return answer
        if self._is_known(headers):
            return None
        if scope["path"] == "/":
            return HTMLResponse(_LOCKED, status_code=401)
        return _refuse(401, "The token is missing or wrong; open the address that cryosam serve printed.")

    def _is_known(self, headers: Headers) -> bool:
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._is_token(bearer.strip()):
            return True
        cookies: SimpleCookie = SimpleCookie()
        try:
            cookies.load(headers.get("cookie", ""))
        except CookieError:
            return False
        return self.cookie in cookies and self._is_token(cookies[self.cookie].value)

    def _is_token(self, given: str) -> bool:
        return secrets.compare_digest(given.encode(), self._token.encode())


def _refuse(status: int, detail: str) -> Response:
    return JSONResponse({"detail": detail}, status_code=status)


def _with_headers(send: Send, *, is_api: bool) -> Callable[[Message], Awaitable[None]]:
    """Add headers that tell the browser to run only files of the page, and not to store data."""

    async def send_with(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
            if is_api:
                headers["Cache-Control"] = "no-store"
            else:
                headers.setdefault("Cache-Control", "no-cache")
        await send(message)

    return send_with
