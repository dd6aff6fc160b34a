"""A server of the watch page whose run is a script: a test sets the states, the tiles are drawn here."""

from __future__ import annotations

import asyncio
import json
import math
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import uvicorn
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

import tilefarm.viewer

STATIC = f"{tilefarm.viewer.__path__[0]}/static"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
TOKEN = "t" * 32
TILE = 256

State = dict[str, Any]


def solid(width: int, height: int, colour: str) -> Image.Image:
    return Image.new("RGB", (width, height), colour)


def tile_of(picture: Image.Image, level: int, column: int, row: int) -> bytes | None:
    """The deep-zoom tile as JPEG, or None outside the picture."""
    top = math.ceil(math.log2(max(picture.size)))
    if not 0 <= level <= top:
        return None
    factor = 2 ** (top - level)
    width, height = (math.ceil(side / factor) for side in picture.size)
    left, upper = column * TILE, row * TILE
    if left >= width or upper >= height:
        return None
    box = (left, upper, min(left + TILE, width), min(upper + TILE, height))
    shown = picture.resize((width, height), Image.Resampling.BILINEAR).crop(box)
    stream = BytesIO()
    shown.save(stream, "JPEG", quality=90)
    return stream.getvalue()


class ScriptedWatch:
    """Serves a page for a run that does what the test says."""

    def __init__(self, state: State, pictures: dict[str, Image.Image], content: Image.Image) -> None:
        self.state = state
        self.pictures = pictures
        self.content = content
        self.posts: list[str] = []
        self.answer: tuple[int, str] = (200, "Asked for.")
        self.held: set[str] = set()
        """Tiles that wait, by how their address begins: "v2/" or "v2/11/"."""
        self.says_end = False
        """Whether it tells its pages that it ends."""
        self.port = 0
        self._queues: list[asyncio.Queue[State | None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/{TOKEN}/"

    def publish(self, **changes: Any) -> None:
        """Changes the state and tells all pages."""
        self.state = {**self.state, **changes}
        self._tell(self.state)

    def start(self) -> None:
        """Listens, after a stop at the same port."""
        listening = socket.create_server(("127.0.0.1", self.port))
        self.port = listening.getsockname()[1]
        config = uvicorn.Config(
            self._app(), log_level="critical", lifespan="off", ws="none", timeout_graceful_shutdown=2
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve, args=(self._server, listening), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        assert self._server is not None
        assert self._thread is not None
        self._server.should_exit = True
        self.held.clear()
        self._tell(None)
        self._thread.join()

    def _serve(self, server: uvicorn.Server, listening: socket.socket) -> None:
        with listening:
            asyncio.run(self._serving(server, listening))

    async def _serving(self, server: uvicorn.Server, listening: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        await server.serve(sockets=[listening])

    def _tell(self, state: State | None) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._put, state)

    def _put(self, state: State | None) -> None:
        for queue in self._queues:
            queue.put_nowait(state)

    def _app(self) -> Starlette:
        routes = [
            Route("/", self._index),
            Route("/static/{name}", self._static),
            Route("/state.json", self._state),
            Route("/events", self._events),
            Route("/picture/{version}/{level:int}/{place}.jpg", self._picture),
            Route("/content/{version}/{level:int}/{place}.jpg", self._content),
            Route("/{command}", self._command, methods=["POST"]),
        ]
        return Starlette(
            routes=[
                Route(f"/{TOKEN}{route.path}", route.endpoint, methods=list(route.methods or ()))
                for route in routes
            ]
        )

    async def _index(self, _: Request) -> Response:
        return FileResponse(f"{STATIC}/index.html", headers={"Content-Security-Policy": POLICY})

    async def _static(self, request: Request) -> Response:
        return FileResponse(f"{STATIC}/{request.path_params['name']}")

    async def _state(self, _: Request) -> Response:
        return JSONResponse(self.state)

    async def _events(self, _: Request) -> Response:
        queue: asyncio.Queue[State | None] = asyncio.Queue()
        self._queues.append(queue)
        queue.put_nowait(self.state)

        async def lines() -> AsyncIterator[str]:
            try:
                while (state := await queue.get()) is not None:
                    yield f"event: state\ndata: {json.dumps(state)}\n\n"
                if self.says_end:
                    yield "event: end\ndata: {}\n\n"
            finally:
                self._queues.remove(queue)

        return StreamingResponse(lines(), media_type="text/event-stream")

    async def _picture(self, request: Request) -> Response:
        version = request.path_params["version"]
        address = f"{version}/{request.path_params['level']}/"
        while any(address.startswith(begin) for begin in self.held):
            await asyncio.sleep(0.01)
        return self._tile(self.pictures.get(version), request)

    async def _content(self, request: Request) -> Response:
        return self._tile(self.content, request)

    def _tile(self, picture: Image.Image | None, request: Request) -> Response:
        column, row = map(int, request.path_params["place"].split("_"))
        tile = None if picture is None else tile_of(picture, request.path_params["level"], column, row)
        return Response(status_code=404) if tile is None else Response(tile, media_type="image/jpeg")

    async def _command(self, request: Request) -> Response:
        if request.headers.get("X-Tilefarm") != "1":
            return Response(status_code=403)
        self.posts.append(request.path_params["command"])
        status, said = self.answer
        return JSONResponse({"said": said}, status)


@contextmanager
def serving(watch: ScriptedWatch) -> Iterator[ScriptedWatch]:
    watch.start()
    try:
        yield watch
    finally:
        watch.stop()


def running() -> State:
    """A run of three levels in the middle of the second."""
    return {
        "name": "demo",
        "root": "/runs/demo-0123abcd",
        "turn": None,
        "status": "running",
        "message": None,
        "method": "feathered",
        "network": "vgg19",
        "precision": "bfloat16",
        "output": "/pictures/out/demo.png",
        "resume": "tilefarm resume /runs/demo-0123abcd",
        "now": 1_790_000_000,
        "share": 0.437,
        "seconds": 4800,
        "seconds_left": 4810,
        "size": {"width": 1200, "height": 800},
        "levels": [
            _level(1, 300, 200, 1, "done", 412.5, 87.3, 61.2),
            _level(2, 600, 400, 6, "current", 96.1, None, 30.0),
            _level(3, 1200, 800, 20, "waiting", None, None, None),
        ],
        "level": 2,
        "round": 1,
        "rounds": 3,
        "iteration": 12,
        "iterations": 30,
        "doing": "painting",
        "tiles": {
            "done": [[0, 0, 0.5, 0.5], [0.5, 0, 1, 0.5]],
            "in_flight": [
                {"box": [0, 0.5, 0.5, 1], "worker": 1, "iteration": 12, "iterations": 30},
                {"box": [0.5, 0.5, 1, 1], "worker": 2, "iteration": 3, "iterations": 30},
            ],
            "total": 6,
        },
        "losses": [_loss(1, step) for step in range(1, 61)] + [_loss(2, step) for step in range(1, 21)],
        "workers": [
            _worker(1, "working", 0.612, 9, 2_469_606_195),
            _worker(2, "lost", None, 4, None),
        ],
        "driver": {"rss_bytes": 402_653_184},
        "disk_free_bytes": 53_687_091_200,
        "picture": {"version": "v1", "width": 600, "height": 400},
        "content": {"version": "1", "width": 1200, "height": 800},
        "faults": {"tile_retries": 2, "worker_losses": 1, "rollbacks": 0, "numbers_gone_wrong": 0},
        "said": [
            {"time": 1_790_000_000, "text": "Worker 2 was lost; its tile is done again."},
            {"time": 1_790_000_060, "text": "Level 2 of 3 began."},
        ],
        "can": {"pause": True, "continue": False, "cancel": True},
    }


def _level(
    number: int,
    width: int,
    height: int,
    tiles: int,
    state: str,
    first: float | None,
    last: float | None,
    seconds: float | None,
) -> State:
    return {
        "level": number, "width": width, "height": height, "tiles": tiles, "rounds": 3, "iterations": 30,
        "state": state, "loss_first": first, "loss_last": last, "seconds": seconds,
    }  # fmt: skip


def _loss(level: int, step: int) -> State:
    style, content = 300 / level / step, 20.0 + step / 10
    return {
        "level": level,
        "step": step,
        "total": style + content,
        "content": content,
        "style": style,
        "tv": 0.0,
    }


def _worker(number: int, state: str, rate: float | None, done: int, memory: int | None) -> State:
    return {
        "worker": number, "device": "cpu", "state": state,
        "megapixels_per_second": rate, "done": done, "rss_bytes": memory,
    }  # fmt: skip
