"""Patterns such as photos/*.jpg that stand for the files of a folder."""

from __future__ import annotations

import glob
import os
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from tilefarm.spec.paths import found_path
from tilefarm.spec.values import found


def is_pattern(value: Any, folder: Path) -> bool:
    """Whether a value is a pattern (with `*`, `?` or `[`) and not the name of a file that has such a name."""
    if not isinstance(value, str) or "\0" in value or not glob.has_magic(value):
        return False
    try:
        return not (folder / value).exists()
    except OSError:  # a name that is too long: the pattern's own rule tells
        return True


def expand(pattern: str, folder: Path, runs: Path) -> list[str]:
    """The files that match, as they would be written in the job file, in order of name.

    `**` stands for any number of folders; hidden files and folders are matched by patterns with a dot
    only. What is below `runs` is left out: it is tilefarm's own, and there is more of it at the next
    submission. Raises ValueError, a sentence without its beginning, where there are none.
    """
    anchored = str(Path(pattern).expanduser()) if pattern.startswith("~") else pattern
    # Path.glob takes no absolute patterns and shows hidden files.
    matches = sorted(glob.glob(anchored, root_dir=folder, recursive=True))  # noqa: PTH207
    files = [match for match in matches if (folder / match).is_file()]
    if not files:
        raise ValueError(
            f"matches no file, got {found(pattern)}; relative patterns start at the job file's folder"
        )
    inputs = [file for file in files if not _is_kept(folder / file, folder, runs)]
    if not inputs:
        raise ValueError(
            f"matches only files below {found_path(runs)}, where the runs are kept, got {found(pattern)}; "
            "name pictures in another folder"
        )
    return inputs


def would_match(path: Path, pattern: str, folder: Path, runs: Path) -> bool:
    """Whether a file at this absolute path, if it existed, would be one of those that `expand` finds."""
    if _is_kept(path, folder, runs):
        return False
    parts = (folder / Path(pattern).expanduser()).absolute().parts
    return _matches(path.parts, parts)


def _is_kept(path: Path, folder: Path, runs: Path) -> bool:
    """Whether a file is below the folder of the runs: their own files, their cache, and their sheets.

    Where the job file is below that folder too, it holds other things as well, and nothing is known of it.
    """
    place = os.path.realpath(runs)
    # Of the file only its folder is followed: a link to a picture of a run is a picture that was chosen.
    here, home = (Path(os.path.realpath(one)) for one in (path.parent, folder))
    return here.is_relative_to(place) and not home.is_relative_to(place)


def _matches(parts: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_matches(parts[start:], pattern[1:]) for start in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])
