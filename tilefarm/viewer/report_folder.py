"""The folder of a report or a gallery: made beside its place, then renamed; nothing else is ever replaced."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tilefarm import __version__
from tilefarm.errors import JobError, ResourceError, TilefarmError
from tilefarm.files import disk_full, is_alive, sync_folder, telling_when_full

MARK = "tilefarm-report.json"
"""The file that tells a folder of ours from somebody's own."""
STATIC = Path(__file__).parent / "static"


@contextmanager
def replacing_folder(target: Path) -> Iterator[Path]:
    """A new folder beside `target` that takes its place when the block ends well.

    It is removed when the block raises; `target` is then as it was. What a killed process has left is cleared
    away, and a report that it had moved aside is brought back first. Raises JobError, before the block, where
    `target` is something else than a report or an empty folder, or cannot be written; ResourceError where
    the disk is full; TilefarmError where the system refuses a file within the block.
    """
    target = Path(os.path.realpath(target))
    _check_replaceable(target)
    part, old = _beside(target, "part"), _beside(target, "old")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(target)
        part.mkdir()
    except OSError as error:
        raise JobError(
            f"no report can be written in {target.parent} ({error.strerror}); "
            "choose another place with --output"
        ) from error
    try:
        with _told(target):
            (part / MARK).write_text(json.dumps({"tilefarm": __version__}) + "\n")
            yield part
            _check_replaceable(target)  # it may have taken minutes
            if target.exists():
                target.rename(old)
            part.rename(target)
            sync_folder(target.parent)
    except BaseException:
        _bring_back(old, target)
        raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def copy_assets(folder: Path, *names: str) -> None:
    """Put these files of the viewer's own, and OpenSeadragon with its licence, into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("openseadragon.min.js", "openseadragon.LICENSE.txt", *names):
        (folder / name).write_bytes((STATIC / name).read_bytes())


@contextmanager
def _told(target: Path) -> Iterator[None]:
    try:
        with telling_when_full(target):
            yield
    except ResourceError as error:  # of a file in the folder beside it, which is gone by now
        raise disk_full(target) from error
    except OSError as error:
        raise TilefarmError(
            f"{target} was not written: {error.filename or 'a file'}: {error.strerror or error}"
        ) from error


def _check_replaceable(target: Path) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise JobError(f"{target} is a file, and a report is a folder; choose another place with --output")
    if not (target / MARK).is_file() and any(target.iterdir()):
        raise JobError(
            f"{target} is there already and is not a report of tilefarm, so it is not replaced; "
            "choose another place with --output"
        )


def _beside(target: Path, kind: str) -> Path:
    return target.with_name(f".{target.name}.{os.getpid()}.{kind}")


def _bring_back(old: Path, target: Path) -> None:
    if old.exists() and not target.exists():
        old.rename(target)


def _remove_leftovers(target: Path) -> None:
    """What processes that were killed have left beside `target`.

    One that came between the two renames has left no `target`: the report from before takes its place again.
    """
    for path in target.parent.iterdir():
        prefix, _, rest = path.name.partition(f".{target.name}.")
        process, _, kind = rest.partition(".")
        if prefix or kind not in ("part", "old") or not process.isdecimal():
            continue
        if not is_alive(int(process)):  # of this process it is not either: it has not begun yet
            if kind == "old":
                _bring_back(path, target)
            shutil.rmtree(path, ignore_errors=True)
