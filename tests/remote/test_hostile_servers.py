"""What answers in a head's place may be anything: it gets neither this machine's files nor its memory."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.strangers import Stranger, strangers
from tilefarm.errors import ClusterError, JobError, ResourceError, StoppedError
from tilefarm.foreign import harmless
from tilefarm.remote import answers, errand, fetch, offer
from tilefarm.remote.access import find_address
from tilefarm.remote.bundle import Manifest
from tilefarm.remote.fetch import is_sound
from tilefarm.remote.home import Home
from tilefarm.remote.offer import Offer, Offered
from tilefarm.remote.server import AwayError, JobServer
from tilefarm.remote.view import known, lines, reason

TOKEN = "of-the-cluster"
NOTHING = hashlib.sha256(b"").hexdigest()
ESCAPE = "\x1b[2J"


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    with strangers() as make:
        yield make()


# ---- connections --------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [301, 302, 307, 308])
def test_the_token_and_the_question_follow_no_redirect(code: int) -> None:
    with strangers() as make:
        one, other = make(), make()
        one.replies["/api/jobs/"] = (code, {"Location": f"{other.address}/api/jobs/"}, b"")
        other.replies["/api/jobs/"] = (200, {}, b"[]")
        server = JobServer(one.address, TOKEN)
        with pytest.raises(ClusterError, match="sends on to another address"):
            server.jobs()
        assert one.asked[-1] == ("/api/jobs/", f"Bearer {TOKEN}")
        assert other.asked == []


def test_an_answer_without_an_end_is_broken_off(stranger: Stranger, monkeypatch: pytest.MonkeyPatch) -> None:
    stranger.replies["/api/jobs/"] = (200, {}, b"[" + b" " * 3 * 2**20 + b"]")
    server = JobServer(stranger.address, None)
    assert server.jobs() == []
    monkeypatch.setattr(answers, "MOST_BYTES", 2 * 2**20)
    with pytest.raises(ClusterError, match="says more than a job server does"):
        server.jobs()


@pytest.mark.parametrize("path", ["/api/jobs/", "/api/v0/logs/file"])
def test_an_answer_that_breaks_off_is_told(stranger: Stranger, path: str) -> None:
    stranger.replies[path] = (200, {"Content-Length": "1000"}, b"[")
    server = JobServer(stranger.address, None)
    server.head = "a node"
    with pytest.raises(AwayError, match="no Ray job server answers"):
        server.jobs() if path == "/api/jobs/" else server.read("runs/a/run.json")


@pytest.mark.parametrize(
    ("path", "body", "ask"),
    [
        ("/api/version", b"[]", lambda server: JobServer(server.address, None)),
        ("/api/jobs/", b"5", JobServer.jobs),
        ("/api/jobs/", b"[5]", JobServer.jobs),
        ("/api/jobs/", b'[{"submission_id": "a", "metadata": 5}]', JobServer.jobs),
        ("/api/jobs/", b'[{"submission_id": "a", "start_time": "now"}]', JobServer.jobs),
        ("/api/jobs/", b"[" * 100_000, JobServer.jobs),
        ("/api/jobs/a", b"[]", lambda server: server.job("a")),
        ("/api/jobs/a/logs", b"[]", lambda server: server.output("a")),
        ("/api/v0/nodes", b'{"data": {"result": []}}', lambda server: server.head),
        ("/api/v0/logs", b'{"data": {"result": 5}}', lambda server: server.names("files/*", "a")),
    ],
)
def test_an_answer_of_another_form_is_told(
    stranger: Stranger, path: str, body: bytes, ask: Callable[[JobServer], Any]
) -> None:
    server = JobServer(stranger.address, None)
    stranger.replies[path] = (200, {}, body)
    with pytest.raises(ClusterError, match="is not a Ray job server"):
        ask(server)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://me:hush@head:8265", "must not hold a user or a password"),
        ("me:hush@head:8265", "must not hold a user or a password"),
        ("ftp://me:hush@head", "must be the address of a Ray job server"),
        ("http://head:8265/?token=a", "without a query"),
        (f"http://head{ESCAPE}:8265", "without a query or blanks"),
    ],
)
def test_an_address_holds_no_secret(address: str, said: str) -> None:
    with pytest.raises(JobError, match=said) as told:
        find_address(address)
    assert "hush" not in str(told.value)
    assert ESCAPE not in str(told.value)


# ---- words --------------------------------------------------------------------------------------------

_json = st.recursive(
    st.none() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(max_examples=40, deadline=None)
@given(_json)
def test_nothing_that_is_shown_steers_a_terminal(value: Any) -> None:
    assert json.dumps(harmless(value), ensure_ascii=False).isprintable()
    if json.dumps(value, ensure_ascii=False).isprintable() and "\\" not in json.dumps(value):
        assert harmless(value) == value


def test_what_a_head_says_of_a_job_is_shown_without_its_escapes(stranger: Stranger) -> None:
    metadata = {"tilefarm_name": f"gate{ESCAPE}", "tilefarm_manifest": "0"}
    job = {"submission_id": "gate", "status": "FAILED", "metadata": metadata}
    job |= {"message": f"first\nerror: no{ESCAPE} reason", "driver_node_id": "a node"}
    stranger.replies["/api/jobs/"] = (200, {}, json.dumps([job]).encode())
    record = {"status": "failed", "output": ESCAPE, "width": 1, "height": 1, "seconds": 1, "levels": []}
    run = json.dumps(record | {"message": f"no{ESCAPE} luck"})
    stranger.replies["/api/v0/logs/file"] = (200, {}, run.encode())
    server = JobServer(stranger.address, None)
    found = known(server, "gate\\x1b[2J")
    assert reason(found, None) == "no\\x1b[2J reason"
    shown = lines(server, found)
    assert any("no\\x1b[2J luck" in line for line in shown), shown
    assert "".join(shown).isprintable()
    said = errand.RemoteError(answers.harmless_lines(f"a{ESCAPE}\nb"), 2)
    assert str(said) == "a\\x1b[2J\nb"


# ---- files --------------------------------------------------------------------------------------------


def offered(place: str, size: int = 0, parts: int = 1) -> Offered:
    return Offered(place=place, source="runs/x", size=size, sha256=NOTHING, parts=[NOTHING] * parts)


@pytest.mark.parametrize("place", ["out.tif", "FILM.MP4", "runs/a-1/run.json", "runs/a-1/levels/level-0.png"])
def test_files_of_the_job_are_taken(place: str) -> None:
    assert is_sound(Offer(part_bytes=fetch.PART_BYTES, files=[offered(place)]), "a-1")


@pytest.mark.parametrize(
    "place",
    [
        *(".bashrc", ".ssh/authorized_keys", "bin/tilefarm", "autostart.desktop", "setup.py", "ray.py"),
        *("runs/b-1/run.json", "runs/a-1", "runs/a-1/.hidden/x", ".out.tif", "deep/out.tif", "out.tif/"),
        *("a\x1b[2J.tif", "a\n.tif", "./out.tif", "runs/a-1//run.json"),
    ],
)
def test_files_of_anything_else_are_refused(place: str) -> None:
    assert not is_sound(Offer(part_bytes=fetch.PART_BYTES, files=[offered("out.tif"), offered(place)]), "a-1")


@pytest.mark.parametrize(
    ("part_bytes", "files"),
    [
        (2**50, [offered("out.tif")]),
        (fetch.PART_BYTES, [offered("out.tif"), offered("out.tif")]),
        (fetch.PART_BYTES, [offered("out.tif", size=5, parts=2)]),
        (fetch.PART_BYTES, [offered("out.tif", size=fetch.PART_BYTES + 1)]),
        (fetch.PART_BYTES, [offered("out.tif", parts=0)]),
    ],
)
def test_lists_that_do_not_add_up_are_refused(part_bytes: int, files: list[Offered]) -> None:
    assert not is_sound(Offer(part_bytes=part_bytes, files=files), "a-1")


def test_a_part_without_an_end_is_broken_off_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole of `fetch` against a head that lists a picture and then sends for ever."""
    monkeypatch.setattr(fetch, "PART_BYTES", 1000)
    told = Offer(part_bytes=1000, files=[offered("out.tif", size=10)]).model_dump_json().encode()
    sent = 0

    class Endless(JobServer):
        def __init__(self) -> None:
            self.address = "http://head:8265"

        def read(self, path: str, node: str | None = None, lines: int = -1) -> bytes:
            return told

        def stream(self, path: str, node: str | None = None) -> Iterator[bytes]:
            nonlocal sent
            for _ in itertools.count():
                sent += 100
                yield bytes(100)

    monkeypatch.setattr(fetch, "known", lambda *_: type("Job", (), {"status": "SUCCEEDED", "ended": True}))
    monkeypatch.setattr(fetch, "errand", lambda *_: {"token": "a"})
    with pytest.raises(ClusterError, match="was damaged on its way"):
        fetch.fetch(Endless(), "a-1", tmp_path)
    assert sent <= 1100
    assert not (tmp_path / "out.tif").exists()

    told = Offer(part_bytes=1000, files=[offered(".bashrc")]).model_dump_json().encode()
    with pytest.raises(ClusterError, match="names files that are none of this job's"):
        fetch.fetch(Endless(), "a-1", tmp_path)
    assert not (tmp_path / ".bashrc").exists()


def test_what_a_killed_driver_has_left_is_not_offered(tmp_path: Path) -> None:
    home = Home(tmp_path)
    (home.job("a-1") / "work").mkdir(parents=True)
    manifest = Manifest(tilefarm="1", name="a-1", job="", files={}, results=["work/out.png"])
    (home.job("a-1") / "manifest.json").write_text(manifest.model_dump_json())
    home.offers.mkdir()
    for name in ("run.json", "levels/level-0.png", ".store/0", ".run.json.7.part"):
        (home.run("a-1").root / name).parent.mkdir(parents=True, exist_ok=True)
        (home.run("a-1").root / name).touch()
    token = offer.offer(home, "a-1", fetch.PART_BYTES, whole=True)
    listed = Offer.model_validate_json(home.offer(token).read_bytes())
    assert [file.place for file in listed.files] == ["runs/a-1/levels/level-0.png", "runs/a-1/run.json"]
    assert is_sound(listed, "a-1")


@pytest.mark.parametrize("error", [StoppedError("stopped by SIGINT", 2), ResourceError("the disk is full")])
def test_what_ended_a_fetch_is_told_and_not_that_the_head_is_gone_too(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(server: JobServer, verb: str, *words: str) -> dict[str, str]:
        if verb == "drop":
            raise AwayError("no Ray job server answers")
        return {"token": "0a"}

    def read(*arguments: object) -> Offer:
        raise error

    monkeypatch.setattr(fetch, "known", lambda server, name: SimpleNamespace(status="SUCCEEDED", ended=True))
    monkeypatch.setattr(fetch, "errand", answer)
    monkeypatch.setattr(fetch, "_read", read)
    with pytest.raises(type(error)) as raised:
        fetch.fetch(JobServer.__new__(JobServer), "coffee", tmp_path)
    assert raised.value is error
