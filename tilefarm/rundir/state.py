"""What a run has finished, read back from its journal."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from tilefarm.rundir.journal import Exported, LevelStarted, RoundDone, Started, TileDone


@dataclass
class RunState:
    """The journal's meaning. Lines replace earlier ones about the same thing.

    A `LevelStarted` line begins its level anew: whatever the journal said of that level or a finer one
    before no longer counts. That is how a level whose canvas was found damaged is done again.
    """

    started: Started | None = None
    levels: dict[int, LevelStarted] = field(default_factory=dict)
    tiles: dict[tuple[int, int], dict[int, TileDone]] = field(default_factory=dict)
    """By level and round, the finished tiles."""
    rounds: dict[tuple[int, int], RoundDone] = field(default_factory=dict)
    exports: list[Exported] = field(default_factory=list)

    @classmethod
    def replay(cls, lines: Iterable[Started | LevelStarted | TileDone | RoundDone | Exported]) -> RunState:
        """The state after all of these lines."""
        state = cls()
        for line in lines:
            state.apply(line)
        return state

    def apply(self, line: Started | LevelStarted | TileDone | RoundDone | Exported) -> None:
        """Take one more line into account."""
        if isinstance(line, Started):
            self.started = line
        elif isinstance(line, LevelStarted):
            self.forget_from(line.level)
            self.levels[line.level] = line
        elif isinstance(line, TileDone):
            self.tiles.setdefault((line.level, line.round), {})[line.tile] = line
        elif isinstance(line, RoundDone):
            self.rounds[line.level, line.round] = line
        else:
            self.exports.append(line)

    def forget_from(self, level: int) -> None:
        """Drop everything about this level and finer ones."""
        self.levels = {key: line for key, line in self.levels.items() if key < level}
        self.tiles = {key: line for key, line in self.tiles.items() if key[0] < level}
        self.rounds = {key: line for key, line in self.rounds.items() if key[0] < level}
        self.exports.clear()

    def rounds_done(self, level: int) -> int:
        """How many rounds of a level are blended."""
        return sum(1 for key in self.rounds if key[0] == level)

    def tiles_done(self, level: int, round_number: int) -> dict[int, TileDone]:
        """The finished tiles of a round."""
        return self.tiles.get((level, round_number), {})

    def canvas_crc(self, level: int) -> int | None:
        """The checksum that the level's canvas must have now; None where the level was not started."""
        done = self.rounds_done(level)
        if done:
            return self.rounds[level, done - 1].canvas_crc
        start = self.levels.get(level)
        return None if start is None else start.canvas_crc

    def moments_crc(self, level: int) -> tuple[int, int] | None:
        """The checksums that the canvases of Adam's means must have now; None where there are none."""
        done = self.rounds_done(level)
        line = self.rounds[level, done - 1] if done else self.levels.get(level)
        return None if line is None else line.moments_crc

    @property
    def tile_retries(self) -> int:
        """How often a tile had to be done again because a worker failed."""
        return sum(tile.attempts - 1 for tiles in self.tiles.values() for tile in tiles.values())

    @property
    def rollbacks(self) -> int:
        """How often a step with a bad loss or gradient was taken back."""
        of_tiles = sum(tile.rollbacks for tiles in self.tiles.values() for tile in tiles.values())
        return of_tiles + sum(line.rollbacks for line in self.rounds.values())

    @property
    def numbers_gone_wrong(self) -> int:
        """How often a result was thrown away because it held numbers that are not finite."""
        of_tiles = sum(tile.gone_wrong for tiles in self.tiles.values() for tile in tiles.values())
        return of_tiles + sum(line.gone_wrong for line in self.rounds.values())
