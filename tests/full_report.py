"""Writes a report or a gallery on a small file system with rising room; tells what happened.

python tests/full_report.py FOLDER RUN...: FOLDER is a file system of its own. Prints a JSON record: how often
the disk was full, and the sentences that were told.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

from tests.full_disk import PAGE, SMALL, empty, fill, free_bytes
from tilefarm.errors import ResourceError
from tilefarm.rundir.layout import RunDir
from tilefarm.viewer.gallery import write_gallery
from tilefarm.viewer.gallery_runs import Chosen
from tilefarm.viewer.report import write_report


def digests(folder: Path) -> dict[str, str]:
    """Every file of a folder, by name."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def write(runs: tuple[RunDir, ...], target: Path) -> None:
    if len(runs) == 1:
        write_report(runs[0], target)
    else:
        write_gallery(Chosen("runs", runs, target, is_single=False), target, reports=True)


def main() -> None:
    folder, runs = Path(sys.argv[1]), tuple(RunDir(Path(name)) for name in sys.argv[2:])
    assert free_bytes(folder) < SMALL, "a whole disk would be filled"
    target = folder / "page"
    write(runs, target)
    (target / "index.html").write_text("the one before")
    before, room, told = digests(target), 0, []
    while True:
        fill(folder, room)
        try:
            write(runs, target)
        except ResourceError as error:
            told.append(str(error))
        else:
            break
        assert digests(target) == before, "the one before is whole"
        empty(folder)
        assert sorted(path.name for path in folder.iterdir()) == ["page"]
        room += 12 * PAGE
    complete = digests(target)
    empty(folder)
    write(runs, target)
    print(json.dumps({"full": len(told), "told": sorted({*told}), "same": digests(target) == complete}))


if __name__ == "__main__":
    main()
