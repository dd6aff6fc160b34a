"""In which keys runs differ, that have nothing to do with each other but that somebody compares them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tilefarm.spec.run_names import canonical, labels
from tilefarm.viewer.settings_list import Leaf, full, short

_OWN = ("name", "output.path", "animation", "snapshots")
"""What every run has for itself, and what changes no picture."""
MISSING = "-"
"""In the place of a key that a run has not, such as a second style's."""


def differing(runs: Sequence[Mapping[str, Leaf] | None]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Short names of the keys in which runs differ, and per run its values as people write them.

    A run whose settings are unknown (None) has MISSING everywhere. Paths are named by their files, unless
    two of them then had one name.
    """
    known = [run for run in runs if run is not None]
    keys = list(dict.fromkeys(key for run in known for key in run))
    differ = [
        key for key in keys if not key.startswith(_OWN) and len({_canonical(run, key) for run in known}) > 1
    ]
    columns = [_column(runs, key) for key in differ]
    return tuple(labels(differ)), [tuple(column[index] for column in columns) for index in range(len(runs))]


def _canonical(run: Mapping[str, Leaf], key: str) -> str:
    return canonical(run[key]) if key in run else ""


def _column(runs: Sequence[Mapping[str, Leaf] | None], key: str) -> list[str]:
    words = [short(run[key]) if run is not None and key in run else MISSING for run in runs]
    whole = [full(run[key]) if run is not None and key in run else MISSING for run in runs]
    return words if len(set(words)) == len(set(whole)) else whole
