"""XMP packets: what is written into a picture beside its pixels, and what is read from a stranger's.

ISO 16684-1, and part 3 of Adobe's XMP Specification for where the formats keep them.
"""

from __future__ import annotations

from xml.etree import ElementTree
from xml.parsers import expat

import pyvips

NAMESPACE = "urn:tilefarm:xmp:1.0:"
"""Of our own property, `record`, whose value is text."""
MOST_BYTES = 1 << 20
"""Of a packet that is read. Ours have a few thousand."""
MOST_WRITTEN = 65_000
"""Bytes of a packet that every format holds: a JPEG segment takes 65,502 beside its own marks."""

_FIELD = "xmp-data"
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_DC = "http://purl.org/dc/elements/1.1/"
_XMP = "http://ns.adobe.com/xap/1.0/"
_META = "adobe:ns:meta/"
_XML = "http://www.w3.org/XML/1998/namespace"
_PREFIXES = {"x": _META, "rdf": _RDF, "dc": _DC, "xmp": _XMP, "tilefarm": NAMESPACE}
_MOST_LEVELS = 50
_MOST_ELEMENTS = 10_000
_BEGIN = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'  # the id is the specification's
_END = '\n<?xpacket end="w"?>'


class BadPacketError(ValueError):
    """What is in the place of an XMP packet is none that we read; the message says why."""


def packet(title: str, tool: str, record: str) -> bytes:
    """A packet with a title, the program that made the picture, and the text of our own property.

    Nothing in it comes from a clock: the same values give the same bytes. Raises ValueError above
    MOST_WRITTEN bytes.
    """
    for prefix, uri in _PREFIXES.items():
        ElementTree.register_namespace(prefix, uri)
    meta = ElementTree.Element(f"{{{_META}}}xmpmeta")
    rdf = ElementTree.SubElement(meta, f"{{{_RDF}}}RDF")
    about = ElementTree.SubElement(rdf, f"{{{_RDF}}}Description", {f"{{{_RDF}}}about": ""})
    languages = ElementTree.SubElement(ElementTree.SubElement(about, f"{{{_DC}}}title"), f"{{{_RDF}}}Alt")
    default = ElementTree.SubElement(languages, f"{{{_RDF}}}li", {f"{{{_XML}}}lang": "x-default"})
    default.text = title
    ElementTree.SubElement(about, f"{{{_XMP}}}CreatorTool").text = tool
    ElementTree.SubElement(about, f"{{{NAMESPACE}}}record").text = record
    body = ElementTree.tostring(meta, encoding="unicode")
    data = f"{_BEGIN}{body}{_END}".encode()
    if len(data) > MOST_WRITTEN:
        raise ValueError(f"an XMP packet of {len(data)} bytes does not fit into every format")
    return data


def packet_of(image: pyvips.Image) -> bytes | None:
    """The XMP packet of an open picture, whatever it holds; None where there is none."""
    return bytes(image.get(_FIELD)) if image.get_typeof(_FIELD) else None


def record_in(data: bytes) -> str | None:
    """The text of our property; None where the packet has none.

    The packet may come from anywhere: it must be UTF-8, small, not deep, and without a document type, which
    is where XML keeps entities that grow and files that are fetched. Raises BadPacketError.
    """
    if len(data) > MOST_BYTES:
        raise BadPacketError(f"it has {len(data)} bytes, more than {MOST_BYTES}")
    try:
        text = data.rstrip(b"\0").decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise BadPacketError("it is not UTF-8") from None
    try:
        _check(text)
        root = ElementTree.fromstring(text)
    except (expat.ExpatError, ElementTree.ParseError) as error:
        raise BadPacketError(f"it is not XML ({error})") from None
    name = f"{{{NAMESPACE}}}record"
    for place in root.iter(f"{{{_RDF}}}Description"):
        if name in place.attrib:  # the short form that other programs rewrite simple properties into
            return place.attrib[name]
        if (element := place.find(name)) is not None:
            return element.text or ""
    return None


def _check(text: str) -> None:
    """Raises BadPacketError for a document type, and for more elements than a packet has."""
    depth = elements = 0

    def begin(*_: object) -> None:
        nonlocal depth, elements
        depth, elements = depth + 1, elements + 1
        if depth > _MOST_LEVELS or elements > _MOST_ELEMENTS:
            raise BadPacketError(f"it has more than {_MOST_ELEMENTS} elements or {_MOST_LEVELS} levels")

    def end(_: str) -> None:
        nonlocal depth
        depth -= 1

    def refuse(*_: object) -> None:
        raise BadPacketError("it has a document type, which no XMP packet needs")

    parser = expat.ParserCreate("utf-8")  # whatever its own declaration says: it was decoded as that
    parser.StartElementHandler, parser.EndElementHandler = begin, end
    parser.StartDoctypeDeclHandler = refuse
    parser.Parse(text, True)
