"""The preflight's report, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tilefarm.errors import JobError
from tilefarm.preflight.facts import Facts, read_facts
from tilefarm.preflight.judge import Finding, effective_dpi, judge
from tilefarm.preflight.wish import Wish

_CM_PER_INCH = 2.54


@dataclass(frozen=True)
class Report:
    """What was found in a file."""

    path: Path
    wish: Wish
    facts: Facts | None
    """None where it is no whole picture."""
    findings: tuple[Finding, ...]

    @property
    def good(self) -> bool:
        """Whether nothing is a problem."""
        return not any(finding.level == "problem" for finding in self.findings)


def examine_file(path: Path, wish: Wish) -> Report:
    """Reopen a picture, decode all of it, and judge it. A file that cannot be read is a finding too."""
    try:
        facts = read_facts(path)
    except JobError as error:
        return Report(path, wish, None, tuple(Finding("problem", text) for text in error.problems))
    return Report(path, wish, facts, tuple(judge(facts, wish)))


def report_lines(report: Report) -> Iterator[str]:
    """The file, what it is, and a line for each finding."""
    yield str(report.path)
    if report.facts is not None:
        for name, text in _described(report.facts, report.wish):
            yield f"  {name:12} {text}"
    for finding in report.findings:
        yield f"{finding.level:8} {finding.text}"


def report_record(report: Report) -> dict[str, Any]:
    """The same, ready for JSON."""
    return {
        "file": str(report.path),
        "good": report.good,
        "facts": None if report.facts is None else _facts_record(report.facts, report.wish),
        "findings": [asdict(finding) for finding in report.findings],
    }


def _described(facts: Facts, wish: Wish) -> Iterator[tuple[str, str]]:
    size = facts.size
    yield "format", ", ".join((facts.format, facts.compression, *facts.layout))
    yield "pixels", f"{size} ({size.pixels / 1e6:.1f} megapixels)"
    if facts.dpi is None:
        yield "size", "not stated"
    else:
        width, height = size.width / facts.dpi[0], size.height / facts.dpi[1]
        yield "size", f"{width * _CM_PER_INCH:.2f} x {height * _CM_PER_INCH:.2f} cm at {facts.dpi[0]:.0f} dpi"
    if wish.paper is not None:
        yield "resolution", f"{min(effective_dpi(facts, wish.paper)):.0f} dpi on the paper that was asked for"
    if (trim := facts.trim) is not None:
        bleed = (trim.left, trim.top, size.width - trim.right, size.height - trim.bottom)
        sides = ", ".join(map(str, bleed))
        yield "trim", f"{trim.size} without a bleed of {sides} pixels (left, top, right, bottom)"
    yield "channels", f"{facts.model}{' with alpha' * facts.alpha}, {facts.bits} bits"
    yield "profile", facts.profile or "none"
    yield "orientation", "upright" if facts.orientation in (0, 1) else f"turned, EXIF {facts.orientation}"
    record = facts.record
    if record is None:
        yield "provenance", "none"
    else:
        yield "provenance", f"tilefarm {record.tilefarm}, job {_job_name(facts)}"
        if record.paper is not None:
            paper = {key: record.paper.get(key, "?") for key in ("width", "height", "bleed")}
            yield "made for", f"{paper['width']} x {paper['height']}, bleed {paper['bleed']}"


def _job_name(facts: Facts) -> str | None:
    name = None if facts.record is None else facts.record.job.get("name")
    return name[:80] if isinstance(name, str) and name.isprintable() else None


def _facts_record(facts: Facts, wish: Wish) -> dict[str, Any]:
    trim, record = facts.trim, facts.record
    return {
        "format": facts.format,
        "width": facts.size.width,
        "height": facts.size.height,
        "dpi": facts.dpi,
        "effective_dpi": None if wish.paper is None else effective_dpi(facts, wish.paper),
        "bits": facts.bits,
        "floating_point": facts.is_float,
        "model": facts.model,
        "alpha": facts.alpha,
        "profile": facts.profile,
        "profile_name": facts.profile_name,
        "compression": facts.compression,
        "layout": facts.layout,
        "orientation": facts.orientation,
        "pages": facts.pages,
        "trim": None if trim is None else [trim.left, trim.top, trim.right, trim.bottom],
        "provenance": None
        if record is None
        else {
            "tilefarm": record.tilefarm,
            "torch": record.torch,
            "job": _job_name(facts),
            "paper": record.paper,
        },
    }
