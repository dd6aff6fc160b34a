"""What of a run folder is worth keeping at this moment, read while its driver goes on writing.

The journal is read first, and everything else must then be as it says, by its checksums; where that is not
so, because the driver has gone on meanwhile, the whole is `Stale` and is read again a moment later.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tilefarm.rundir.journal import read_line
from tilefarm.rundir.layout import RunDir
from tilefarm.rundir.state import RunState
from tilefarm.sealed import opened_json
from tilefarm.store.manifest import Progress, is_kept_name

MOST_TEXT = 1 << 26
"""Bytes. What is for people and longer, such as a log of events, is left out: displays do not read it either.
Of what a run goes on from nothing may be left out, however long it is."""
_PIXEL_BYTES = 3 * 4
_LONG_HISTORY = 100
_OTHER_PICTURES = 12
"""Of a level's size, beside an optimizer's history: points, gradients, canvases, content, slots with Adam."""


class Stale(Exception):  # noqa: N818 - no error: it is read again
    """The driver has gone on while the folder was read."""


@dataclass(frozen=True)
class Whole:
    """A file that is kept in full, with the CRC-32 that is on record for it."""

    name: str
    crc: int
    needed: bool = True
    """False for what a resumed run can do without; it is then left out where it is not as on record."""


@dataclass(frozen=True)
class Slot:
    """A tile in its slot of a larger file, with the CRC-32 on record."""

    name: str
    offset: int
    length: int
    crc: int


@dataclass
class Capture:
    """A run at one moment. Texts are read already; pixels are yet to be read and compared."""

    progress: Progress
    texts: dict[str, bytes] = field(default_factory=dict)
    wholes: list[Whole] = field(default_factory=list)
    slots: list[Slot] = field(default_factory=list)
    room: int = 0
    """Bytes that the run may yet take of its disk, and that copies must leave free."""


def capture(run: RunDir) -> Capture:
    """What to keep now. Raises Stale where what is read does not belong together."""
    journal = _whole_lines(_bytes(run.journal) or b"")
    state = _replayed(journal)
    plan = _plan(run)
    current = max(state.levels, default=-1)
    found = Capture(progress=(int(bool(state.exports)), current + 1, state.rounds_done(current), 0))
    for index in sorted(state.levels):
        found.wholes += _of_level(run, state, index, current)
    if 0 <= current < len(plan) and state.rounds_done(current) < plan[current]["rounds"]:
        if plan[current]["pieces"]:
            steps = _add_optimizer(found, run, current)
        else:
            steps = _add_slots(found, run, state, plan[current])
        found.progress = (*found.progress[:3], steps)
    found.texts = {**_texts(run), run.journal.name: journal, **found.texts}
    found.room = _still_needed(run, plan, found.texts.get(run.job.name, b""))
    return found


def progress_of(run: RunDir) -> Progress:
    """How far the folder's run is, by what it says of itself. Raises Stale where that cannot be read."""
    return capture(run).progress


def _replayed(journal: bytes) -> RunState:
    try:
        return RunState.replay(read_line(line) for line in journal.split(b"\n")[:-1])
    except ValueError as error:
        raise Stale("the journal is damaged") from error


def _plan(run: RunDir) -> list[dict[str, Any]]:
    data = _bytes(run.plan)
    if data is None:
        return []
    try:
        levels: list[dict[str, Any]] = json.loads(data)["levels"]
    except (ValueError, KeyError, TypeError) as error:
        raise Stale("plan.json is being written") from error
    return levels


def _still_needed(run: RunDir, plan: list[dict[str, Any]], job: bytes) -> int:
    """An upper bound: all vectors of the finest level's optimizer, and some more, less what is there."""
    if not plan:
        return 0
    try:
        history = int(yaml.safe_load(job)["optimizer"]["history"])
    except (yaml.YAMLError, KeyError, TypeError, ValueError):
        history = _LONG_HISTORY
    finest: int = plan[-1]["width"] * plan[-1]["height"] * _PIXEL_BYTES
    there = sum(path.stat().st_size for path in run.root.rglob("*.f32"))
    return max(0, finest * (2 * history + _OTHER_PICTURES) - int(there))


def _of_level(run: RunDir, state: RunState, index: int, current: int) -> Iterator[Whole]:
    """Canvas, targets and Adam's means; of levels before the current one as far as they are there."""
    needed = index == current
    crc = state.canvas_crc(index)
    if crc is not None:
        yield Whole(run.canvas(index).name, crc, needed)
    yield Whole(run.targets(index).name, state.levels[index].targets_crc, needed)
    means = state.moments_crc(index)
    if means is not None and not state.exports:
        for path, mean_crc in zip(run.moments(index), means, strict=True):
            yield Whole(path.name, mean_crc, needed)


def _add_slots(found: Capture, run: RunDir, state: RunState, level: dict[str, Any]) -> int:
    index = level["level"]
    tiles = state.tiles_done(index, state.rounds_done(index))
    pixels: int = level["tile_width"] * level["tile_height"]
    length = state.levels[index].planes * pixels * _PIXEL_BYTES
    found.slots += [
        Slot(run.tiles.name, number * length, length, tiles[number].crc) for number in sorted(tiles)
    ]
    return len(tiles)


def _add_optimizer(found: Capture, run: RunDir, index: int) -> int:
    """The committed state and the vectors that it speaks of; nothing where none is committed yet."""
    folder = run.optimizer(index)
    data = _bytes(folder / "state.json")
    if data is None:
        return 0
    try:
        record = json.loads(opened_json(data)[0])
        steps = int(record["iteration"]) + int(record["rollbacks"])
        sums: dict[str, int] = dict(record["checksums"])
    except (ValueError, KeyError, TypeError) as error:
        raise Stale("the optimizer's state is damaged") from error
    found.texts[f"{folder.name}/state.json"] = data
    newest_first = sorted(sums, key=lambda name: (name[0] in "sy", name))  # points are written over sooner
    found.wholes += [Whole(f"{folder.name}/{name}", sums[name]) for name in newest_first]
    return steps


def _texts(run: RunDir) -> dict[str, bytes]:
    """Small files, for people and displays; whole ones, since they are replaced and not changed."""
    paths = [
        run.job,
        run.inputs,
        run.plan,
        run.summary,
        run.events,
        run.animation,
        run.deliveries,
        run.losses,
        run.loss_table,
        *sorted(run.previews.glob("level-*.png")),
        *sorted(run.snapshots.glob("level-*.jpg")),
    ]
    found = {}
    for path in paths:
        name = path.relative_to(run.root).as_posix()
        read = _bytes if path in (run.job, run.plan) else _small
        if is_kept_name(name) and (data := read(path)) is not None:
            found[name] = _whole_lines(data) if path == run.events else data
    return found


def _bytes(path: Path) -> bytes | None:
    """A whole file; None where it is not there."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _small(path: Path) -> bytes | None:
    """The same; None where it is long, too."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_TEXT + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return data if len(data) <= MOST_TEXT else None


def _whole_lines(data: bytes) -> bytes:
    return data[: data.rfind(b"\n") + 1]
