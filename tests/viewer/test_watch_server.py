"""The watch page's server as others meet it: what it refuses, and what it says to a browser."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.faulty import drive, shortened, write_job
from tilefarm.errors import JobError
from tilefarm.rundir.layout import RunDir, RunLock
from tilefarm.rundir.summary import read_summary, write_summary
from tilefarm.viewer import connections
from tilefarm.viewer import server as server_module
from tilefarm.viewer.guard import HEADERS, is_local
from tilefarm.viewer.server import PageServer, static_files
from tilefarm.viewer.watched import Watched

TOKEN = "abcdefghijklmnopqrstuvwxyz012345"
STEER = {"X-Tilefarm": "1"}


@contextmanager
def serving(watched: Watched) -> Iterator[PageServer]:
    server = PageServer(watched, TOKEN)
    thread = threading.Thread(target=server.serve_until_stopped)
    thread.start()
    try:
        yield server
    finally:
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def done_run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    with shortened():
        return drive(write_job(tmp_path_factory.mktemp("done"), "feathered"), "feathered")


@pytest.fixture(scope="module")
def page(done_run: RunDir) -> Iterator[PageServer]:
    with serving(Watched(done_run)) as server:
        yield server


@pytest.fixture
def client(page: PageServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{page.port}") as client:
        yield client


def raw(server: PageServer, target: str, method: str = "GET", host: str | None = "localhost") -> bytes:
    """An answer to a request whose target no client has tidied up."""
    import socket

    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        lines = [f"{method} {target} HTTP/1.1", "Connection: close"]
        lines += [] if host is None else [f"Host: {host}"]
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
        return b"".join(parts)


def test_the_state_and_the_pictures_are_there(client: httpx.Client, done_run: RunDir) -> None:
    state = client.get(f"/{TOKEN}/state.json")
    assert state.headers["content-type"] == "application/json"
    assert (state.json()["status"], state.json()["name"]) == ("done", done_run.name)
    version = state.json()["picture"]["version"]
    for path in (f"picture/{version}/7/0_0.jpg", "content/1/7/0_0.jpg"):
        tile = client.get(f"/{TOKEN}/{path}")
        assert tile.status_code == 200
        assert tile.headers["content-type"] == "image/jpeg"
        assert tile.headers["cache-control"] == "private, max-age=3600"
        assert tile.headers["x-content-type-options"] == "nosniff"
        assert tile.content[:2] == b"\xff\xd8"
    script = client.get(f"/{TOKEN}/static/openseadragon.min.js")
    assert script.headers["content-type"].startswith("text/javascript")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/state.json",
        f"/{TOKEN[:-1]}",
        f"/{TOKEN}x",
        f"/{TOKEN[:-1]}/state.json",
        f"/{TOKEN}x/state.json",
        f"/{TOKEN.upper()}/state.json",
        f"/x/{TOKEN}/state.json",
        f"//{TOKEN}/state.json",
        f"/{TOKEN}/nothing",
        f"/{TOKEN}/state.json/",
        f"/{TOKEN}/static/",
        f"/{TOKEN}/static/__init__.py",
        f"/{TOKEN}/static/../server.py",
        f"/{TOKEN}/static/%2e%2e/server.py",
        f"/{TOKEN}/static/..%2fserver.py",
        f"/{TOKEN}/static/%2e%2e%2fserver.py",
        f"/{TOKEN}/static/..%5cserver.py",
        f"/{TOKEN}/static//etc/passwd",
        f"/{TOKEN}/static/%2fetc%2fpasswd",
        f"/{TOKEN}/static/openseadragon.min.js%00.txt",
        f"/{TOKEN}/../../etc/passwd",
        f"/{TOKEN}/picture/1-1/99/0_0.jpg",
        f"/{TOKEN}/picture/1-1/7/1_0.jpg",
        f"/{TOKEN}/picture/1-1/7/9999999_9999999.jpg",
        f"/{TOKEN}/picture/1-1/7/-1_0.jpg",
        f"/{TOKEN}/picture/1-1/7/0_0.png",
        f"/{TOKEN}/picture/1-1/7/0_0.jpg/..",
        f"/{TOKEN}/picture/1-1/../7/0_0.jpg",
        f"/{TOKEN}/picture/99-1/7/0_0.jpg",
        f"/{TOKEN}/content/1/8/0_0.jpg",
        f"/{TOKEN}/content/2/7/0_0.jpg",
        f"/{TOKEN}/content/7/0_0.jpg",
        f"/{TOKEN}/content/1/%37/..%2f0_0.jpg",
        f"/{TOKEN}/content/1/٧/0_0.jpg".encode().decode("latin-1"),
    ],
)
def test_whatever_else_is_asked_for_is_not_there(page: PageServer, path: str) -> None:
    head, _, body = raw(page, path).partition(b"\r\n\r\n")
    assert head.startswith((b"HTTP/1.1 404", b"HTTP/1.1 400"))
    assert TOKEN.encode() not in head + body
    if head.startswith(b"HTTP/1.1 404"):
        assert body == b""
        assert b"content-security-policy" in head


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("127.0.0.1:8000", True),
        ("localhost:1", True),
        ("LocalHost", True),
        ("[::1]:8000", True),
        ("[::1]", True),
        ("example.org", False),
        ("example.org:8000", False),
        ("localhost.example.org", False),
        ("127.0.0.1.example.org:80", False),
        ("example.org:80@127.0.0.1", False),
        ("127.0.0.1:80:80", False),
        ("127.0.0.1:x", False),
        ("192.168.0.7:8000", False),
        ("::1", False),
        ("", False),
        (None, False),
    ],
)
def test_only_this_machine_s_names_are_answered(page: PageServer, host: str | None, local: bool) -> None:
    assert host is None or is_local(host.encode()) == local
    answer = raw(page, f"/{TOKEN}/state.json", host=host)
    assert answer.startswith(b"HTTP/1.1 200") == local
    if not local and host:  # without a host the server's own check comes first
        assert answer.startswith(b"HTTP/1.1 403")
        assert answer.endswith(b"\r\n\r\n")


def test_two_hosts_are_none(page: PageServer) -> None:
    assert not raw(page, f"/{TOKEN}/state.json", host="localhost\r\nHost: example.org").startswith(
        b"HTTP/1.1 200"
    )


def test_every_answer_says_what_a_browser_may_do(client: httpx.Client) -> None:
    for path in ("", "state.json", "nothing", "static/openseadragon.min.js"):
        headers = client.get(f"/{TOKEN}/{path}").headers
        for name, value in HEADERS.items():
            assert headers[name] == value
        assert "server" not in headers
        assert "access-control-allow-origin" not in headers
    assert "default-src 'none'" in HEADERS["content-security-policy"]
    assert "http" not in HEADERS["content-security-policy"], "no other address"


@pytest.mark.parametrize("what", ["pause", "continue", "cancel"])
def test_a_run_is_steered_by_the_page_alone(client: httpx.Client, what: str) -> None:
    """A form or a picture of another page can send neither POST with such a header nor read the token."""
    path = f"/{TOKEN}/{what}"
    assert client.get(path, headers=STEER).status_code == 405
    assert client.post(path).status_code == 403
    assert client.post(path, headers={"X-Tilefarm": "2"}).status_code == 403
    assert client.post(f"/{what}", headers=STEER).status_code == 404
    assert client.options(path, headers={"Origin": "http://example.org"}).status_code == 403
    asked = client.post(path, headers=STEER)
    assert "is not running (done)" in asked.json()["said"]
    assert asked.status_code == (200 if what == "cancel" else 409)


def test_cancel_of_what_is_done_says_so(client: httpx.Client, done_run: RunDir) -> None:
    before = done_run.summary.read_bytes()
    client.post(f"/{TOKEN}/cancel", headers=STEER)
    assert done_run.summary.read_bytes() == before


def test_steering_a_run(tmp_path: Path, done_run: RunDir) -> None:
    run = RunDir(tmp_path / done_run.name)
    run.root.mkdir()
    write_summary(run, (read_summary(done_run) or {}) | {"status": "running"})
    with RunLock(run), serving(Watched(run)) as server:
        ask = f"{server.address}pause", f"{server.address}continue"
        with httpx.Client(headers=STEER) as client:
            assert "pausing" in client.post(ask[0]).json()["said"]
            assert run.pause.exists()
            assert client.get(f"{server.address}state.json").json()["status"] == "pausing"
            assert "goes on" in client.post(ask[1]).json()["said"]
            assert not run.pause.exists()
            assert client.get(f"{server.address}state.json").json()["status"] == "running"


def test_it_listens_on_the_loopback_address_alone(page: PageServer) -> None:
    listening = [
        connection.laddr
        for connection in psutil.Process().net_connections("inet")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == page.port
    ]
    assert [address.ip for address in listening] == ["127.0.0.1"]
    other = [
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family.name == "AF_INET" and not address.address.startswith("127.")
    ]
    for address in other:
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://{address}:{page.port}/{TOKEN}/state.json", timeout=5)


def test_a_port_that_is_taken_is_told(page: PageServer, done_run: RunDir) -> None:
    with pytest.raises(JobError, match=f"port {page.port} cannot be used"):
        PageServer(Watched(done_run), TOKEN, page.port)


def test_static_files_are_those_of_the_folder_and_no_links(tmp_path: Path) -> None:
    for name in ("index.html", "page.js", ".hidden.js", "page.py", "page"):
        (tmp_path / name).write_text(name)
    (tmp_path / "secret").mkdir()
    (tmp_path / "link.js").symlink_to(tmp_path / "page.js")
    (tmp_path / "out.js").symlink_to("/etc/passwd")
    assert sorted(static_files(tmp_path)) == [".hidden.js", "index.html", "page.js"]
    assert (server_module.STATIC / "openseadragon.min.js").name in static_files(server_module.STATIC)


# ---- events -------------------------------------------------------------------------------------------


def next_event(lines: Iterator[str]) -> dict[str, Any]:
    assert next(lines) == "event: state"
    data = next(lines)
    assert data.startswith("data: ")
    assert next(lines) == ""
    record: dict[str, Any] = json.loads(data.removeprefix("data: "))
    return record


def test_news_come_at_once_and_then_when_there_are_any(
    tmp_path: Path, done_run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(server_module, "ALIVE_SECONDS", 0.05)
    run = RunDir(tmp_path / done_run.name)
    run.root.mkdir()
    watched = Watched(run)
    with serving(watched) as server, httpx.Client(timeout=20) as client:
        with client.stream("GET", f"{server.address}events") as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            lines = stream.iter_lines()
            assert next_event(lines)["status"] == "waiting"
            assert watched.viewers == 1
            assert [next(lines), next(lines)] == [": here", ""], "nothing new"
            write_summary(run, (read_summary(done_run) or {}) | {"status": "cancelled", "message": "why"})
            watched.refresh()
            found = next(line for line in lines if line.startswith("data: "))
            assert json.loads(found.removeprefix("data: "))["status"] == "cancelled"
        until(lambda: watched.viewers == 0)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_many_viewers_have_one_state(done_run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is put together once a second, however many ask, and never when nobody does."""
    reads = 0
    now = 100.0
    watched = Watched(done_run, lambda: now)

    def counted() -> float:
        nonlocal reads
        reads += 1
        return 0.02

    monkeypatch.setattr(watched, "_read", counted)
    assert reads == 0
    for _ in range(50):
        watched.state()
    assert reads == 1
    now += 3.9
    watched.state()
    assert reads == 1, "what takes 0.02 s is done once in 4 s"
    now += 0.2
    watched.state()
    assert reads == 2


def test_a_long_log_and_a_large_canvas_do_not_hold_up_the_next_state(
    done_run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, spent = 100.0, 0.0
    watched = Watched(done_run, lambda: now, lambda: spent)
    reader, picture = watched._reader, watched._picture
    read, look = reader.read, picture.look

    def dear(seconds: float, call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any) -> Any:
            nonlocal now, spent
            now, spent = now + seconds, spent + seconds
            return call(*arguments)

        return called

    monkeypatch.setattr(reader, "catch_up", dear(5, reader.catch_up))
    monkeypatch.setattr(picture, "look", dear(3, look))
    monkeypatch.setattr(reader, "read", dear(0.01, read))
    first = json.loads(watched.state()[1])
    write_summary(done_run, (read_summary(done_run) or {}) | {"message": "news"})
    try:
        assert json.loads(watched.state()[1]) == first
        now += 2.1
        assert json.loads(watched.state()[1])["message"] == "news"
    finally:
        write_summary(done_run, (read_summary(done_run) or {}) | {"message": None})


def test_the_address_without_its_last_slash_leads_to_the_page(page: PageServer) -> None:
    answer = httpx.get(page.address.rstrip("/"), timeout=20)
    assert (answer.status_code, answer.content) == (308, b"")
    assert answer.headers["location"] == f"/{TOKEN}/"
    assert answer.headers["cache-control"] == "no-store"
    assert httpx.get(page.address.rstrip("/"), timeout=20, follow_redirects=True).url == page.address
    assert httpx.post(page.address.rstrip("/"), headers=STEER, timeout=20).status_code == 404


def test_the_server_goes_on_to_the_next_run(tmp_path: Path, done_run: RunDir) -> None:
    other = RunDir(tmp_path / "other-01234567")
    other.root.mkdir()
    watched = Watched(done_run)
    number, text = watched.state()
    version = json.loads(text)["picture"]["version"]
    watched.follow(other)
    after, text = watched.state()
    assert after > number
    assert json.loads(text)["name"] == other.name
    assert watched.tile(version, 0, 0, 0) is None
    watched.follow(done_run)
    assert json.loads(watched.state()[1])["picture"]["version"] != version


def test_nothing_is_written_where_it_only_looks(done_run: RunDir, client: httpx.Client) -> None:
    def files() -> dict[Path, tuple[int, int]]:
        return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in done_run.root.rglob("*")}

    before = files()
    client.get(f"/{TOKEN}/state.json")
    client.get(f"/{TOKEN}/content/7/0_0.jpg")
    assert files() == before
    for path in done_run.root.rglob("*"):
        assert path.is_dir() or TOKEN.encode() not in path.read_bytes()


def test_who_asks_for_nothing_is_sent_away_and_who_watches_stays(
    tmp_path: Path, done_run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "IDLE_SECONDS", 0.1)
    with serving(Watched(done_run)) as server:
        streaming = socket.create_connection(("127.0.0.1", server.port), timeout=20)
        silent = socket.create_connection(("127.0.0.1", server.port), timeout=20)
        halting = socket.create_connection(("127.0.0.1", server.port), timeout=20)
        with streaming, silent, halting:
            streaming.sendall(f"GET /{TOKEN}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert streaming.recv(65536).startswith(b"HTTP/1.1 200")
            halting.sendall(b"GET / HT")
            assert (silent.recv(1), halting.recv(1)) == (b"", b"")
            watched = httpx.get(f"{server.address}state.json", timeout=20)
            assert watched.status_code == 200
            write_summary(done_run, (read_summary(done_run) or {}) | {"message": "still told"})
            try:
                streaming.settimeout(20)
                told = b""
                while b"still told" not in told:
                    part = streaming.recv(65536)
                    assert part, "the stream was ended"
                    told += part
            finally:
                write_summary(done_run, (read_summary(done_run) or {}) | {"message": None})


def test_only_the_head_of_a_stream_is_asked_for(client: httpx.Client) -> None:
    answer = client.head(f"/{TOKEN}/events")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"].startswith("text/event-stream")
