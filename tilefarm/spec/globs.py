"""Patterns such as photos/*.jpg that stand for the files of a folder."""

from __future__ import annotations

import glob
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from tilefarm.spec.values import found


def is_pattern(value: Any, folder: Path) -> bool:
    """Whether a value is a pattern (with `*`, `?` or `[`) and not the name of a file that has such a name."""
    if not isinstance(value, str) or "\0" in value or not glob.has_magic(value):
        return False
    try:
        return not (folder / value).exists()
    except OSError:  # a name that is too long: the pattern's own rule tells
        return True


def expand(pattern: str, folder: Path) -> list[str]:
    """The files that match, as they would be written in the job file, in order of name.

    `**` stands for any number of folders; hidden files and folders are matched by patterns with a dot
    only. Raises ValueError, a sentence without its beginning, where there are none.
    """
    anchored = str(Path(pattern).expanduser()) if pattern.startswith("~") else pattern
    # Path.glob takes no absolute patterns and shows hidden files.
    matches = sorted(glob.glob(anchored, root_dir=folder, recursive=True))  # noqa: PTH207
    files = [match for match in matches if (folder / match).is_file()]
    if not files:
        raise ValueError(
            f"matches no file, got {found(pattern)}; relative patterns start at the job file's folder"
        )
    return files


def would_match(path: Path, pattern: str, folder: Path) -> bool:
    """Whether a file at this absolute path, if it existed, would be one of those that match."""
    parts = (folder / Path(pattern).expanduser()).absolute().parts
    return _matches(path.parts, parts)


def _matches(parts: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_matches(parts[start:], pattern[1:]) for start in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])
