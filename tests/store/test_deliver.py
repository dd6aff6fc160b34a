"""Finished files at addresses: sent once, whole or not at all, and again when something went wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.delivered import only_run, write_job
from tests.program import Command
from tests.s3 import BUCKET, S3
from tilefarm.spec.address import Address, parse_address
from tilefarm.store import deliver as delivery
from tilefarm.store.deliver import check_destination, deliver
from tilefarm.store.objects import Store, StoreError


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    check_destination.cache_clear()
    yield
    check_destination.cache_clear()


def below(place: Address) -> Store:
    return Store(place)


@pytest.mark.parametrize("protocol", ["s3", "file", "memory"])
@pytest.mark.parametrize("size", [0, 1, 12_000_000])
def test_a_file_arrives_whole(tmp_path: Path, place: Address, protocol: str, size: int) -> None:
    """The largest goes in two parts of 10 MiB, of which S3 takes none below 5 MiB but the last."""
    folder = {"s3": str(place), "file": f"file://{tmp_path}/there", "memory": f"memory://{tmp_path.name}"}
    address = parse_address(f"{folder[protocol]}/a.tif")
    data = np.random.default_rng(size).bytes(size)
    (tmp_path / "a.tif").write_bytes(b"before")
    deliver(tmp_path / "a.tif", address)
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delivery, "BLOCK", 10 << 20)
        deliver(tmp_path / "a.tif", address)
    store = Store(parse_address(folder[protocol]))
    assert store.read("a.tif") == data
    assert store.keys("") == ["a.tif"]


def test_what_arrives_damaged_does_not_take_the_place_of_what_is_there(
    tmp_path: Path, place: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, file = below(place), tmp_path / "a.tif"
    store.write("a.tif", b"before")
    file.write_bytes(b"after")
    send = delivery._send

    def damaging(path: Path, store: Store, key: str) -> None:
        send(path, store, key)
        store.write(key, b"aftxr")

    monkeypatch.setattr(delivery, "_send", damaging)
    with pytest.raises(StoreError, match="is not what was sent"):
        deliver(file, place.within("a.tif"))
    assert store.read("a.tif") == b"before"
    monkeypatch.setattr(delivery, "_send", send)
    deliver(file, place.within("a.tif"))
    assert store.read("a.tif") == b"after"
    assert store.keys("") == ["a.tif"]


def test_what_was_sent_in_full_is_not_sent_again(
    tmp_path: Path, place: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.tif"
    file.write_bytes(b"picture")
    delivery._send(file, below(place), ".a.tif.f4b44b6d.part".replace("f4b44b6d", _crc(file)))
    monkeypatch.delattr(delivery, "_send")
    deliver(file, place.within("a.tif"))
    assert below(place).read("a.tif") == b"picture"


def _crc(path: Path) -> str:
    from tilefarm.files import checksum

    return f"{checksum(path):08x}"


def test_a_job_whose_output_is_an_address(tilefarm_command: Command, tmp_path: Path, place: Address) -> None:
    more = (
        f"snapshots: {{every: 20, long_side: 64}}\nanimation: {{path: '{place}/film.gif', long_side: 64}}\n"
    )
    job = write_job(tmp_path, f"path: '{place}/prints/gate.tif'", more)
    first = tilefarm_command("submit", job)
    assert first.code == 0, first.err
    assert f"sent gate.tif to {place}/prints/gate.tif" in first.err
    store, outbox = below(place), tmp_path / "outbox" / place.place
    assert store.read("prints/gate.tif") == (outbox / "prints/gate.tif").read_bytes()
    assert store.read("film.gif") == (outbox / "film.gif").read_bytes()
    assert sorted(store.keys("")) == ["film.gif", "prints/gate.tif"]
    assert str(place).encode() not in (outbox / "prints/gate.tif").read_bytes()

    again = tilefarm_command("resume", only_run(tmp_path).root)
    assert again.code == 0
    assert "sent" not in again.err
    store.remove(["prints/gate.tif"])
    back = tilefarm_command("submit", job)
    assert f"sent gate.tif to {place}/prints/gate.tif" in back.err
    assert store.size("prints/gate.tif") == (outbox / "prints/gate.tif").stat().st_size


def test_a_store_that_is_away_at_the_end_keeps_the_picture_and_the_run(
    tilefarm_command: Command, tmp_path: Path, place: Address, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tilefarm.making.finish import finish

    def finish_and_lose(*arguments: object) -> bool:
        made = finish(*arguments)  # type: ignore[arg-type]
        s3.stop()
        return made

    job = write_job(tmp_path, f"path: '{place}/gate.tif'")
    monkeypatch.setattr("tilefarm.driver.finish", finish_and_lose)
    try:
        lost = tilefarm_command("submit", job)
    finally:
        s3.start()
    assert lost.code == 3
    assert "gate.tif is finished, and could not be sent" in lost.err
    assert "resume with: tilefarm resume" in lost.err
    assert json.loads(only_run(tmp_path).summary.read_text())["status"] == "done"
    monkeypatch.setattr("tilefarm.driver.finish", finish)
    assert tilefarm_command("resume", only_run(tmp_path).root).code == 0
    assert below(place).keys("") == ["gate.tif"]


def test_what_is_wrong_is_told_before_any_work(tilefarm_command: Command, tmp_path: Path) -> None:
    for output, sentence in {
        "s3://nobodys-bucket/a.tif": "output.path: s3://nobodys-bucket could not be written",
        "s3://me:hush@bucket/a.tif": "output.path must not hold a password",
        "s4://bucket/a.tif": "s4 is no protocol that can be written to",
        f"s3://{BUCKET}/a.txt": "output.path must end in",
    }.items():
        answer = tilefarm_command("submit", write_job(tmp_path, f"path: '{output}'"))
        assert answer.code == 2, output
        assert sentence in answer.err
        assert "hush" not in answer.out + answer.err
    assert not (tmp_path / "runs").exists()


def test_inputs_at_addresses_are_refused_in_a_sentence(tilefarm_command: Command, tmp_path: Path) -> None:
    job = write_job(tmp_path)
    job.write_text(job.read_text().replace("content: photo.png", "content: s3://bucket/photo.png"))
    answer = tilefarm_command("submit", job)
    assert answer.code == 2
    assert "content is an address, 's3://bucket/photo.png', where only output.path" in answer.err


def test_export_and_recolor_to_addresses(tilefarm_command: Command, tmp_path: Path, place: Address) -> None:
    assert tilefarm_command("submit", write_job(tmp_path)).code == 0
    run = only_run(tmp_path).root
    small = tilefarm_command("export", run, "--output", f"{place}/small.jpg", "--long-side", "64")
    assert small.code == 0, small.err
    assert f"sent to {place}/small.jpg" in small.out
    other = tilefarm_command("recolor", run, "--output", f"{place}/other.tif", "--mode", "content_luma")
    assert other.code == 0, other.err
    store = below(place)
    assert sorted(store.keys("")) == ["other.tif", "small.jpg"]
    for name in ("small.jpg", "other.tif"):
        assert store.read(name) == (tmp_path / "outbox" / place.place / name).read_bytes()
    wrong = tilefarm_command("export", run, "--output", "s3://nobodys-bucket/small.jpg")
    assert wrong.code == 2
    assert "--output: s3://nobodys-bucket could not be written" in wrong.err
