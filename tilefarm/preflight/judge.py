"""What a print shop's preflight says of a file: facts against what is asked of it, a sentence each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from tilefarm.preflight.facts import Facts
from tilefarm.preflight.wish import Wish
from tilefarm.spec.file_form import format_name
from tilefarm.spec.paper import Print

USUAL_DPI = 300
"""What print shops ask for pictures that are looked at from near."""
ENOUGH_DPI, LEAST_DPI = 200, 150
"""What suits posters; below the least, pixels are seen."""
_ROUNDING = 0.995
_SAME_SHAPE = 0.005
_MM_PER_INCH = 25.4
_LONGEST_MM = 1.0
"""By which the size that the file states may differ from the paper's."""
_BLEED_TOLERANCE = 0.05

Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """A line of the report."""

    level: Level
    text: str


def judge(facts: Facts, wish: Wish) -> list[Finding]:
    """All findings, in the order in which a print shop looks."""
    parts = (_format, _colour, _bits, _alpha, _position, _resolution, _paper, _size, _record)
    return [Finding("ok", "every pixel decodes"), *(one for part in parts for one in part(facts, wish))]


def _format(facts: Facts, wish: Wish) -> Iterator[Finding]:
    asked = wish.asked
    if asked is not None:
        names = [format_name(format) for format in asked.formats]
        good = facts.format in names
        yield Finding("ok" if good else "problem", f"{facts.format}{_wants(wish, ' or '.join(names), good)}")
    elif facts.format in ("TIFF", "JPEG", "PNG"):
        yield Finding("ok", f"{facts.format}, which print shops take")
    else:
        yield Finding("warning", f"{facts.format} is taken by few print shops; export it as TIFF or JPEG")
    if facts.pages > 1:
        yield Finding("warning", f"holds {facts.pages} pages, of which the first is looked at alone")
    special = {"progressive", "interlaced", "BigTIFF", "pyramid"}.intersection(facts.layout)
    if wish.preset in ("lab-srgb", "lab-adobe", "poster") and special:
        yield Finding("warning", f"{', '.join(sorted(special))}: older programs of print shops fail on it")
    if wish.preset in ("lab-srgb", "lab-adobe") and {"4:2:0", "4:2:2"}.intersection(facts.layout):
        yield Finding("warning", "colours are stored coarser than brightness; fine red lines get soft")
    if asked is not None and facts.format == "TIFF":
        wanted = asked.only_for.get("tiff", {}).get("compression", facts.compression)
        if facts.compression.casefold() != wanted:
            yield Finding("warning", f"compressed with {facts.compression}{_wants(wish, wanted, False)}")


def _colour(facts: Facts, wish: Wish) -> Iterator[Finding]:
    wanted = None if wish.asked is None else wish.asked.keys.get("profile")
    if facts.model in ("CMYK", "CIELab"):
        level: Level = "warning" if wanted is None else "problem"
        yield Finding(
            level, f"{facts.model}{_wants(wish, wanted or '', wanted is None)}: made for one press only"
        )
    if facts.profile is None:
        level = "warning" if wanted is None else "problem"
        yield Finding(level, "no colour profile: what its colours are is left to guess; export it with one")
    elif not facts.profile_fits:
        yield Finding(
            "problem", f"its profile, {facts.profile}, is not one for {facts.model}; export it anew"
        )
    elif wanted is None or facts.profile_name == wanted:
        yield Finding("ok", f"colour profile {facts.profile}")
    else:
        yield Finding("problem", f"colour profile {facts.profile}{_wants(wish, wanted, False)}")


def _bits(facts: Facts, wish: Wish) -> Iterator[Finding]:
    wanted = None if wish.asked is None else wish.asked.keys.get("bit_depth")
    if facts.is_float or facts.bits > 16:
        yield Finding("problem", f"{facts.bits} bits a channel are read by few programs; export 8 or 16")
    elif wanted is None or facts.bits == wanted:
        yield Finding("ok", f"{facts.bits} bits a channel")
    else:
        yield Finding("problem", f"{facts.bits} bits a channel{_wants(wish, str(wanted), False)}")


def _alpha(facts: Facts, wish: Wish) -> Iterator[Finding]:
    if not facts.alpha:
        yield Finding("ok", "no transparency")
    elif wish.asked is None or not wish.asked.alpha:
        level: Level = "warning" if wish.asked is None else "problem"
        yield Finding(level, "has transparency, which prints white, black or not at all; export it flattened")


def _position(facts: Facts, wish: Wish) -> Iterator[Finding]:
    if facts.orientation not in (0, 1):
        yield Finding(
            "warning",
            f"lies turned in the file (EXIF orientation {facts.orientation}): programs that do not look "
            "there print it so; save it upright",
        )


def effective_dpi(facts: Facts, paper: Print) -> tuple[float, float]:
    """Pixels per inch across and down when the file fills the sheet with its bleed."""
    width, height = paper_inches(paper)
    return facts.size.width / width, facts.size.height / height


def paper_inches(paper: Print) -> tuple[float, float]:
    """Width and height of the sheet with its bleed."""
    width, height = (float(side.inches + 2 * paper.bleed.inches) for side in (paper.width, paper.height))
    return width, height


def _resolution(facts: Facts, wish: Wish) -> Iterator[Finding]:
    if wish.preset == "web":
        return  # pixels count there
    if facts.dpi is None:
        yield Finding("warning", "says no resolution: its size on paper is left to the print shop")
    elif abs(facts.dpi[0] / facts.dpi[1] - 1) > _SAME_SHAPE:
        yield Finding(
            "warning", f"its resolution differs, {facts.dpi[0]:.0f} across and {facts.dpi[1]:.0f} down"
        )
    found = effective_dpi(facts, wish.paper) if wish.paper is not None else facts.dpi
    if found is None:
        return
    dpi, wanted = min(found), USUAL_DPI if wish.asked is None else wish.asked.keys["dpi"]
    place = "" if wish.paper is None else f" on {_named(wish.paper)}"
    if dpi >= wanted * _ROUNDING:
        yield Finding("ok", f"{dpi:.0f} dpi{place}")
    elif dpi >= ENOUGH_DPI * _ROUNDING:
        yield Finding("warning", f"{dpi:.0f} dpi{place}, less than {wanted}: good from a metre away")
    elif dpi >= LEAST_DPI * _ROUNDING:
        yield Finding("warning", f"{dpi:.0f} dpi{place}, less than {ENOUGH_DPI}: soft when seen from near")
    else:
        yield Finding(
            "problem", f"{dpi:.0f} dpi{place}, less than {LEAST_DPI}: pixels are seen; print it smaller"
        )


def _paper(facts: Facts, wish: Wish) -> Iterator[Finding]:
    if wish.paper is None:
        return
    width, height = paper_inches(wish.paper)
    shape, wanted = facts.size.width / facts.size.height, width / height
    if abs(shape / wanted - 1) > _SAME_SHAPE:
        yield Finding(
            "problem",
            f"its shape is {shape:.3f}:1 and that of {_named(wish.paper)} is {wanted:.3f}:1: it will be cut, "
            "or get white borders; export it with --print",
        )
    else:
        yield Finding("ok", f"has the shape of {_named(wish.paper)}")
    if facts.dpi is not None:
        stated = facts.size.width / facts.dpi[0], facts.size.height / facts.dpi[1]
        if max(abs(a - b) for a, b in zip(stated, (width, height), strict=True)) * _MM_PER_INCH > _LONGEST_MM:
            size = " x ".join(f"{side * _MM_PER_INCH / 10:.1f}" for side in stated)
            yield Finding("warning", f"says itself that it is {size} cm large; tell the print shop the size")
    yield from _bleed(facts, wish.paper)


def _bleed(facts: Facts, paper: Print) -> Iterator[Finding]:
    """Whether what the record says of the bleed is what was asked for; by parts of the file's width."""
    if facts.record is None or facts.record.picture != [facts.size.width, facts.size.height]:
        return
    trim = facts.trim
    made = 0.0 if trim is None else trim.left / facts.size.width
    wanted = float(paper.bleed.inches) / paper_inches(paper)[0]
    if abs(made - wanted) <= max(_BLEED_TOLERANCE * wanted, 1 / facts.size.width):
        yield Finding("ok", f"bleed of {paper.bleed}" if wanted else "no bleed, and none is asked for")
    elif made < wanted:
        yield Finding(
            "warning", f"was made with less bleed than {paper.bleed}: the cut may take more than was meant"
        )
    else:
        yield Finding("warning", f"was made with more bleed than {paper.bleed}: it would be seen")


def _size(facts: Facts, wish: Wish) -> Iterator[Finding]:
    most = None if wish.asked is None else wish.asked.keys.get("long_side")
    if most is not None and facts.size.long_side > most:
        yield Finding("warning", f"{facts.size} pixels, more than the {most} that {wish.preset} asks for")


def _record(facts: Facts, wish: Wish) -> Iterator[Finding]:
    if facts.record_fault is not None:
        yield Finding("warning", facts.record_fault)
    elif facts.record is not None and facts.record.picture != [facts.size.width, facts.size.height]:
        yield Finding("warning", "has another size than its record says: another program has changed it")


def _wants(wish: Wish, what: str, good: bool) -> str:
    return "" if good else f", where {wish.preset} asks for {what}"


def _named(paper: Print) -> str:
    bleed = f" with {paper.bleed} of bleed" if paper.bleed.amount else ""
    return f"{paper.width} x {paper.height}{bleed}"
