"""Whether the output file can be written at all, asked before hours of work."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from tilefarm.errors import JobError
from tilefarm.geometry import Size
from tilefarm.image.profiles import load_profile
from tilefarm.output.zstd_tiff import missing_zstd
from tilefarm.spec.file_form import FileForm, Format, format_name

_MAX_SIDE: dict[Format, int] = {"jpeg": 65_500, "png": 2**31 - 1, "tiff": 2**31 - 1, "webp": 16_383}

_BEGINNINGS = (b"\x89PNG", b"\xff\xd8\xff", b"II*\0", b"II+\0", b"MM\0*", b"MM\0+", b"GIF8")
"""Of PNG, JPEG, TIFF, BigTIFF and GIF files; MP4 and WebP have their kind after 4 and 8 bytes."""


def check_target(path: Path, form: FileForm, size: Size, *, alpha: bool = False) -> None:
    """Create the output's folder where it is missing and try to write into it.

    Raises JobError, with all problems, for a format that cannot hold `size` or be written here, for a path
    that is a folder, and for a folder that cannot be created or written. With `alpha` the file gets a
    fourth channel.
    """
    problems = list(_form_problems(form, size, alpha))
    try:
        check_place(path, "output.path")
    except JobError as error:
        problems += error.problems
    if problems:
        raise JobError(problems)


def _form_problems(form: FileForm, size: Size, alpha: bool) -> Iterator[str]:
    most = _MAX_SIDE[form.format]
    if size.long_side > most:
        name = format_name(form.format)
        yield f"output.path: {name} allows at most {most} pixels a side, got {size}; choose a .tif file"
    try:
        load_profile(form.profile)
    except ValueError as error:
        yield f"output.profile {error}"
    if form.format == "tiff" and form.compression == "zstd" and (missing := missing_zstd()) is not None:
        yield f"output.compression: zstd {missing}"


def check_place(path: Path, key: str) -> None:
    """Create a file's folder where it is missing and try to write into it.

    Raises JobError, which begins with `key`, for a path that is a folder, for a file there that is no picture
    and so cannot be ours, and for a folder that cannot be created or written.
    """
    if path.is_dir():
        raise JobError(f"{key}: {path} is a folder; name a file in it")
    if path.exists() and not path.is_file():
        raise JobError(f"{key}: {path} is not a regular file; choose another name")
    if path.exists() and not _may_be_replaced(path):
        raise JobError(
            f"{key}: {path} is there already and is no picture, so it is not replaced; move it away, or "
            "choose another name"
        )
    for folder in path.parents:
        if folder.is_symlink() and not folder.exists():
            raise JobError(f"{key}: {folder} is a link to a place that does not exist; choose another folder")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise JobError(
            f"{key}: the folder {path.parent} cannot be created ({error.strerror}); choose another"
        ) from error
    _check_writable(path, key)


def _may_be_replaced(path: Path) -> bool:
    """Whether a file is empty, or begins like a picture or film that a run before this one may have made."""
    try:
        with path.open("rb") as file:
            start = file.read(12)
    except OSError:
        return False
    return not start or start.startswith(_BEGINNINGS) or start[4:8] == b"ftyp" or start[8:] == b"WEBP"


def _check_writable(path: Path, key: str) -> None:
    """Create and remove a file beside this one, with a name as long as the writer's temporary one."""
    probe = path.with_name(f".{path.name}.{os.getpid():010d}.part{path.suffix}")
    try:
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise JobError(
            f"{key}: no file called {path.name} can be written in {path.parent} "
            f"({error.strerror}); choose another folder or name"
        ) from error
