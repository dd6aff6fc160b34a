"""What pages of other origins can do to a watch page's server, even where they know its address: nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Error, Page, expect

from tests.chromium import chromium, open_page
from tests.viewer.test_watch_server import STEER, TOKEN, serving
from tilefarm.rundir.layout import RunDir
from tilefarm.viewer.guard import is_same_origin
from tilefarm.viewer.server import PageServer
from tilefarm.viewer.watched import Watched

RESOLVED = "rebound.example"
"""A name of the Internet that leads to this machine."""

ATTACKS = """async (address) => {
  const tried = {};
  const attempt = async (name, work) => {
    try { tried[name] = await work(); } catch (error) { tried[name] = error.name; }
  };
  const ask = { method: "POST" };
  const post = (options) => async () => (await fetch(address + "pause", { ...ask, ...options })).status;
  await attempt("plain", post({}));
  await attempt("header", post({ headers: { "X-Tilefarm": "1" } }));
  await attempt("blind", async () => {
    await fetch(address + "cancel", { ...ask, mode: "no-cors", headers: { "X-Tilefarm": "1" } });
    return "sent";
  });
  await attempt("beacon", async () => { navigator.sendBeacon(address + "cancel"); return "sent"; });
  await attempt("read", async () => (await fetch(address + "state.json")).status);
  await attempt("events", () => new Promise((resolve) => {
    const source = new EventSource(address + "events");
    const ended = (how) => { source.close(); resolve(how); };
    source.addEventListener("state", () => ended("heard"));
    source.addEventListener("error", () => ended("refused"));
  }));
  await attempt("picture", () => new Promise((resolve) => {
    const image = new Image();
    image.onload = () => resolve("shown");
    image.onerror = () => resolve("refused");
    image.src = address + "static/icon.svg";
  }));
  await attempt("script", () => new Promise((resolve) => {
    const script = document.createElement("script");
    script.onload = () => resolve("ran");
    script.onerror = () => resolve("refused");
    script.src = address + "static/openseadragon.min.js";
    document.head.append(script);
  }));
  return tried;
}"""
REFUSED = {
    "plain": "TypeError",
    "header": "TypeError",
    "blind": "TypeError",
    "beacon": "sent",
    "read": "TypeError",
    "events": "refused",
    "picture": "refused",
    "script": "refused",
}
"""A beacon has no answer; what counts there is that nothing is steered."""


class Steered(Watched):
    """Notes what it is asked to do, and does not do it."""

    def __init__(self, run: RunDir) -> None:
        super().__init__(run)
        self.asked: list[str] = []

    def steer(self, what: str) -> tuple[bool, str]:
        self.asked.append(what)
        return True, what


@pytest.fixture
def steered(tmp_path: Path) -> Steered:
    root = tmp_path / "demo-01234567"
    root.mkdir()
    return Steered(RunDir(root))


@pytest.fixture
def server(steered: Steered) -> Iterator[PageServer]:
    with serving(steered) as opened:
        yield opened


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One that finds this machine under a name of the Internet."""
    with chromium(f"--host-resolver-rules=MAP {RESOLVED} 127.0.0.1") as opened:
        yield opened


@pytest.fixture
def stranger(tmp_path: Path) -> Iterator[int]:
    """The port of another server, whose page may do what it likes."""
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "index.html").write_text("<!doctype html><title>stranger</title>")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    handler = partial(Quiet, directory=str(tmp_path / "web"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield http.server_port
        http.shutdown()
        thread.join()


def attack(page: Page, address: str) -> dict[str, Any]:
    tried: dict[str, Any] = page.evaluate(ATTACKS, address)
    return tried


@pytest.mark.parametrize("token", [TOKEN, "0" * len(TOKEN)])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", RESOLVED])
def test_a_page_of_another_origin_gets_nowhere(
    browser: Browser, server: PageServer, steered: Steered, stranger: int, host: str, token: str
) -> None:
    """On another port of this machine (the same site, to a browser), or of a name that leads to it."""
    with open_page(browser) as watched:
        watched.page.goto(f"http://{host}:{stranger}/")
        assert attack(watched.page, f"http://127.0.0.1:{server.port}/{token}/") == REFUSED
        assert attack(watched.page, f"http://{RESOLVED}:{server.port}/{token}/") == REFUSED
    assert steered.asked == []
    assert steered.viewers == 0


def test_a_sandboxed_page_has_no_origin_and_gets_nowhere(
    browser: Browser, server: PageServer, steered: Steered, stranger: int
) -> None:
    with open_page(browser) as watched:
        watched.page.goto(f"http://127.0.0.1:{stranger}/")
        watched.page.evaluate(
            """() => new Promise((resolve) => {
                const frame = document.createElement("iframe");
                frame.sandbox = "allow-scripts";
                frame.srcdoc = "<!doctype html>";
                frame.onload = resolve;
                document.body.append(frame);
            })"""
        )
        inside = watched.page.frames[1]
        assert inside.evaluate("() => origin") == "null"
        assert inside.evaluate(ATTACKS, server.address) == REFUSED
    assert steered.asked == []


def test_a_form_of_another_page_steers_nothing(
    browser: Browser, server: PageServer, steered: Steered, stranger: int
) -> None:
    with open_page(browser) as watched:
        watched.page.goto(f"http://127.0.0.1:{stranger}/")
        with watched.page.expect_response(f"{server.address}cancel") as answered:
            watched.page.evaluate(
                """(address) => {
                    const form = document.createElement("form");
                    Object.assign(form, { method: "POST", action: address });
                    document.body.append(form);
                    form.submit();
                }""",
                f"{server.address}cancel",
            )
        assert answered.value.status == 403
    assert steered.asked == []


def test_a_name_of_the_internet_that_leads_here_shows_no_page(browser: Browser, server: PageServer) -> None:
    """DNS rebinding: to the browser the server is then of the same origin as the stranger's page."""
    address = f"http://{RESOLVED}:{server.port}/{TOKEN}/"
    with open_page(browser) as watched, watched.page.expect_response(address) as answered:
        with pytest.raises(Error, match="ERR_HTTP_RESPONSE_CODE_FAILURE"):
            watched.page.goto(address)
        assert answered.value.status == 403


def test_no_other_page_frames_it(browser: Browser, server: PageServer, stranger: int) -> None:
    with open_page(browser) as watched:
        page = watched.page
        page.goto(f"http://127.0.0.1:{stranger}/")
        with page.expect_console_message(lambda said: "frame-ancestors" in said.text):
            page.evaluate(
                """(address) => {
                    const frame = document.createElement("iframe");
                    frame.src = address;
                    document.body.append(frame);
                }""",
                server.address,
            )
        expect(page.frame_locator("iframe").locator("#status")).to_have_count(0)
    assert httpx.get(server.address).headers["x-frame-options"] == "DENY"


def test_its_own_page_steers(browser: Browser, server: PageServer, steered: Steered) -> None:
    """Under each name that the server answers to, as through a tunnel."""
    for host in ("127.0.0.1", "localhost"):
        with open_page(browser) as watched:
            watched.page.goto(f"http://{host}:{server.port}/{TOKEN}/")
            expect(watched.page.locator("#status")).to_have_text("waiting")
            status = watched.page.evaluate(
                """async () => {
                    const ask = { method: "POST", headers: { "X-Tilefarm": "1" } };
                    return (await fetch("pause", ask)).status;
                }"""
            )
            assert status == 200
    assert steered.asked == ["pause", "pause"]


@pytest.mark.parametrize(
    ("origin", "same"),
    [
        (None, True),
        ("http://localhost:8000", True),
        ("https://localhost:8000", True),
        ("HTTP://LOCALHOST:8000", True),
        ("null", False),
        ("http://localhost", False),
        ("http://localhost:8001", False),
        ("http://127.0.0.1:8000", False),
        ("http://rebound.example:8000", False),
        ("ftp://localhost:8000", False),
        ("http://localhost:8000/", False),
        ("http://localhost:8000.rebound.example", False),
    ],
)
def test_the_origin_is_the_host(server: PageServer, steered: Steered, origin: str | None, same: bool) -> None:
    assert is_same_origin((origin or "").encode(), b"localhost:8000") == same
    headers = {"Host": "localhost:8000", **STEER} | ({} if origin is None else {"Origin": origin})
    answer = httpx.post(f"{server.address}pause", headers=headers)
    assert answer.status_code == (200 if same else 403)
    assert steered.asked == (["pause"] if same else [])


def test_two_origins_are_none(server: PageServer, steered: Steered) -> None:
    headers = [("Host", "localhost:8000"), ("X-Tilefarm", "1")] + 2 * [("Origin", "http://localhost:8000")]
    assert httpx.post(f"{server.address}pause", headers=headers).status_code == 403
    assert steered.asked == []
