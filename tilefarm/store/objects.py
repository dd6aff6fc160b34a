"""Objects at an address: whole, small enough for memory, written and read by fsspec.

All errors of a store come out as `StoreError`, whose text holds no secret. fsspec is imported late, and the
library of a protocol only when it is used.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from typing import Any

from tilefarm.errors import IncompleteError, JobError
from tilefarm.spec.address import Address, without_secrets
from tilefarm.spec.values import did_you_mean, printable

WRAPPERS = frozenset(
    (
        *("async_wrapper", "asynclocal", "asyncwrapper", "blockcache", "cached", "dask", "data", "dir"),
        *("filecache", "generic", "jlab", "jupyter", "libarchive", "reference", "simplecache", "tar", "zip"),
    )
)
"""Protocols of fsspec that look into other files, or keep copies, and are no place of their own."""
_PATIENT = {"connect_timeout": 10, "read_timeout": 60, "retries": {"max_attempts": 2}}
_OPTIONS: dict[str, dict[str, Any]] = {
    "s3": {"config_kwargs": _PATIENT},
    "s3a": {"config_kwargs": _PATIENT},
    "file": {"auto_mkdir": True},
    "local": {"auto_mkdir": True},
}
_LONGEST_REASON = 200


class StoreError(IncompleteError):
    """A store did not do what it was asked to; the run itself is whole."""


class Store:
    """What lies below one address. Keys are relative to it, with `/` between their parts."""

    def __init__(self, address: Address) -> None:
        """Raises JobError for a protocol that is not known, or whose library is not installed."""
        self.address = address
        self.fs = _file_system(address)
        self._root = str(self.fs._strip_protocol(str(address))).rstrip("/")

    def path(self, key: str = "") -> str:
        """A key as fsspec's own path."""
        return f"{self._root}/{key}" if key else self._root

    def read(self, key: str) -> bytes | None:
        """The object's bytes; None where there is none."""
        with self.telling("read"):
            try:
                return bytes(self.fs.cat_file(self.path(key)))
            except FileNotFoundError:
                return None

    def write(self, key: str, data: bytes) -> None:
        """Write or replace a small object; in object stores all at once, elsewhere perhaps in parts."""
        with self.telling("written"):
            path = self.path(key)
            if self.is_local:
                self.fs.makedirs(posixpath.dirname(path), exist_ok=True)
            self.fs.pipe_file(path, data)

    def remove(self, keys: Iterable[str]) -> None:
        """Remove objects; those that are gone already are passed by."""
        with self.telling("removed"):
            for key in keys:
                with suppress(FileNotFoundError):
                    self.fs.rm_file(self.path(key))

    def keys(self, below: str) -> list[str]:
        """The keys that lie below another one."""
        with self.telling("listed"):
            try:
                found = self.fs.find(self.path(below))
            except FileNotFoundError:
                return []
            return [str(path).removeprefix(f"{self._root}/") for path in found]

    def size(self, key: str) -> int | None:
        """The bytes of an object; None where there is none."""
        with self.telling("looked at"):
            try:
                return int(self.fs.info(self.path(key))["size"])
            except FileNotFoundError:
                return None

    def age(self, key: str, probe: str) -> float | None:
        """Seconds since an object was written, None where there is none; both times are the store's own.

        `probe` is a key of the caller's that is written and removed for it: clocks here count for nothing.
        """
        with self.telling("looked at"):
            try:
                then = _utc(self.fs.modified(self.path(key)))
            except FileNotFoundError:
                return None
            self.write(probe, b"")
            now = _utc(self.fs.modified(self.path(probe)))
            self.fs.rm_file(self.path(probe))
        return max(0.0, (now - then).total_seconds())

    @property
    def is_local(self) -> bool:
        """Whether its folders must be made."""
        return self.address.protocol not in ("s3", "s3a", "gs", "gcs", "az", "abfs", "oss", "oci")

    def check(self, what: str) -> None:
        """Write a small object and remove it. Raises JobError, which begins with `what`, where that fails."""
        if self.address.protocol == "memory":
            raise JobError(f"{what} must outlive this process, which {self.address} does not; use s3 or file")
        key = ".tilefarm-probe"  # of another process at the same moment, too
        try:
            self.write(key, b"probe")
            if self.read(key) not in (b"probe", None):
                raise StoreError(f"{self.address} does not give back what was written there")
            self.remove([key])
        except StoreError as error:
            raise JobError(f"{what}: {error}") from error

    @contextmanager
    def telling(self, done: str) -> Iterator[None]:
        """Within the block every failure of the protocol's library is a StoreError."""
        try:
            yield
        except StoreError:
            raise
        except Exception as error:
            raise StoreError(f"{self.address} could not be {done}: {reason(error)}") from error


def _file_system(address: Address) -> Any:
    try:
        import fsspec
    except ImportError as error:
        raise JobError(f"{address} needs fsspec: pip install 'tilefarm[cluster]'") from error
    protocol = address.protocol
    known = [name for name in fsspec.available_protocols() if name not in WRAPPERS]
    if protocol not in known:
        raise JobError(
            f"{address}: {protocol} is no protocol that can be written to; use s3, gs, abfs, sftp or file"
            f"{did_you_mean(protocol, known)}"
        )
    try:
        return fsspec.filesystem(protocol, use_listings_cache=False, **_OPTIONS.get(protocol, {}))
    except ImportError as error:
        way = "pip install 'tilefarm[cluster]'" if protocol in ("s3", "s3a") else printable(str(error))
        raise JobError(f"{address}: the library for {protocol} is not installed: {way}") from error
    except Exception as error:
        raise JobError(f"{address} cannot be used: {reason(error)}") from error


def reason(error: BaseException) -> str:
    """Why a store refused, for people, without secrets."""
    kind = type(error).__name__
    if kind in ("NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError"):
        return "no credentials were found; put them into the environment or into the protocol's own files"
    if isinstance(error, PermissionError):
        return f"access was refused ({_short(error)}); look at the credentials and what they may do"
    if isinstance(error, FileNotFoundError):
        return f"there is no such bucket or folder ({_short(error)})"
    return f"{_short(error)}" if str(error) else kind


def _short(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    text = printable(without_secrets(lines[0]))
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}..."


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
