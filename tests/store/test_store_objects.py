"""What a store says of itself: reading, writing, and every way in which it can refuse."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.s3 import BUCKET, S3
from tilefarm.errors import JobError
from tilefarm.spec.address import Address, parse_address
from tilefarm.store.objects import Store, StoreError


@pytest.fixture(params=["s3", "file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path, place: Address) -> Store:
    local = {"file": f"file://{tmp_path}/deep/store", "memory": f"memory://{tmp_path.name}/store"}
    return Store(place if request.param == "s3" else parse_address(local[request.param]))


def test_what_is_written_can_be_read_listed_and_removed(store: Store) -> None:
    store.write("runs/a", b"one")
    store.write("runs/b/c", b"")
    store.write("runs/a", b"two")
    assert (store.read("runs/a"), store.read("runs/b/c"), store.read("runs/none")) == (b"two", b"", None)
    assert (store.size("runs/a"), store.size("runs/none")) == (3, None)
    assert sorted(store.keys("runs")) == sorted(store.keys("")) == ["runs/a", "runs/b/c"]
    assert store.keys("none") == []
    age = store.age("runs/a", "probe")
    assert age is not None
    assert 0 <= age < 60
    assert store.age("runs/none", "probe") is None
    store.remove(["runs/a", "runs/none", "runs/b/c"])
    assert store.keys("") == []


def test_the_check_leaves_nothing_behind(store: Store) -> None:
    if store.address.protocol == "memory":
        with pytest.raises(JobError, match=r"--store must outlive this process, which memory://.* does not"):
            store.check("--store")
    else:
        store.check("--store")
    assert store.keys("") == []


@pytest.mark.usefixtures("s3")
def test_a_bucket_that_is_not_there() -> None:
    with pytest.raises(JobError, match=r"--store: s3://nobodys/x could not be written: .*bucket"):
        Store(parse_address("s3://nobodys/x")).check("--store")


@pytest.mark.usefixtures("new_clients")
def test_no_credentials(place: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(JobError, match="no credentials were found"):
        Store(place).check("--store")


@pytest.mark.usefixtures("new_clients")
def test_wrong_credentials_are_told_without_showing_them(
    s3: S3, place: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-and-secret")
    s3.check_credentials(True)
    try:
        with pytest.raises(JobError, match="access was refused") as refusal:
            Store(place).check("--store")
    finally:
        s3.check_credentials(False)
    assert "secret" not in str(refusal.value).lower().replace("look at", "")


@pytest.mark.usefixtures("new_clients")
def test_a_server_that_is_not_there(place: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StoreError, match="could not be read: Could not connect"):
        Store(place).read("x")


def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JobError, match=r"--store: file://.*could not be written"):
        Store(parse_address(f"file://{tmp_path}/file/runs")).check("--store")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("s4://bucket/x", "s4 is no protocol that can be written to"),
        ("zip://bucket/x", "zip is no protocol that can be written to"),
        ("gs://bucket/x", "the library for gs is not installed"),
    ],
)
def test_a_protocol_without_its_library(text: str, sentence: str) -> None:
    if text.startswith("gs") and find_spec("gcsfs") is not None:
        pytest.skip("gcsfs is installed here")
    with pytest.raises(JobError, match=sentence):
        Store(parse_address(text))


def test_the_bucket_of_the_tests(s3: S3) -> None:
    assert Store(parse_address(f"s3://{BUCKET}")).size("none") is None
