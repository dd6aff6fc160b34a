"""The events of a scripted run."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tilefarm.events import (
    Event,
    LevelBegan,
    LevelFinished,
    PiecesProgress,
    RoundFinished,
    RunFinished,
    RunStarted,
    StepsProgress,
    TileFinished,
)
from tilefarm.geometry import Size
from tilefarm.solve.contract import Losses

LEVELS = ((Size(100, 80), 1, 1, 50), (Size(200, 160), 6, 2, 10), (Size(400, 320), 20, 2, 10))
"""Size, tiles, rounds and iterations of each level."""
WORK = tuple(tiles * rounds * iterations * 100 for _, tiles, rounds, iterations in LEVELS)


def tile_finished(level: int, number: int, tile: int, done: int) -> TileFinished:
    losses = Losses(total=5.0, content=1.0, style=1.0, tv=1.0)
    return TileFinished(
        level=level,
        round=number,
        tile=tile,
        done=done,
        total=LEVELS[level][1],
        first=losses,
        last=losses,
        weighted=losses,
        iterations=LEVELS[level][3],
        rollbacks=0,
        seconds=1.0,
        attempts=1,
    )


def script(level: int = 0, number: int = 0, done: int = 0) -> list[Event]:
    """Every event of a run from this level, round and count of finished tiles on, two tiles at a time."""
    resumed = (level, number, done) != (0, 0, 0)
    events: list[Event] = [
        RunStarted("gate-1", "/runs/gate-1", LEVELS[-1][0], WORK, ("cpu", "cpu"), "float32", resumed)
    ]
    for index in range(level, len(LEVELS)):
        size, tiles, rounds, iterations = LEVELS[index]
        events.append(LevelBegan(index, size, tiles, rounds, iterations))
        first_round, first_tile = (number, done) if index == level else (0, 0)
        if (first_round, first_tile) == (0, 0):
            events += [PiecesProgress(index, "measuring", piece, 3) for piece in (1, 2, 3)]
        for turn in range(first_round, rounds):
            start = first_tile if turn == first_round else 0
            for pair in range(start, tiles, 2):
                flying = range(pair, min(pair + 2, tiles))
                for iteration in (iterations // 2, iterations - 1):
                    events += [
                        StepsProgress(index, turn, tile, iteration, iterations, 10.0) for tile in flying
                    ]
                # the second tile of a pair is finished first
                events += [
                    tile_finished(index, turn, tile, pair + count)
                    for count, tile in enumerate(reversed(flying), start=1)
                ]
            events.append(RoundFinished(index, turn, 20.0, 10.0, 65.0))
        events.append(LevelFinished(index, size, f"/runs/gate-1/levels/level-{index}.png"))
    return [*events, RunFinished("/out/gate.tif", LEVELS[-1][0], 2.0)]


@pytest.fixture(scope="session")
def scripted() -> Callable[..., list[Event]]:
    return script


@pytest.fixture(scope="session")
def work() -> tuple[int, ...]:
    return WORK
