"""Keys of the job file that may be a single value instead of a mapping, and the mapping that is meant.

`--set color.when=after` names a key of a section that the file may have in its short form.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tilefarm.spec.alpha import from_short_form as alpha
from tilefarm.spec.color import from_short_form as color
from tilefarm.spec.making import short_animation, short_snapshots
from tilefarm.spec.proof import from_short_form as proof
from tilefarm.spec.statistics import named_statistics
from tilefarm.spec.yaml_source import Location


def _statistics(value: Any) -> Any:
    return named_statistics(value) if isinstance(value, str) else value


_LONG_FORMS: dict[Location, Callable[[Any], Any]] = {
    ("alpha",): alpha,
    ("color",): color,
    ("snapshots",): short_snapshots,
    ("animation",): short_animation,
    ("output", "proof"): proof,
    ("objective", "style_statistics"): _statistics,
}


def long_form(location: Location, value: Any) -> dict[str, Any] | None:
    """The mapping that a value at this place of a job is short for; None where it is none, or one already."""
    expand = _LONG_FORMS.get(location)
    meant = None if expand is None or isinstance(value, dict) else expand(value)
    return dict(meant) if isinstance(meant, dict) else None
