"""Servers on loopback that answer in a cluster's place, whatever a test has them say."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

VERSION = b'{"ray_version": "2.60.0"}'

Reply = tuple[int, dict[str, str], bytes]
"""Code, headers, body."""


@dataclass
class Stranger:
    """A server on loopback that answers a path as it is told to, and notes who asked with what."""

    address: str = ""
    replies: dict[str, Reply] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    """Paths and tokens."""


@contextmanager
def strangers() -> Iterator[Callable[[], Stranger]]:
    """Makes servers."""
    running: list[tuple[http.server.ThreadingHTTPServer, threading.Thread]] = []

    def make() -> Stranger:
        stranger = Stranger(replies={"/api/version": (200, {}, VERSION)})

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                stranger.asked.append((path, self.headers["Authorization"]))
                code, headers, body = stranger.replies.get(path, (404, {}, b""))
                self.send_response(code)
                for name, value in ({"Content-Length": str(len(body))} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        running.append((server, thread))
        stranger.address = f"http://127.0.0.1:{server.server_port}"
        return stranger

    try:
        yield make
    finally:
        for server, thread in running:
            server.shutdown()
            thread.join()
            server.server_close()
