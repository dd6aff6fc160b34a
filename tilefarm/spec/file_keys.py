"""The keys of the `output` section that say what kind of file the picture becomes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, ValidationInfo, field_validator

from tilefarm.spec.file_form import (
    DEFAULT_QUALITY,
    EIGHT_BITS_ONLY,
    Compression,
    FileForm,
    Format,
    format_name,
)
from tilefarm.spec.paths import OUTPUT_FORMATS, OutputPath, check_is_file, to_path
from tilefarm.spec.profile_names import PROFILE_NAMES, Intent, ProfileName
from tilefarm.spec.section import Conflict, Section, job_folder
from tilefarm.spec.values import did_you_mean, found

_FORMATS_WITH: dict[str, tuple[Format, ...]] = {
    "compression": ("tiff",),
    "tiled": ("tiff",),
    "pyramid": ("tiff",),
    "quality": ("jpeg", "webp"),
    "lossless": ("webp",),
}
_DEFAULTS: dict[str, Any] = {
    "compression": "deflate",
    "tiled": True,
    "pyramid": False,
    "quality": DEFAULT_QUALITY,
    "lossless": False,
}


def _profile(value: Any, info: ValidationInfo) -> Path | str:
    if value in PROFILE_NAMES:
        return str(value)
    rule = f"must be {', '.join(PROFILE_NAMES)} or the path of an ICC profile"
    if not isinstance(value, str | Path):
        raise ValueError(f"{rule}, got {found(value)}")
    path = to_path(value, folder := job_folder(info))
    try:
        if folder is not None:
            check_is_file(path)
    except ValueError:
        if Path(value).suffix:
            raise
        advice = did_you_mean(str(value).lower(), PROFILE_NAMES)
        raise ValueError(f"{rule}, got {found(str(value))}{advice}") from None
    return path


class FileKeys(Section):
    """Where the picture goes, and the form of the file. What its format has no use for is None."""

    path: OutputPath
    bit_depth: Literal[8, 16] = Field(default=None, validate_default=True)
    """16 for TIFF, 8 for all others, unless given."""
    profile: Annotated[ProfileName | Path, PlainValidator(_profile)] = "srgb"
    """The colour space that the pixels are converted to, and the profile in the file."""
    intent: Intent = "relative"
    """How colours that the profile has not are brought into it."""
    compression: Compression | None = Field(default=None, validate_default=True)
    tiled: bool | None = Field(default=None, validate_default=True)
    pyramid: bool | None = Field(default=None, validate_default=True)
    lossless: bool | None = Field(default=None, validate_default=True)
    quality: Annotated[int, Field(ge=1, le=100)] | None = Field(default=None, validate_default=True)
    dither: bool = Field(default=None, validate_default=True)
    """Whether rounding is hidden in noise: with 8 bits, unless given."""

    @classmethod
    def conflicts(cls, given: Mapping[str, Any], folder: Path | None) -> Iterator[Conflict]:
        """Keys that the format has no use for, and those that exclude each other."""
        suffix = Path(path).suffix if isinstance(path := given.get("path"), str | Path) else ""
        format = OUTPUT_FORMATS.get(suffix.lower())
        for key, formats in _FORMATS_WITH.items():
            if format is not None and given.get(key) is not None and format not in formats:
                names = " and ".join(map(format_name, formats))
                yield Conflict(
                    (key,), f"is for {names}, and output.path is a {format_name(format)}; remove it"
                )
        if given.get("pyramid") is True and given.get("tiled") is False:
            yield Conflict(("pyramid",), "needs tiles; remove it, or output.tiled: false")
        if given.get("pyramid") is True and given.get("compression") == "zstd":
            yield Conflict(
                ("pyramid",), "cannot be compressed with zstd; choose deflate or lzw, or remove it"
            )
        if given.get("tiled") is False and given.get("compression") == "zstd":
            yield Conflict(("tiled",), "cannot be false with zstd; choose deflate or lzw, or remove it")
        if given.get("lossless") is True and given.get("quality") is not None and format == "webp":
            yield Conflict(("quality",), "changes nothing with output.lossless: true; keep only one of them")
        depth = given.get("bit_depth") or (16 if format == "tiff" else 8)
        if given.get("dither") is True and depth == 16:
            yield Conflict(
                ("dither",), "changes nothing with 16 bits; remove it, or give output.bit_depth: 8"
            )
        if given.get("profile", "srgb") == "srgb" and given.get("intent", "relative") != "relative":
            yield Conflict(
                ("intent",),
                "changes nothing with output.profile: srgb, which the picture is painted in; remove it",
            )

    @field_validator("bit_depth", mode="before")
    @classmethod
    def _default_bit_depth(cls, value: Any, info: ValidationInfo) -> Any:
        format = _format(info)
        if value is None:
            return 16 if format == "tiff" else 8
        if value == 16 and format in EIGHT_BITS_ONLY:
            raise ValueError(
                f"must be 8 for {format_name(format)}, got 16; write a .tif or .png file to keep 16 bits"
            )
        return value

    @field_validator("compression", "tiled", "pyramid", "lossless", "quality", mode="before")
    @classmethod
    def _default_of_format(cls, value: Any, info: ValidationInfo) -> Any:
        name = str(info.field_name)
        if value is not None or _format(info) not in _FORMATS_WITH[name]:
            return value
        if name == "quality" and info.data.get("lossless"):
            return None
        return _DEFAULTS[name]

    @field_validator("dither", mode="before")
    @classmethod
    def _default_dither(cls, value: Any, info: ValidationInfo) -> Any:
        return info.data.get("bit_depth") == 8 if value is None else value

    @property
    def format(self) -> Format:
        """The kind of file, from the path's ending."""
        return OUTPUT_FORMATS[self.path.suffix.lower()]

    def form_at(self, dpi: float, seed: int, wide: bool) -> FileForm:
        """Everything about the file but its place, its size and its pixels."""
        given = {key: getattr(self, key) for key in _DEFAULTS}
        return FileForm(
            self.format,
            self.bit_depth,
            dpi,
            str(self.profile),
            self.intent,
            dither=self.dither,
            seed=seed,
            wide=wide,
            **{key: value for key, value in given.items() if value is not None},
        )


def _format(info: ValidationInfo) -> Format | None:
    path = info.data.get("path")
    return OUTPUT_FORMATS[path.suffix.lower()] if path else None
