"""A line of the report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Finding:
    """Something that was found by trying."""

    name: str
    ok: bool
    """False keeps a usual job from running."""
    text: str
    warning: bool = False
    """Whether it is good to know before a job starts."""
    facts: dict[str, Any] | None = None
    """What the text was made from, for programs; of the nodes of a cluster."""
