"""Addresses of files that are not in a folder here: PROTOCOL://PLACE/NAME, as fsspec takes them.

Only the text is judged here; whether anything is there is asked by `tilefarm.store`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from tilefarm.spec.values import found, printable

_FORM = re.compile(r"(?P<protocol>[A-Za-z][A-Za-z0-9+.-]*)://(?P<place>.*)", re.DOTALL)
_SECRET = re.compile(r"(?<=//)[^/@\s]*@")


@dataclass(frozen=True)
class Address:
    """An address without a password in it, so that it may be shown and written down."""

    protocol: str
    """In lower case: s3, gs, sftp ..."""
    place: str
    """What comes after `://`, without a slash at its end."""

    def __str__(self) -> str:
        return f"{self.protocol}://{self.place}"

    @property
    def name(self) -> str:
        """The last part."""
        return PurePosixPath(self.place).name

    def within(self, name: str) -> Address:
        """What is called `name` below this address."""
        return Address(self.protocol, f"{self.place}/{name}")


def is_address(value: object) -> bool:
    """Whether a text has the form of an address, so that it is not the path of a file."""
    return isinstance(value, str) and _FORM.fullmatch(value) is not None


def parse_address(text: str) -> Address:
    """The address that was written.

    Raises ValueError, a sentence without its beginning which shows no password, for one that is not
    understood or that carries a secret.
    """
    form = _FORM.fullmatch(text)
    if form is None:
        raise ValueError(f"must be PROTOCOL://PLACE/NAME, such as s3://bucket/prints, got {found(text)}")
    protocol, place = form["protocol"].lower(), form["place"]
    shown = found(without_secrets(text.partition("?")[0]))
    if "::" in place or "+" in protocol:
        raise ValueError(f"must name one protocol and not a chain of them, got {shown}")
    if not printable(place) == place or "\\" in place:
        raise ValueError(f"must not hold control characters or backslashes, got {shown}")
    if ":" in place.partition("/")[0].rpartition("@")[0]:
        raise ValueError(
            f"must not hold a password, got {shown}; credentials come from the environment or from the "
            "protocol's own files, such as ~/.aws/credentials"
        )
    if "?" in place or "#" in place:
        raise ValueError(f"must not hold a query, which may be a secret, got {shown}")
    parts = place.split("/")
    if ".." in parts or "." in parts or "" in parts[1:-1]:
        raise ValueError(f"must not hold the parts '.', '..' or empty ones, got {shown}")
    if not place.strip("/"):
        raise ValueError(f"must name a place, such as {protocol}://bucket/prints, got {shown}")
    return Address(protocol, place.rstrip("/"))


def without_secrets(text: str) -> str:
    """A text in which what stands between `//` and `@` is hidden."""
    return _SECRET.sub("***@", text)
