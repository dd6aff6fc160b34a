"""A real S3 server on loopback."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from s3fs import S3FileSystem

from tests.s3 import BUCKET, S3, serving
from tilefarm.spec.address import Address, parse_address


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    with serving() as server:
        yield server


_CLIENTS: list[object] = []
"""Kept to the end: a client that is thrown away closes its connections too late for the test."""


@pytest.fixture
def new_clients(s3: S3) -> Iterator[None]:
    """Clients look at the environment when they are made."""
    before = dict(S3FileSystem._cache)
    S3FileSystem._cache.clear()
    yield
    _CLIENTS.extend(S3FileSystem._cache.values())
    S3FileSystem._cache.clear()
    S3FileSystem._cache.update(before)


@pytest.fixture
def place(s3: S3) -> Address:
    """An address in the bucket that nobody has used yet."""
    return parse_address(f"s3://{BUCKET}/{uuid.uuid4().hex}")
