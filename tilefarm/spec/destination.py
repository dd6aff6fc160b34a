"""Finished files that go to an address: written and checked as a file here first, and then sent.

`path: s3://bucket/prints/a.tif` is short for a path in the folder `outbox` and an `address`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator

from tilefarm.spec.address import Address, is_address, parse_address
from tilefarm.spec.section import Conflict
from tilefarm.spec.values import found

OUTBOX = "outbox"
"""The folder, beside the job file, of files that were sent or are to be sent."""


def _address(value: Any) -> Address | None:
    if value is None or isinstance(value, Address):
        return value
    if not isinstance(value, str):
        raise ValueError(f"must be an address, such as s3://bucket/prints/a.tif, got {found(value)}")
    return parse_address(value)


DestinationKey = Annotated[
    Address | None,
    PlainValidator(_address),
    PlainSerializer(lambda address: None if address is None else str(address)),
]
"""Where a finished file is sent; None: nowhere."""


def with_local_copy(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """A section in which a `path` that is an address is replaced by a path and that address.

    What is no sound address stays, and is told by the path's own rule.
    """
    path = given.get("path")
    if not is_address(path):
        return given
    try:
        address = parse_address(str(path))
    except ValueError:
        return given
    return {**given, "path": local_copy(address), "address": str(address)}


def local_copy(address: Address) -> str:
    """The relative path of the file before it is sent."""
    return f"{OUTBOX}/{address.place.lstrip('/')}"


def destination_conflicts(given: Mapping[str, Any]) -> Iterator[Conflict]:
    """Of one section: two addresses, or two kinds of file."""
    path, address = given.get("path"), given.get("address")
    if not isinstance(path, str) or not is_address(address):
        return
    if is_address(path):
        yield Conflict(("address",), "cannot be given where the path is an address; keep only one of them")
    elif _ending(path) != _ending(str(address)):
        yield Conflict(
            ("address",),
            f"must end as the path does, {found(_ending(path))}, got {found(_ending(str(address)))}",
        )


def with_name_ending(written: str, ending: str) -> str:
    """A path or an address with an ending behind its file's stem."""
    head, slash, name = written.rpartition("/")
    pure = PurePosixPath(name)
    return f"{head}{slash}{pure.stem}{ending}{pure.suffix}"


def _ending(path: str) -> str:
    return PurePosixPath(path).suffix.lower()
