"""What a file that is looked at is for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from tilefarm.errors import JobError
from tilefarm.spec.output_presets import OUTPUT_PRESETS, OutputPreset, OutputPresetName
from tilefarm.spec.paper import Print
from tilefarm.spec.problems import sentence
from tilefarm.spec.values import did_you_mean


@dataclass(frozen=True)
class Wish:
    """What the file is for."""

    preset: OutputPresetName | None = None
    paper: Print | None = None
    """The sheet when it has been cut, and its bleed."""

    @property
    def asked(self) -> OutputPreset | None:
        """The preset itself."""
        return None if self.preset is None else OUTPUT_PRESETS[self.preset]


def parse_wish(purpose: str | None, paper: Mapping[str, Any] | None) -> Wish:
    """What was typed: the name of a preset, and keys of `output.print`. Raises JobError with all mistakes."""
    problems = []
    name = next((name for name in OUTPUT_PRESETS if name == purpose), None)
    if name is None and purpose is not None:
        advice = did_you_mean(purpose, OUTPUT_PRESETS)
        problems.append(f"--for must be one of {', '.join(OUTPUT_PRESETS)}, got {purpose!r}{advice}")
    sheet = None
    try:
        sheet = None if paper is None else Print.model_validate(paper)
    except ValidationError as error:
        for one in error.errors():
            option = "--bleed" if one["loc"] == ("bleed",) else "--print"
            problems.append(sentence(one, (option,)))
    if problems:
        raise JobError(problems)
    return Wish(name, sheet)
