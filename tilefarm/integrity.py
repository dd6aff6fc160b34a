"""Whether what is on disk is what the journal speaks of."""

from __future__ import annotations

from tilefarm.adam_moments import are_intact
from tilefarm.canvas.tile_store import TileStore
from tilefarm.exact.optimizer import is_committed
from tilefarm.files import checksum
from tilefarm.plan.build import LevelPlan
from tilefarm.rundir.layout import RunDir
from tilefarm.rundir.state import RunState


def is_intact(run: RunDir, state: RunState, level: LevelPlan) -> bool:
    """Whether a level can go on from where it is: its targets and canvas are those on record.

    A canvas that a blend left half written counts as intact while all its tiles are in their slots, and
    one that the exact method was just replacing while its optimizer's state is whole.
    """
    expected = state.canvas_crc(level.index)
    canvas, targets = run.canvas(level.index), run.targets(level.index)
    if expected is None or not targets.exists() or not canvas.exists():
        return False
    if checksum(targets) != state.levels[level.index].targets_crc:
        return False
    if checksum(canvas) == expected and are_intact(run, level.index, state.moments_crc(level.index)):
        return True
    if level.pieces:
        unfinished = state.rounds_done(level.index) < level.rounds
        return unfinished and is_committed(run.optimizer(level.index))
    return _can_be_blended(run, state, level)


def _can_be_blended(run: RunDir, state: RunState, level: LevelPlan) -> bool:
    tiles = state.tiles_done(level.index, state.rounds_done(level.index))
    if len(tiles) < level.grid.tiles or not run.tiles.exists():
        return False
    planes = state.levels[level.index].planes
    with TileStore(run.tiles, level.grid.tile, level.grid.tiles, planes) as store:
        return all(store.holds(tile.tile, tile.crc) for tile in tiles.values())
