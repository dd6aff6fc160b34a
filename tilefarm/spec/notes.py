"""What a valid job says in vain: keys without an effect beside others, which a sweep may vary anyway."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from tilefarm.spec.model import Job, Output, Style
from tilefarm.spec.presets import PRESETS, PresetName

_FEATHERED = ("rounds", "iterations", "batch", "drift_correction")
"""Keys of `tiles` that the exact method does not look at."""


def job_notes(job: Job) -> Iterator[str]:
    """A sentence for each thing that a person may have wanted otherwise."""
    plain = _bare(None)
    if job.method == "exact":
        changed = [key for key in _FEATHERED if getattr(job.tiles, key) != getattr(plain.tiles, key)]
        if changed:
            keys = ", ".join(f"tiles.{key}" for key in changed)
            yield f"{keys}: changes nothing with method: exact; it is for method: feathered"
    quiet = not job.init_noise and job.init not in ("noise", "style_statistics")
    if job.seed and quiet and not job.output.dither:
        yield "seed: changes nothing without noise; set init: noise, init: style_statistics or init_noise"
    small = job.snapshots.long_side != plain.snapshots.long_side
    if small and not job.snapshots.every and job.animation is None:
        yield "snapshots.long_side: changes nothing without snapshots.every or an animation"
    if job.color.wide and job.output.profile == "srgb":
        yield (
            "color.working_space: wide keeps colours that sRGB lacks, and output.profile: srgb drops them "
            "from the file; set output.profile: display-p3 or adobe-rgb"
        )
    if job.preset is not None:
        yield from _preset_notes(job, job.preset)


def _preset_notes(job: Job, name: PresetName) -> Iterator[str]:
    """Where most of what the preset would change is named by the job itself, as in a starter file."""
    changes = preset_changes(name)
    named = [key for key, value in changes.items() if _leaves(job).get(key) != value]
    if 2 * len(named) > len(changes):
        effect = "it changes nothing" if len(named) == len(changes) else "little is left of it"
        yield (
            f"preset: {name} would change {len(changes)} keys, and the job names {len(named)} of them "
            f"itself, so {effect}; remove those that are to come from it: {', '.join(named)}"
        )


@cache
def preset_changes(name: PresetName) -> dict[str, Any]:
    """The keys that a preset sets to something else than our defaults, with their values."""
    before = _leaves(_bare(None))
    return {key: value for key, value in _leaves(_bare(name)).items() if before[key] != value}


@cache
def _bare(preset: PresetName | None) -> Job:
    """A job that says nothing of its own."""
    nowhere = Path("nowhere.tif")
    return Job(
        name="bare",
        content=nowhere,
        styles=(Style(image=nowhere),),
        output=Output(path=nowhere),
        preset=preset,
    )


def _leaves(job: Job) -> dict[str, Any]:
    """Key to value, of the keys that some preset sets, or that follow from them."""
    found: dict[str, Any] = {}
    for key in sorted({key for preset in PRESETS.values() for key in preset.keys}):
        section = getattr(job, key)
        if hasattr(section, "model_fields_set"):
            found |= {f"{key}.{name}": value for name, value in section}
        else:
            found[key] = section
    return found
