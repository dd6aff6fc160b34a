"""The results as one table for people and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from rich.table import Table

from scripts.benchmarks.context import Scale
from scripts.benchmarks.machine import Machine
from scripts.benchmarks.timing import Spread


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    value: Spread | float
    unit: str
    note: str = ""


@dataclass(frozen=True)
class Record:
    """One result of a section: its fields go into the JSON file, its rows into the table."""

    def rows(self) -> Sequence[Row]:
        """What the table shows of it."""
        raise NotImplementedError


@dataclass(frozen=True)
class Results:
    """A whole run."""

    machine: Machine
    scale: Scale
    seconds: float
    sections: Mapping[str, Sequence[Record]]

    def to_json(self) -> str:
        """The JSON document that the package's docstring describes."""
        content = {
            "machine": asdict(self.machine),
            "scale": asdict(self.scale),
            "seconds": self.seconds,
            "sections": {name: [asdict(each) for each in found] for name, found in self.sections.items()},
        }
        return json.dumps(content, indent=2) + "\n"

    def table(self) -> Table:
        """One row per figure, section by section."""
        title = f"{self.machine}\n{self.scale.name} benchmark, {self.seconds / 60:.1f} minutes"
        table = Table(box=None, pad_edge=False, header_style="bold", title=title, title_justify="left")
        for name in ("section", "what"):
            table.add_column(name)
        for name in ("median", "min..max"):
            table.add_column(name, justify="right", no_wrap=True)
        for name in ("unit", "note"):
            table.add_column(name)
        for section, records in self.sections.items():
            for row in (row for record in records for row in record.rows()):
                middle, extremes = _written(row.value)
                table.add_row(section, row.what, middle, extremes, row.unit, row.note)
        return table


def _written(value: Spread | float) -> tuple[str, str]:
    """Median and extremes; none where there is but one measurement."""
    if not isinstance(value, Spread):
        return f"{value:.3g}", ""
    extremes = f"{value.smallest:.3g}..{value.largest:.3g}" if value.count > 1 else ""
    return f"{value.median:.3g}", extremes
