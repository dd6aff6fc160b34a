"""What is read of a folder on which a driver works, and how it is named: always of one moment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.faulty import drive, shortened, write_job
from tests.stored import keep_and_drive
from tilefarm.events import Event, TileFinished
from tilefarm.rundir.layout import RunDir
from tilefarm.spec.address import parse_address
from tilefarm.store import capture as store_capture
from tilefarm.store.blocks import Sender
from tilefarm.store.capture import Stale, capture
from tilefarm.store.manifest import Block, Kept, Manifest, is_kept_name, read_newest, write_manifest
from tilefarm.store.objects import Store


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    path = write_job(tmp_path_factory.mktemp("painted"), "feathered")
    with shortened():
        return drive(path, "feathered")


def sender(run: RunDir, folder: Path) -> Sender:
    return Sender(Store(parse_address(f"file://{folder}/store")), run, "0a", lambda size, seconds: None)


def test_a_needed_canvas_that_is_not_as_on_record_is_stale_and_an_old_one_is_left_out(
    painted: RunDir, tmp_path: Path
) -> None:
    files = sender(painted, tmp_path).send(capture(painted))
    assert {"canvas-0.f32", "canvas-1.f32", "targets-1.npz"} <= files.keys()
    for level, stale in ((0, False), (1, True)):
        whole = painted.canvas(level).read_bytes()
        painted.canvas(level).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        try:
            if stale:
                with pytest.raises(Stale, match=r"canvas-1\.f32"):
                    sender(painted, tmp_path).send(capture(painted))
            else:
                left = sender(painted, tmp_path).send(capture(painted))
                assert files.keys() - left.keys() == {"canvas-0.f32"}
        finally:
            painted.canvas(level).write_bytes(whole)
    assert not (painted.root / ".store").exists()


def test_a_torn_line_is_left_out_and_a_damaged_one_is_stale(painted: RunDir) -> None:
    whole = painted.journal.read_bytes()
    try:
        painted.journal.write_bytes(whole + b'{"kind":"til')
        assert capture(painted).texts["journal.jsonl"] == whole
        painted.journal.write_bytes(whole.replace(b'"crc":', b'"crd":', 1))
        with pytest.raises(Stale, match="journal is damaged"):
            capture(painted)
    finally:
        painted.journal.write_bytes(whole)


def test_a_long_journal_is_kept_whole_and_a_long_log_of_events_left_out(
    painted: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = capture(painted)
    assert painted.events.name in whole.texts
    monkeypatch.setattr(store_capture, "MOST_TEXT", 10)  # all are longer
    found = capture(painted)
    assert found.progress == whole.progress
    assert found.texts[painted.journal.name] == painted.journal.read_bytes()
    assert {painted.job.name, painted.plan.name} <= found.texts.keys()
    assert painted.events.name not in found.texts


def test_tiles_of_a_round_are_sent_once_and_as_they_come(tmp_path: Path) -> None:
    """Every tile is in the capture after its line, and what is known is not sent again."""
    sent: list[int] = []
    slots: list[int] = []

    def listen(run: RunDir) -> object:
        one = Sender(
            Store(parse_address(f"file://{tmp_path}/own")), run, "0b", lambda size, seconds: sent.append(size)
        )

        def on(event: Event) -> None:
            if isinstance(event, TileFinished):
                found = capture(run)
                slots.append(len(found.slots))
                before = len(sent)
                one.send(found)
                tiles = [size for size in sent[before:] if size == 64 * 64 * 3 * 4]
                assert len(tiles) <= 1

        return on

    keep_and_drive(write_job(tmp_path, "feathered"), "feathered", f"file://{tmp_path}/store", listen=listen)  # type: ignore[arg-type]
    assert max(slots) == 20


@given(
    st.dictionaries(
        st.sampled_from(
            ["journal.jsonl", "canvas-3.f32", "optimizer-0/s12.f32", "snapshots/level-00-step-0000004.jpg"]
        ),
        st.lists(st.integers(1, 1 << 40), max_size=4),
    ),
    st.integers(0, 1000),
)
def test_manifests_come_back_as_they_were(files: dict[str, list[int]], generation: int) -> None:
    store = Store(parse_address("memory://manifests/one"))
    kept = {}
    for name, lengths in files.items():
        places = [sum(lengths[:number]) for number in range(len(lengths))]
        blocks = [
            Block(offset=place, length=length, crc=7, key=f"objects/ab-{number}")
            for number, (place, length) in enumerate(zip(places, lengths, strict=True))
        ]
        kept[name] = Kept(size=sum(lengths), blocks=tuple(blocks))
    manifest = Manifest(run="r", generation=generation, progress=(0, 1, 2, 3), files=kept)
    store.remove(["manifest-0.json", "manifest-1.json"])
    write_manifest(store, manifest)
    assert read_newest(store) == manifest


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "/etc/passwd",
        "lock",
        "pause",
        "levels/../job.yaml",
        "optimizer-0/../../x.f32",
        "",
        "canvas-.f32",
    ],
)
def test_other_names_are_not_kept(name: str) -> None:
    assert not is_kept_name(name)


@pytest.mark.parametrize(
    "change",
    [
        {"blocks": [{"offset": 5, "length": 1, "crc": 1, "key": "objects/a-1"}]},
        {"blocks": [{"offset": 0, "length": 1, "crc": 1, "key": "../../secret"}]},
        {"size": -1},
    ],
)
def test_a_manifest_that_is_not_sound_is_none(change: dict[str, object]) -> None:
    from tilefarm.sealed import sealed_json

    store = Store(parse_address("memory://manifests/two"))
    record = {"format": 1, "run": "r", "generation": 2, "progress": [0, 0, 0, 0]}
    good = {"size": 2, "blocks": []}
    store.write("manifest-0.json", sealed_json(json.dumps({**record, "files": {"run.json": good}})).encode())
    assert read_newest(store) is not None
    bad = {"run.json": {**good, **change}}
    store.write("manifest-0.json", sealed_json(json.dumps({**record, "files": bad})).encode())
    assert read_newest(store) is None
