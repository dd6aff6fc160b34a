"""Addresses: which are taken, and that no secret in one is ever shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilefarm.spec.address import Address, is_address, parse_address, without_secrets


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("s3://bucket/prints/a.tif", Address("s3", "bucket/prints/a.tif")),
        ("S3://bucket/prints/", Address("s3", "bucket/prints")),
        ("file:///srv/runs", Address("file", "/srv/runs")),
        ("sftp://me@host/runs", Address("sftp", "me@host/runs")),
        ("s3://bucket/a@b:c.tif", Address("s3", "bucket/a@b:c.tif")),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert parse_address(str(address)) == address
    assert address.within("x").name == "x"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("s3:/bucket/a", "must be PROTOCOL://PLACE/NAME"),
        ("s3://", "must name a place"),
        ("zip://a.zip::s3://b", "must name one protocol"),
        ("s3://b/../c", "must not hold the parts"),
        ("s3://b//c", "must not hold the parts"),
        ("s3://b/a\nb", "control characters"),
        ("s3://b/a?X-Amz-Signature=hush", "must not hold a query"),
        ("s3://key:hush@b/a", "must not hold a password"),
        ("sftp://me:hush@host/a?b", "must not hold a password"),
    ],
)
def test_what_is_refused(text: str, rule: str) -> None:
    with pytest.raises(ValueError, match=rule) as refusal:
        parse_address(text)
    assert "hush" not in str(refusal.value)


@given(st.text("abc:@/?#.\\", max_size=12), st.text("xyz0", min_size=6, max_size=9))
def test_a_password_is_never_shown(place: str, password: str) -> None:
    text = f"s3://user:{password}@{place}"
    with pytest.raises(ValueError, match="must") as refusal:
        parse_address(text)
    assert password not in str(refusal.value)
    assert password not in without_secrets(text)


def test_paths_are_no_addresses() -> None:
    assert is_address("s3://a/b")
    for text in ("a.tif", "/a/b.tif", "C:\\a.tif", "s3:/a", "//a/b", 12, None):
        assert not is_address(text)
