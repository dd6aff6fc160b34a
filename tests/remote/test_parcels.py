"""What is sent, cut and put together again, without a cluster."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.delivered import write_job
from tilefarm.errors import ClusterError, JobError
from tilefarm.remote import offer, send, take
from tilefarm.remote.access import find_address, find_token
from tilefarm.remote.bundle import Manifest, Sent, bundle
from tilefarm.remote.errand import answer_in
from tilefarm.remote.fetch import good_parts
from tilefarm.remote.home import Home, is_inside
from tilefarm.remote.send import Slice, missing, parcels
from tilefarm.remote.server import AwayError, JobServer
from tilefarm.spec.load import load_job


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def made(root: Path) -> Home:
    home = Home(root)
    for folder in (home.files, home.runs, home.offers):
        folder.mkdir(parents=True)
    return home


def take_all(home: Home, data: bytes, slices: list[Slice], folder: Path) -> None:
    for slice in slices:
        parcel = folder / slice.name
        parcel.mkdir()
        (parcel / slice.name).write_bytes(data[slice.offset : slice.offset + slice.length])
        take.take(home, parcel)
        assert (parcel / slice.name).stat().st_size == 0


# ---- there --------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=30)
@given(size=st.integers(0, 40), parcel=st.integers(1, 12), broken=st.integers(0, 5))
def test_a_file_arrives_whole_whenever_the_sending_was_broken_off(
    tmp_path_factory: pytest.TempPathFactory, size: int, parcel: int, broken: int
) -> None:
    folder = tmp_path_factory.mktemp("take")
    home, data = made(folder / "home"), bytes(range(size))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(send, "PARCEL_BYTES", parcel)
        first = list(missing(sha256(data), size, []))
        take_all(home, data, first[:broken], folder)
        there = [path.name for path in home.files.iterdir()]
        rest = list(missing(sha256(data), size, there))
        assert sum(slice.length for slice in rest) == size - sum(slice.length for slice in first[:broken])
        (folder / "later").mkdir()
        take_all(home, data, rest, folder / "later")
    assert home.file(sha256(data)).read_bytes() == data
    assert not list(home.files.glob("*.part"))
    assert not list(missing(sha256(data), size, [path.name for path in home.files.iterdir()]))


@given(lengths=st.lists(st.integers(0, 10), max_size=20))
def test_parcels_hold_every_slice_once_in_order_and_no_more_than_they_may(lengths: list[int]) -> None:
    slices = [Slice(str(number), 0, length, length) for number, length in enumerate(lengths)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(send, "PARCEL_BYTES", 10)
        packed = list(parcels(slices))
    assert [slice for parcel in packed for slice in parcel] == slices
    assert all(parcel and sum(slice.length for slice in parcel) <= 10 for parcel in packed)


def test_a_damaged_file_is_refused_and_sent_anew(tmp_path: Path) -> None:
    home, data = made(tmp_path / "home"), b"a photograph"
    slices = list(missing(sha256(data), len(data), []))
    with pytest.raises(JobError, match="was damaged on its way"):
        take_all(home, b"a photogroph", slices, tmp_path)
    assert [path.name for path in home.files.iterdir()] == [".lock"]


# ---- a job --------------------------------------------------------------------------------------------


def test_a_job_is_put_together_with_the_places_that_it_has_here(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    job = write_job(tmp_path / "in", output=f"path: {tmp_path / 'in' / 'out.tif'}")
    (tmp_path / "in" / "night.png").rename(tmp_path / "night.png")
    job.write_text(job.read_text().replace("night.png", "../night.png"))
    packed = bundle(load_job(job))
    assert set(packed.manifest.files) == {"work/photo.png", "inputs/1/night.png"}
    assert str(tmp_path) not in packed.text.decode()
    assert bundle(load_job(job)).text == packed.text

    home = made(tmp_path / "home")
    for digest, source in packed.sources.items():
        home.file(digest).write_bytes(source.read_bytes())
    home.file(packed.sha256).write_bytes(packed.text)
    file = take.assemble(home, take.read_manifest(home, packed.sha256))
    again = load_job(file, kept=True)
    assert bundle(again).manifest.name == packed.name
    assert again.content.read_bytes() == (tmp_path / "in" / "photo.png").read_bytes()
    assert again.output.path == file.parent / "work" / "out.tif"
    home.file(packed.manifest.files["work/photo.png"].sha256).unlink()
    with pytest.raises(ClusterError, match=r"photo\.png is gone from the head's disk; submit the job again"):
        take.assemble(home, packed.manifest)


def test_a_proof_goes_with_its_profile_and_comes_back(tmp_path: Path) -> None:
    (tmp_path / "press.icc").write_bytes(b"a profile")
    path = write_job(tmp_path, output=f"path: {tmp_path / 'out.tif'}, proof: press.icc")
    manifest = bundle(load_job(path)).manifest
    assert "work/press.icc" in manifest.files
    assert manifest.results == ["work/out.tif", "work/out-proof.png"]
    assert str(tmp_path) not in manifest.job


@pytest.mark.parametrize("place", ["../x", "/etc/passwd", "a/../../b", "", "a\0b"])
def test_no_place_leaves_its_folder(place: str) -> None:
    assert not is_inside(place)
    digest = "0" * 64
    with pytest.raises(ValidationError):
        Manifest(tilefarm="1", name="a", job="", files={place: Sent(sha256=digest, size=1)}, results=[])
    with pytest.raises(ValidationError):
        offer.Offered(place=place, source="x", size=0, sha256=digest, parts=[digest])


# ---- back ---------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=30)
@given(data=st.binary(max_size=60), part=st.integers(1, 20))
def test_the_parts_of_an_offer_are_those_of_the_file(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, part: int
) -> None:
    home = made(tmp_path_factory.mktemp("offer") / "home")
    (home.job("a") / "work").mkdir(parents=True)
    (home.job("a") / "work" / "out.png").write_bytes(data)
    home.run("a").root.mkdir()
    manifest = Manifest(tilefarm="1", name="a", job="", files={}, results=["work/out.png"])
    (home.job("a") / "manifest.json").write_text(manifest.model_dump_json())
    token = offer.offer(home, "a", part, whole=False)
    offered = offer.Offer.model_validate_json(home.offer(token).read_bytes())
    [file] = offered.files
    assert (file.place, file.size, file.sha256) == ("out.png", len(data), sha256(data))
    assert file.parts == [sha256(data[at : at + part]) for at in range(0, max(1, len(data)), part)]
    if len(file.parts) > 1:
        offer.cut(home, token, 1, len(file.parts) - 1)
        cut = [home.part(token, number) for number in range(len(file.parts))]
        assert not cut[0].exists()
        assert b"".join(path.read_bytes() for path in cut[1:]) == data[part:]
    (home.root / "here").write_bytes(data[: len(data) // 2])
    assert good_parts(home.root / "here", file.parts, part) == len(data) // 2 // part
    assert offer.drop(home, token)
    assert not list(home.offers.iterdir())


# ---- servers ------------------------------------------------------------------------------------------


@contextmanager
def answering(code: int, body: bytes) -> Iterator[str]:
    """Something that answers everything like this; its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("code", "body", "kind", "said"),
    [
        (404, b"nothing", ClusterError, "is not a Ray job server"),
        (200, b"<html>", ClusterError, "is not a Ray job server"),
        (200, b'{"ray_version": "2.9.3"}', ClusterError, r"runs Ray 2\.9\.3, and tilefarm needs 2\.52"),
        (200, b"{}", ClusterError, "runs Ray of an unknown version"),
        (502, b"bad gateway", AwayError, r"failed \(bad gateway\)"),
    ],
)
def test_what_is_no_usable_job_server_is_told(
    code: int, body: bytes, kind: type[Exception], said: str
) -> None:
    with answering(code, body) as address, pytest.raises(kind, match=said):
        JobServer(address, None)


def test_addresses_and_tokens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert find_address("head:8265") == "http://head:8265"
    assert find_address("https://head/ray/") == "https://head/ray"
    with pytest.raises(JobError, match="must be the address of a Ray job server"):
        find_address("ray://head:10001")
    monkeypatch.delenv("TILEFARM_CLUSTER", raising=False)
    with pytest.raises(JobError, match="TILEFARM_CLUSTER, which is not set"):
        find_address("auto")
    monkeypatch.setenv("TILEFARM_CLUSTER", "desk:8265")
    assert find_address("auto") == "http://desk:8265"

    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_token() is None
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("of-the-file\n")
    assert find_token() == "of-the-file"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "given")
    assert find_token() == "given"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret\nsecret")
    with pytest.raises(JobError) as told:
        find_token()
    assert "secret" not in str(told.value)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert find_token() is None


@pytest.mark.parametrize("output", ["", "tilefarm-answer [1]", "tilefarm-answer {", "noise\nmore"])
def test_an_answer_is_found_or_there_is_none(output: str) -> None:
    assert answer_in(output) is None
    assert answer_in(f'{output}\ntilefarm-answer {{"token": "a"}}\nlast words') == {"token": "a"}
