"""The paths of a job file: made absolute, and checked to be there, when a job file is loaded.

A model that is built without a job file (no `folder` in the validation context) keeps its paths as
they are and looks at no file.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import PlainValidator, ValidationInfo

from tilefarm.spec.address import is_address, parse_address
from tilefarm.spec.file_form import Format
from tilefarm.spec.section import job_folder
from tilefarm.spec.values import did_you_mean, found

OUTPUT_FORMATS: dict[str, Format] = {
    ".tif": "tiff",
    ".tiff": "tiff",
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".webp": "webp",
}
WEIGHTS_SUFFIXES = (".safetensors", ".pth", ".pt")
NAMED_WEIGHTS: tuple[Literal["bundled", "torchvision"], ...] = ("bundled", "torchvision")


def to_path(value: Any, folder: Path | None) -> Path:
    """The path that was written, absolute if `folder` is given. Raises ValueError, a sentence without its
    beginning, for what cannot be a path."""
    if isinstance(value, str | Path) and str(value) in ("", "."):
        raise ValueError("must be the path of a file, got an empty text")
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError(f"must be the path of a file, got the number {found(value)}; put it in quotes")
    if not isinstance(value, str | Path):
        raise ValueError(f"must be the path of a file, got {found(value)}")
    if is_address(value):
        parse_address(str(value))  # says what is wrong with it
        raise ValueError(
            f"is an address, {found(value)}, where only output.path and animation.path may be one; fetch the "
            "file, and name it here"
        )
    path = Path(value)
    if folder is not None:
        try:
            path = (folder / path.expanduser()).absolute()
        except RuntimeError:  # pathlib's answer to ~somebody
            raise ValueError(f"starts with the home folder of nobody here, got {found(value)}") from None
    try:
        usable = b"\0" not in str(path).encode("utf-8")
    except UnicodeEncodeError:
        usable = False
    if not usable:
        raise ValueError(f"must be a path in UTF-8 without null characters, got {found(str(value))}")
    return path


def check_is_file(path: Path) -> None:
    """Raises ValueError, a sentence without its beginning, for what is not a regular file."""
    try:
        if path.is_file():
            return
        exists, is_folder = path.exists(), path.is_dir()
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}: {found(str(path))}") from None
    if is_folder:
        raise ValueError(f"must be a file, but {found_path(path)} is a folder")
    if exists:
        raise ValueError(f"must be a regular file, but {found_path(path)} is none")
    raise ValueError(
        f"names a file that does not exist, {found_path(path)}; relative paths start at the job file's folder"
    )


def found_path(path: Path) -> str:
    """A path in quotes, never shortened: its end is what tells it from others."""
    return repr(str(path))


def _input_path(value: Any, info: ValidationInfo) -> Path:
    folder = job_folder(info)
    path = to_path(value, folder)
    if folder is not None:
        check_is_file(path)
    return path


InputPath = Annotated[Path, PlainValidator(_input_path)]


def _weights(value: Any, info: ValidationInfo) -> Path | str:
    if value in NAMED_WEIGHTS:
        return str(value)
    rule = f"must be bundled, torchvision or the path of a file ending in {', '.join(WEIGHTS_SUFFIXES)}"
    if not isinstance(value, str | Path):
        raise ValueError(f"{rule}, got {found(value)}")
    if Path(value).suffix.lower() not in WEIGHTS_SUFFIXES:
        raise ValueError(f"{rule}, got {found(value)}{did_you_mean(value, NAMED_WEIGHTS)}")
    return _input_path(value, info)


WeightsSource = Annotated[Literal["bundled", "torchvision"] | Path, PlainValidator(_weights)]


def to_new_file(value: Any, info: ValidationInfo, endings: Collection[str]) -> Path:
    """The path of a file to be written, whose place is looked at where there is a job file.

    Raises ValueError, a sentence without its beginning, for another ending, for a folder, and for a place
    that cannot become a folder.
    """
    folder = job_folder(info)
    path = to_path(value, folder)
    if path.suffix.lower() not in endings:
        raise ValueError(f"must end in {', '.join(endings)}, got {found(str(value))}")
    if folder is None:
        return path
    try:
        if path.is_dir():
            raise ValueError(f"must be a file, but {found_path(path)} is a folder")
        for parent in path.parents:
            if parent.exists() and not parent.is_dir():
                raise ValueError(f"must lie in a folder, but {found_path(parent)} is a file")
    except OSError as error:
        raise ValueError(f"cannot be used: {error.strerror}: {found(str(path))}") from None
    return path


def _output_path(value: Any, info: ValidationInfo) -> Path:
    return to_new_file(value, info, OUTPUT_FORMATS)


OutputPath = Annotated[Path, PlainValidator(_output_path)]


def same_file(one: Path, other: Path) -> bool:
    """Whether two absolute paths mean the same file, also through links; neither needs to exist."""
    try:
        return (one.exists() and other.exists() and one.samefile(other)) or one.resolve() == other.resolve()
    except (OSError, RuntimeError):  # RuntimeError: a loop of links, before Python 3.13
        return False
