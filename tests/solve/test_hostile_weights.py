"""Weights files from strangers: a sentence, whatever was done to them, and no memory for what they claim."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.numpy import save

from tests.mutations import mutants
from tilefarm.errors import JobError
from tilefarm.solve.weight_files import read_weight_file
from tilefarm.solve.weights import load_weights

MP = pytest.MonkeyPatch
SMALL = {"features.0.weight": torch.ones(4, 3, 3, 3), "features.0.bias": torch.ones(4)}


def pickled(zipped: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save(SMALL, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


FILES = {
    "zipped.pth": pickled(True),
    "older.pth": pickled(False),
    "plain.safetensors": save({name: values.numpy() for name, values in SMALL.items()}),
}


@pytest.mark.parametrize("name", FILES)
def test_mutated_files(tmp_path: Path, name: str) -> None:
    path, told = tmp_path / name, []
    for mutant in mutants([FILES[name]], 60, seed=5):
        path.write_bytes(mutant)
        try:
            read_weight_file(path, "vgg16")
        except JobError as error:
            told.append(str(error))
    assert len(told) > 30
    assert all(str(path) in sentence and "\n" not in sentence for sentence in told)


def test_an_archive_that_grows_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pth"
    with (
        zipfile.ZipFile(io.BytesIO(FILES["zipped.pth"])) as good,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for part in good.infolist():
            bomb.writestr(part.filename, good.read(part))
        bomb.writestr("archive/data/7", bytes(30_000_000))
    with pytest.raises(JobError, match=r"must hold its parts uncompressed.* would unpack to 300\d{5}"):
        load_weights("vgg16", path)


def test_an_archive_whose_parts_cannot_be_listed_is_not_read(tmp_path: Path, monkeypatch: MP) -> None:
    """Whatever torch would make of it: nobody knows what it unpacks to."""
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was read"))
    path = tmp_path / "odd.pth"
    path.write_bytes(
        FILES["zipped.pth"].replace(b"PK\x01\x02", b"PK\x01\x03")
    )  # the parts' marks in the list
    with pytest.raises(JobError, match="cannot be read"):
        load_weights("vgg16", path)


@pytest.mark.parametrize("claim", [2**31, 2**40, 2**62])
def test_older_files_that_claim_more_than_they_hold(tmp_path: Path, claim: int) -> None:
    """The number of elements of the first storage, which stands behind its device in the pickle."""
    data = FILES["older.pth"]
    at = data.index(b"cpu") + 3
    at = data.index(b"K", at)
    path = tmp_path / "claims.pth"
    number = b"\x8a\x08" + struct.pack("<q", claim)  # LONG1 instead of BININT1
    path.write_bytes(data[:at] + number + data[at + 2 :])
    with pytest.raises(JobError, match="cannot be read"):
        load_weights("vgg16", path)


@pytest.mark.parametrize("length", [0, 1, 2**20, 2**40, 2**63, 2**64 - 1])
def test_headers_of_safetensors_that_claim_any_length(tmp_path: Path, length: int) -> None:
    path = tmp_path / "claims.safetensors"
    path.write_bytes(struct.pack("<Q", length) + FILES["plain.safetensors"][8:])
    with pytest.raises(JobError, match="cannot be read"):
        load_weights("vgg16", path)
