"""What print shops, walls, the web and shelves ask of a file, as the keys of `output` that it comes to.

A preset fills keys that the job does not give; a size it sets only where the job asks for none. Which file it
becomes is said by the ending of output.path, and a preset that is made for other formats is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tilefarm.spec.file_form import Format, format_name
from tilefarm.spec.paths import OUTPUT_FORMATS
from tilefarm.spec.section import Conflict, written

OutputPresetName = Literal["lab-srgb", "lab-adobe", "poster", "web", "archive"]
SIZE_KEYS = ("width", "height", "long_side", "print")
"""The keys that ask for a size; a job has at most one of them."""

BELONG_TOGETHER = (
    ("profile", "intent"),
    ("bit_depth", "dither"),
    ("compression", "tiled", "pyramid"),
    ("lossless", "quality"),
)
"""Keys that exclude or need each other: who gives one gets the formats' own defaults of the others."""


@dataclass(frozen=True)
class OutputPreset:
    """A purpose, and what suits it."""

    purpose: str
    formats: tuple[Format, ...]
    keys: Mapping[str, Any]
    only_for: Mapping[Format, Mapping[str, Any]] = field(default_factory=dict)
    """Keys that only some of the formats have."""
    alpha: bool = False
    """Whether transparency has a meaning there."""


_LAB: Mapping[str, Any] = {"bit_depth": 8, "dpi": 300}
_LZW: Mapping[Format, Mapping[str, Any]] = {"tiff": {"compression": "lzw", "tiled": False, "pyramid": False}}
"""What the oldest programs of print shops read."""

OUTPUT_PRESETS: dict[OutputPresetName, OutputPreset] = {
    "lab-srgb": OutputPreset(
        "a photo lab or print shop that asks for sRGB, which most do",
        ("tiff", "jpeg"),
        {**_LAB, "profile": "srgb"},
        {**_LZW, "jpeg": {"quality": 98}},
    ),
    "lab-adobe": OutputPreset(
        "one that takes Adobe RGB, for papers that hold more saturated colours",
        ("tiff", "jpeg"),
        {**_LAB, "profile": "adobe-rgb"},
        {**_LZW, "jpeg": {"quality": 98}},
    ),
    "poster": OutputPreset(
        "walls: large, and seen from a metre away or more",
        ("tiff", "jpeg"),
        {"bit_depth": 8, "dpi": 200, "profile": "srgb"},
        {**_LZW, "jpeg": {"quality": 95}},
    ),
    "web": OutputPreset(
        "screens: small files, and sRGB because programs without colour management take all files for it",
        ("jpeg", "webp", "png"),
        {"bit_depth": 8, "dpi": 72, "profile": "srgb", "long_side": 2048},
        {"jpeg": {"quality": 88}, "webp": {"quality": 85}},
        alpha=True,
    ),
    "archive": OutputPreset(
        "the shelf: all that was painted, in a form that any program will still read",
        ("tiff",),
        {"bit_depth": 16, "dpi": 300},
        {"tiff": {"compression": "deflate", "tiled": True, "pyramid": False}},
        alpha=True,
    ),
}


def with_output_preset(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """An `output` section as it was written, with its preset's keys where it gives none.

    What has not the form of a section, or names another format, is left as it is and told by its own rule.
    """
    preset, format = _preset(given), _format(given)
    if preset is None or format not in preset.formats:
        return given
    keys = {**preset.keys, **preset.only_for.get(format, {})}
    if written(given.get("print"), "dpi") is not None:
        keys.pop("dpi")
    return {**without_related(keys, given), **given}


def without_related(keys: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that go with those that are given: no second size, and nothing that belongs to one of them."""
    asked = {key for key, value in given.items() if value is not None}
    taken = asked.union(*(group for group in (*BELONG_TOGETHER, SIZE_KEYS) if asked.intersection(group)))
    return {key: value for key, value in keys.items() if key not in taken}


def preset_conflicts(given: Mapping[str, Any]) -> Iterator[Conflict]:
    """A preset has its formats."""
    preset, format = _preset(given), _format(given)
    if preset is not None and format is not None and format not in preset.formats:
        endings = [ending for ending, kind in OUTPUT_FORMATS.items() if kind in preset.formats]
        yield Conflict(
            ("preset",),
            f"{given['preset']} is for {' and '.join(map(format_name, preset.formats))}, and output.path "
            f"is a {format_name(format)}; let it end in {' or '.join(endings)}, or choose another preset",
        )


def preset_without_alpha(given: Mapping[str, Any]) -> Iterator[Conflict]:
    """Print shops take no transparency."""
    output = given.get("output")
    name = written(output, "preset")
    preset = _preset({"preset": name})
    alpha = given.get("alpha")
    mode = alpha if isinstance(alpha, str) else written(alpha, "mode")
    if preset is not None and not preset.alpha and mode == "keep":
        yield Conflict(
            ("output", "preset"),
            f"{name} is for files without transparency, and alpha.mode is keep; leave one of them out",
        )


def _preset(given: Mapping[str, Any]) -> OutputPreset | None:
    return next((preset for name, preset in OUTPUT_PRESETS.items() if name == given.get("preset")), None)


def _format(given: Mapping[str, Any]) -> Format | None:
    path = given.get("path")
    return OUTPUT_FORMATS.get(Path(path).suffix.lower()) if isinstance(path, str | Path) else None
