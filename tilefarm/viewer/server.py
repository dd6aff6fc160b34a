"""The watch page's server: its routes, and how it runs."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tilefarm.errors import JobError
from tilefarm.viewer.connections import ImpatientProtocol
from tilefarm.viewer.guard import App, Guard
from tilefarm.viewer.watched import Watched

ADDRESS = "127.0.0.1"
STATIC = Path(__file__).with_name("static")
TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8"} | {
    ".js": "text/javascript; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
LOOK_SECONDS = 1.0
ALIVE_SECONDS = 15.0
_GLANCES = 5
"""At whether the server ends, between two looks: it waits a second for its streams to come to their end."""
_PLACE = re.compile(r"(\d{1,2})/(\d{1,7})_(\d{1,7})\.jpg")
_KEPT = {"cache-control": "private, max-age=3600"}


def make_app(watched: Watched, token: str, stopping: Callable[[], bool] = lambda: False) -> App:
    """The whole server as an ASGI application; streams of events end when `stopping()` is true."""
    files = static_files(STATIC)

    async def index(request: Request) -> Response:
        return _file(files, "index.html")

    async def static(request: Request) -> Response:
        return _file(files, request.path_params["name"])

    async def state(request: Request) -> Response:
        _, text = await run_in_threadpool(watched.state)
        return Response(text, media_type="application/json")

    async def events(request: Request) -> Response:
        if request.method == "HEAD":  # which would wait for the end of a stream that has no body
            return Response(media_type="text/event-stream")
        return StreamingResponse(_events(watched, stopping), media_type="text/event-stream")

    async def picture(request: Request) -> Response:
        place, version = _place(request.path_params["place"]), request.path_params["version"]
        return _tile(await run_in_threadpool(watched.tile, version, *place))

    async def content(request: Request) -> Response:
        place, version = _place(request.path_params["place"]), request.path_params["version"]
        return _tile(await run_in_threadpool(watched.content_tile, version, *place))

    async def steer(request: Request) -> Response:
        done, said = await run_in_threadpool(watched.steer, request.url.path.strip("/"))
        return JSONResponse({"said": said}, 200 if done else 409)

    routes = [
        Route("/", index),
        Route("/static/{name}", static),
        Route("/state.json", state),
        Route("/events", events),
        Route("/picture/{version}/{place:path}", picture),
        Route("/content/{version}/{place:path}", content),
        *(Route(f"/{what}", steer, methods=["POST"]) for what in ("pause", "continue", "cancel")),
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _without_words})
    app.router.redirect_slashes = False
    return Guard(app, token)


class PageServer(uvicorn.Server):
    """Serves one `Watched` on the loopback address, until it is told to stop."""

    def __init__(self, watched: Watched, token: str, port: int = 0) -> None:
        """Port 0: any that is free. Raises JobError where the port is taken."""
        self._listener = _listener(port)
        self.port: int = self._listener.getsockname()[1]
        self.address = f"http://{ADDRESS}:{self.port}/{token}/"
        config = uvicorn.Config(
            make_app(watched, token, lambda: self.should_exit),
            http=ImpatientProtocol,
            log_config=None,
            access_log=False,  # it would hold the token
            log_level="critical",
            lifespan="off",
            ws="none",
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=1,
        )
        super().__init__(config)

    def serve_until_stopped(self) -> None:
        """Returns after Ctrl-C, or when `should_exit` was set."""
        try:
            self.run(sockets=[self._listener])
        except KeyboardInterrupt:
            return
        finally:
            self._listener.close()


def static_files(folder: Path) -> dict[str, Path]:
    """What may be served, by name: ordinary files of known kinds, and no links out of the folder."""
    return {
        path.name: path
        for path in sorted(folder.iterdir())
        if path.suffix in TYPES and path.is_file() and not path.is_symlink()
    }


async def _events(watched: Watched, stopping: Callable[[], bool]) -> AsyncIterator[str]:
    """Server-sent events: the state now, again whenever it has changed, and at last the end."""
    known, quiet = -1, 0.0
    watched.viewers += 1
    try:
        while not stopping():
            number, text = await run_in_threadpool(watched.state)
            if number != known:
                known, quiet = number, 0.0
                yield f"event: state\ndata: {text}\n\n"
            elif quiet >= ALIVE_SECONDS:
                quiet = 0.0
                yield ": here\n\n"
            quiet += LOOK_SECONDS
            await _rest(stopping)
        yield "event: end\ndata: {}\n\n"
    finally:
        watched.viewers -= 1


async def _rest(stopping: Callable[[], bool]) -> None:
    for _ in range(_GLANCES):
        if not stopping():
            await asyncio.sleep(LOOK_SECONDS / _GLANCES)


def _file(files: dict[str, Path], name: str) -> Response:
    path = files.get(name)
    if path is None:
        return Response(status_code=404)
    return Response(path.read_bytes(), media_type=TYPES[path.suffix])


def _place(text: str) -> tuple[int, int, int]:
    found = _PLACE.fullmatch(text)
    if found is None:
        raise HTTPException(404)
    level, column, row = found.groups()
    return int(level), int(column), int(row)


def _tile(data: bytes | None) -> Response:
    if data is None:
        return Response(status_code=404)
    return Response(data, media_type="image/jpeg", headers=_KEPT)


async def _without_words(request: Request, error: Exception) -> Response:
    return Response(status_code=error.status_code if isinstance(error, HTTPException) else 500)


def _listener(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((ADDRESS, port))
        listener.listen()  # who asks before the loop runs is answered when it does
    except OSError as error:
        listener.close()
        raise JobError(
            f"port {port} cannot be used ({error.strerror}); name another one, or 0 for any"
        ) from error
    return listener
