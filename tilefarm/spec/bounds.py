"""Where a job file may write: a job from somebody else must not reach out of its own folder by stealth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tilefarm.spec.paths import found_path
from tilefarm.spec.section import written
from tilefarm.spec.yaml_source import Location


def outputs_outside(given: Mapping[str, Any], folder: Path) -> Iterator[tuple[Location, str]]:
    """(key, rest of the sentence) of relative paths of files to write that leave the job file's folder.

    They leave it by `..` or through a folder that is a link. An absolute path, or one from the home folder,
    says openly where it leads and is allowed. A link in the place of the file itself is no way out: the
    finished file takes the place of the link.
    """
    animation = given.get("animation")
    short = isinstance(animation, str)
    targets: tuple[tuple[Location, Any], ...] = (
        (("output", "path"), written(given.get("output"), "path")),
        (("animation",), animation) if short else (("animation", "path"), written(animation, "path")),
    )
    for location, value in targets:
        if (
            not isinstance(value, str)
            or not Path(value).name
            or "\0" in value
            or value.startswith(("/", "~"))
        ):
            continue  # told by the path's own rule, or said openly
        path = folder / value
        try:
            place, home = path.parent.resolve(), folder.resolve()
        except (OSError, RuntimeError):  # a loop of links, or a name that no system takes: told elsewhere
            continue
        if path.name == ".." or not place.is_relative_to(home):
            yield (
                location,
                f"must stay in the job file's folder, but {value!r} leads to {found_path(place)}; write an "
                f"absolute path if it is meant, or --set {'.'.join(map(str, location))}=...",
            )
