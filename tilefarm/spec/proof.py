"""The `output.proof` section: a picture of how the print will look."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator

from tilefarm.spec.paths import InputPath
from tilefarm.spec.profile_names import Intent
from tilefarm.spec.section import Section


class Proof(Section):
    """A press to look at the result of. The short form `proof: PATH` is a section with this profile."""

    profile: InputPath
    """A CMYK profile."""
    intent: Intent = "relative"
    """How the print shop will bring colours into what the press has."""
    paper_white: bool = False
    """Whether the paper has its own colour, and not the screen's white."""


def from_short_form(value: Any) -> Any:
    """The section that a path stands for; anything else as it is."""
    return {"profile": value} if isinstance(value, str | Path) else value


ProofKey = Annotated[Proof | None, BeforeValidator(from_short_form)]
"""The section, or for short the profile's path; None: no proof."""


def proof_path(output: Path) -> Path:
    """Where the proof of an output file is written: NAME-proof.png beside it."""
    return output.with_name(f"{output.stem}-proof.png")
