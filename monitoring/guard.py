"""Job: what holds for every request: for whom it is meant, from which page it comes, how large it may be; and the
headers of every answer.

Thread: the page's event loop. Lock: none. Units: s, bytes.

A page of a stranger that is open in the operator's browser can reach this computer. It may neither read (Host: a name
that was turned to our address is not ours; no CORS) nor command (Origin, SameSite cookie, CSRF token).
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from planning.config_values import is_loopback

MOST_BODY = 4096
#: The whole body of a request has to be there within this time.
BODY_S = 10.0

_CONTENT = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": _CONTENT,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_HARMLESS = ("GET", "HEAD", "OPTIONS")
#: Files of the page may be kept by the browser if it asks whether they are still the same; all else is of this moment.
_KEPT = ("/page/",)
#: What is left of a body that is too large is not read.
_CLOSE = {"Connection": "close"}


class Guard:
    """Stands around the whole application."""

    def __init__(self, app: ASGIApp, host: str) -> None:
        """`host`: [Dashboard] host, which says who can reach the page at all."""
        self._app = app
        self._is_ours = names_of(host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(scope["path"], send)
        headers = Headers(scope=scope)
        refused = self._refuse(scope["method"], headers)
        if refused is not None:
            await answer.refuse(*refused)
            return
        await self._app(scope, _Body(receive).receive, answer.send)

    def _refuse(self, method: str, headers: Headers) -> tuple[int, str] | None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_ours(host_name(hosts[0])):
            return 403, "This name does not lead here. Use the address that the station's log names."
        if method not in _HARMLESS and not _same_origin(headers, hosts[0]):
            return 403, "This request comes from another page than the station's own."
        length = headers.get("content-length", "0")
        if not length.isdecimal() or len(length) > 9 or int(length) > MOST_BODY:
            return 413, f"At most {MOST_BODY} bytes are taken."
        return None


class _Body:
    """The request as it comes, up to MOST_BODY and BODY_S."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._ends_s = asyncio.get_running_loop().time() + BODY_S
        self._taken = 0
        self._complete = False

    async def receive(self) -> Message:
        if self._complete:
            return await self._receive()  # whoever waits now waits for the end of the connection
        try:
            async with asyncio.timeout_at(self._ends_s):
                message = await self._receive()
        except TimeoutError:
            raise HTTPException(408, f"The request was not complete within {BODY_S:g} s.", _CLOSE) from None
        self._taken += len(message.get("body", b""))
        if self._taken > MOST_BODY:
            raise HTTPException(413, f"At most {MOST_BODY} bytes are taken.", _CLOSE)
        self._complete = not message.get("more_body", False)
        return message


class _Answer:
    """The answer with our headers on it."""

    def __init__(self, path: str, send: Send) -> None:
        self._path, self._send = path, send

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.update(HEADERS)
            kept = self._path == "/" or self._path.startswith(_KEPT)
            headers.setdefault("Cache-Control", "no-cache" if kept else "no-store")
        await self._send(message)

    async def refuse(self, status: int, sentence: str) -> None:
        body = json.dumps({"detail": sentence}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        if status == 413:
            headers.append((b"connection", b"close"))  # the rest of the body is not read
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})


# --- names ------------------------------------------------------------------------------------------------------------


def host_name(host: str) -> str:
    """The name in a Host header without port and brackets, in small letters; empty when it is none."""
    try:
        return (urlsplit(f"//{host}").hostname or "") if host.isascii() and host.isprintable() else ""
    except ValueError:
        return ""


def names_of(host: str) -> Callable[[str], bool]:
    """Which names in a Host header mean us, when the page is bound to `host`."""
    own = {"localhost", "127.0.0.1", "::1", host.lower()}
    if is_loopback(host):
        return own.__contains__
    machine = socket.gethostname().lower()
    own |= {machine, f"{machine}.local"}
    # nobody can turn an address that is spelled out to another computer
    return lambda name: name in own or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _same_origin(headers: Headers, host: str) -> bool:
    """What the browser says of the page that asks; a program that is no browser says nothing."""
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    return origin is None or _host_of(origin) == host.lower()


def _host_of(origin: str) -> str:
    """Host and port of an Origin; empty for `null` and what is none."""
    scheme, _, rest = origin.lower().partition("://")
    return rest if scheme in ("http", "https") and "/" not in rest else ""
