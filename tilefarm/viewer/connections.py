"""Connections of the page's server that ask for nothing, and how many it can have open."""

from __future__ import annotations

import asyncio
import resource
from contextlib import suppress
from typing import cast

from uvicorn.protocols.http.h11_impl import H11Protocol

IDLE_SECONDS = 10.0
_MOST_OPEN = 65536


class ImpatientProtocol(H11Protocol):
    """Ends a connection that is without a whole request for `IDLE_SECONDS` to twice as long.

    Every process of the machine can reach the port, without the token too; held open without a request,
    connections would else use up the files that this process may open. Streams of events are requests.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to look at it now and then."""
        super().connection_made(transport)
        self._was_idle = False
        self._look_again()

    def connection_lost(self, exc: Exception | None) -> None:
        """Look no more."""
        self._next_look.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        # Annotated as always there, and None before the first request.
        cycle = cast("object | None", self.cycle)
        is_idle = cycle is None or self.cycle.response_complete
        if is_idle and self._was_idle:
            self.transport.close()
            return
        self._was_idle = is_idle
        self._look_again()

    def _look_again(self) -> None:
        self._next_look = self.loop.call_later(IDLE_SECONDS, self._look)


def allow_many_connections() -> None:
    """As many open files as the system lets this process have: often 1024 are the default."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_OPEN if hard == resource.RLIM_INFINITY else min(hard, _MOST_OPEN)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
