"""Who may ask a watch page's server, and what every answer says to the browser."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HOSTS = ("127.0.0.1", "localhost", "[::1]")
"""What a browser calls this server, on this machine or through an SSH tunnel. Another name is that of a page
that has its own name lead here (DNS rebinding)."""
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-frame-options": "DENY",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
}


class Guard:
    """Lets through what knows the token, as if the path began behind it; all else gets an empty answer."""

    def __init__(self, app: App, token: str) -> None:
        self._app = app
        self._begin = f"/{token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        send = _with_headers(send)
        host = _header(scope, b"host")
        if host is None or not is_local(host) or not is_same_origin(_header(scope, b"origin", b""), host):
            await _empty(send, 403)
            return
        path = scope["path"].encode("utf-8", "surrogateescape")
        begin, rest = path[: len(self._begin)], path[len(self._begin) :]
        is_known = hmac.compare_digest(begin, self._begin)
        if is_known and not rest and scope["method"] in ("GET", "HEAD"):
            await _empty(send, 308, (b"location", self._begin + b"/"))  # typed without the last slash
            return
        if not is_known or not rest.startswith(b"/"):
            await _empty(send, 404)
            return
        if scope["method"] == "POST" and _header(scope, b"x-tilefarm") != b"1":
            await _empty(send, 403)  # a form of another page cannot set a header
            return
        inner = rest.decode("utf-8", "surrogateescape")
        await self._app({**scope, "path": inner, "raw_path": inner.encode("utf-8", "replace")}, receive, send)


def is_same_origin(origin: bytes | None, host: bytes) -> bool:
    """Whether an Origin header is that of this server's own page, under the name of the Host header.

    Empty: there is none, as in a browser's plain requests; None: there are several. Through a proxy the page
    may have come by https.
    """
    if origin is None:
        return False
    return not origin or origin.lower() in (b"http://" + host.lower(), b"https://" + host.lower())


def is_local(host: bytes) -> bool:
    """Whether a Host header names this machine as seen from itself, with any port."""
    text = host.decode("latin-1").lower()
    name, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal():
        name = text
    return name in HOSTS


def _header(scope: Scope, name: bytes, absent: bytes | None = None) -> bytes | None:
    """A header that is there once; `absent` where it is not there, None where it is there more often."""
    found = [value for key, value in scope["headers"] if key.lower() == name]
    return found[0] if len(found) == 1 else None if found else absent


def _with_headers(send: Send) -> Send:
    async def sent(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            own = list(message.get("headers", []))
            names = {key.lower() for key, _ in own}
            more = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
            message["headers"] = [*own, *((key, value) for key, value in more if key not in names)]
        await send(message)

    return sent


async def _empty(send: Send, status: int, *more: tuple[bytes, bytes]) -> None:
    headers = [(b"content-length", b"0"), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
