"""XMP packets: what is written comes back, and a stranger's does no harm."""

from __future__ import annotations

import time
from xml.dom import minidom

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilefarm.image.xmp import MOST_BYTES, MOST_WRITTEN, BadPacketError, packet, record_in
from tilefarm.spec.yaml_source import parse
from tilefarm.spec.yaml_writer import write_yaml

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
WRAP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:tilefarm="urn:tilefarm:xmp:1.0:" {attributes}>{body}'
    "</rdf:Description></rdf:RDF></x:xmpmeta>"
)


def wrapped(body: str = "", attributes: str = "") -> bytes:
    return WRAP.format(body=body, attributes=attributes).encode()


@given(st.dictionaries(texts, values, max_size=5))
def test_any_record_comes_back(record: dict[str, object]) -> None:
    data = packet("job", "tilefarm 1.0", write_yaml(record))
    text = record_in(data)
    assert text is not None
    assert parse(text, "the record").data == record


def test_another_reader_sees_the_standard_properties() -> None:
    data = packet("gate & <night>", "tilefarm 1.0", "a: 1\n")
    tree = minidom.parseString(data)
    [title] = tree.getElementsByTagName("dc:title")
    assert title.toxml().count("gate &amp; &lt;night&gt;") == 1
    [tool] = tree.getElementsByTagName("xmp:CreatorTool")
    assert tool.firstChild is not None
    assert tool.firstChild.toxml() == "tilefarm 1.0"
    assert data.startswith('<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'.encode())
    assert data == packet("gate & <night>", "tilefarm 1.0", "a: 1\n")


def test_a_packet_that_jpeg_cannot_hold_is_not_made() -> None:
    room = MOST_WRITTEN - len(packet("", "", "x")) + 1
    assert len(packet("", "", "x" * room)) == MOST_WRITTEN
    with pytest.raises(ValueError, match="does not fit"):
        packet("", "", "x" * (room + 1))


def test_both_forms_of_the_property_are_read() -> None:
    assert record_in(wrapped("<tilefarm:record>a: 1</tilefarm:record>")) == "a: 1"
    assert record_in(wrapped(attributes='tilefarm:record="a: 1&#xA;b: 2"')) == "a: 1\nb: 2"
    assert record_in(wrapped("<tilefarm:record/>")) == ""
    assert record_in(wrapped("<tilefarm:other>a: 1</tilefarm:other>")) is None
    assert record_in(wrapped("<tilefarm:record>a: 1</tilefarm:record>") + bytes(4096)) == "a: 1"  # padding


LAUGHS = "<!DOCTYPE x [<!ENTITY a0 'ha'>" + "".join(
    f"<!ENTITY a{n} '{f'&a{n - 1};' * 10}'>" for n in range(1, 10)
)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (f"{LAUGHS}]><x>&a9;</x>".encode(), "document type"),
        (b"<!DOCTYPE x SYSTEM 'file:///etc/passwd'><x/>", "document type"),
        (b"<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><x>&e;</x>", "document type"),
        ("<!DOCTYPE x [<!ENTITY a 'ha'>]><x>&a;</x>".encode("utf-16"), "not UTF-8"),
        (b"<?xml version='1.0' encoding='utf-7'?>+ADwAIQ-DOCTYPE x+AD4-<x/>", "not XML"),
        (b" " * (MOST_BYTES + 1), "bytes, more than"),
        (b"<a>" * 60 + b"</a>" * 60, "more than"),
        (b"<r>" + b"<a/>" * 20_000 + b"</r>", "more than"),
        (b"<a><b></a>", "not XML"),
        (b"<a>\0</a>", "not XML"),
        (b"<a>&undefined;</a>", "not XML"),
        (b"", "not XML"),
        (b"\xff\xfe\xfd", "not UTF-8"),
    ],
)
def test_a_strangers_packet_does_no_harm(data: bytes, why: str) -> None:
    begin = time.monotonic()
    with pytest.raises(BadPacketError, match=why):
        record_in(data)
    assert time.monotonic() - begin < 5, "it was expanded"


@given(st.binary(max_size=300) | st.text(max_size=100).map(lambda text: wrapped(text)))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        found = record_in(data)
    except BadPacketError:
        return
    assert found is None or isinstance(found, str)
