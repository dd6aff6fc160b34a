"""What all optimizers above the tiles share: vectors in files, and iterations that are committed.

An iteration is committed by replacing `state.json` after its vectors are on the disk. Nothing that the
committed state speaks of is overwritten before the next commit: every vector that an iteration changes
has a file to spare, and the state says which of them counts.
"""

from __future__ import annotations

import json
import math
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from tilefarm import faults
from tilefarm.canvas.vectors import Vectors
from tilefarm.errors import TilefarmError
from tilefarm.files import checksum, sync_file, sync_folder, write_text
from tilefarm.sealed import DamagedError, opened_json, sealed_json, with_its_bit_back
from tilefarm.solve.traffic import Traffic

STATE, NEXT_STATE = "state.json", "next.json"
BESIDE = ".new"
ROLLBACK_FACTOR = 0.1
MOST_ROLLBACKS = 10

Evaluate = Callable[[Path, Path], float]
"""(point, where to write the gradient) -> loss."""


@dataclass(frozen=True)
class State:
    """What the next iteration of any optimizer needs besides its vectors."""

    iteration: int
    """Steps taken."""
    current: int
    """Which of two files of a vector counts."""
    losses: tuple[float, ...]
    """The loss at the start and after every step."""
    rollbacks: int
    rollbacks_in_row: int
    checksums: dict[str, int]
    """CRC-32 of every file that the state speaks of, by name."""
    gone_wrong: int = field(default=0, kw_only=True)
    """Results with numbers that were not finite, which were thrown away."""
    traffic: Traffic = field(default_factory=Traffic, kw_only=True)
    """Of the committed evaluations."""


StateT = TypeVar("StateT", bound=State)


class FileOptimizer(ABC, Generic[StateT]):
    """An optimizer whose state is in a folder of its own, and whose vectors are too, or as good as."""

    def __init__(self, folder: Path, vectors: Vectors, evaluate: Evaluate) -> None:
        self._folder = folder
        self._vectors = vectors
        self._evaluate = evaluate
        self._state: StateT | None = None
        self._gone_wrong = 0
        self._traffic = Traffic()

    @property
    def state(self) -> StateT:
        """The committed state."""
        if self._state is None:
            raise RuntimeError("the optimizer was neither started nor resumed")
        return self._state

    @property
    def point(self) -> Path:
        """The file of the last good point."""
        return self.file("x", self.state.current)

    @property
    def result(self) -> Path:
        """The file of the picture that the search gives."""
        return self.point

    def resume(self) -> bool:
        """Take up the committed state; False where there is none, or where a file is not as committed."""
        finish_commit(self._folder)
        record = _read_record(self._folder)
        state = None if record is None else self._restored(_with_traffic(record))
        if state is None or not _files_are_as_committed(self._folder, state.checksums):
            return False
        self._state = state
        return True

    def start(self, write_point: Callable[[Path], None]) -> None:
        """Begin at the point that `write_point` writes into the given file, with one evaluation.

        Raises TilefarmError where loss or gradient are not finite there.
        """
        self._folder.mkdir(exist_ok=True)
        write_point(self.file("x", 0))
        loss = self._evaluate(self.file("x", 0), self.file("g", 0))
        if not self._is_finite(loss, self.file("g", 0)):
            raise TilefarmError(
                f"the loss at the start is {loss}, or its gradient is not finite: look for such pixels in "
                "the pictures, lower the objective's weights, or set compute.precision to float32"
            )
        self._begin(loss)

    def keep(self) -> bool:
        """See to it that the state is committed, point and all; mostly it is.

        False where that failed, and the state is an earlier one now, with steps to be taken again.
        """
        return True

    @abstractmethod
    def step(self) -> bool:
        """One evaluation: a step, or a rollback. False when no step is left to take."""

    @abstractmethod
    def _begin(self, loss: float) -> None:
        """Commit the first state; point and gradient are in the files x0 and g0."""

    @abstractmethod
    def _restored(self, record: Mapping[str, Any]) -> StateT | None:
        """The state that `state.json` holds; None where it is not one of this optimizer."""

    @abstractmethod
    def _files(self, state: StateT) -> list[Path]:
        """Every file that a state speaks of."""

    def count_gone_wrong(self, count: int) -> None:
        """Put so many results that were thrown away on record, with the next commit."""
        self._gone_wrong += count

    def count_traffic(self, traffic: Traffic) -> None:
        """Put an evaluation's traffic on record, with the next commit."""
        self._traffic += traffic

    def file(self, kind: str, number: int) -> Path:
        """The file of a vector."""
        return self._folder / f"{kind}{number}.f32"

    def _is_finite(self, loss: float, gradient: Path) -> bool:
        return math.isfinite(loss) and self._vectors.is_finite(gradient)

    def _commit(self, state: StateT, changed: Sequence[Path]) -> None:
        known = self._state.checksums if self._state else {}
        faults.reached("exact: vectors changed")
        fresh = {path.name: checksum(path) for path in changed}
        for path in changed:
            sync_file(path)
        faults.reached("exact: vectors synced")
        sums = {path.name: fresh.get(path.name, known.get(path.name, 0)) for path in self._files(state)}
        state = self._counted(replace(state, checksums=sums))
        write_text(self._folder / STATE, sealed_json(json.dumps(asdict(state))))
        faults.reached("exact: state replaced")
        self._state = state

    def _commit_beside(self, state: StateT, changed: Sequence[Path]) -> None:
        """Commit a state whose changed vectors were written beside the files of the one before.

        They take their places when all are on the disk; `finish_commit` goes on with that after a crash.
        """
        known = self._state.checksums if self._state else {}
        fresh = {path.name: checksum(self._beside(path)) for path in changed}
        for path in changed:
            sync_file(self._beside(path))
        faults.reached("exact: cores brought")
        sums = {path.name: fresh.get(path.name, known.get(path.name, 0)) for path in self._files(state)}
        state = replace(state, checksums=sums)
        write_text(self._folder / NEXT_STATE, sealed_json(json.dumps(asdict(state))))
        faults.reached("exact: next state written")
        _take_places(self._folder, sums)
        faults.reached("exact: state replaced")
        self._state = state

    def _counted(self, state: StateT) -> StateT:
        """With what was counted since the last state."""
        gone_wrong, traffic = self._gone_wrong, self._traffic
        self._gone_wrong, self._traffic = 0, Traffic()
        return replace(state, gone_wrong=state.gone_wrong + gone_wrong, traffic=state.traffic + traffic)

    @staticmethod
    def _beside(path: Path) -> Path:
        return path.with_name(path.name + BESIDE)

    def _commit_rollback(self, state: StateT, changed: Sequence[Path] = ()) -> None:
        rollbacks, in_row = state.rollbacks + 1, state.rollbacks_in_row + 1
        self._commit(replace(state, rollbacks=rollbacks, rollbacks_in_row=in_row), changed)


def finish_commit(folder: Path) -> None:
    """Have vectors that were written beside the committed ones take their places, where all are there.

    Else nothing was committed, and they are of no use.
    """
    following = folder / NEXT_STATE
    record = _read_record(folder, NEXT_STATE)
    if record is not None and all(_is_there(folder / name, crc) for name, crc in record["checksums"].items()):
        _take_places(folder, record["checksums"])
    for useless in (following, *folder.glob(f"*{BESIDE}")):
        useless.unlink(missing_ok=True)


def _take_places(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        with suppress(FileNotFoundError):  # one that has not changed, or has done so before a crash
            (folder / (name + BESIDE)).replace(folder / name)
    faults.reached("exact: vectors replaced")
    sync_folder(folder)
    (folder / NEXT_STATE).replace(folder / STATE)
    sync_folder(folder)


def _is_there(path: Path, crc: int) -> bool:
    beside = path.with_name(path.name + BESIDE)
    return any(each.exists() and checksum(each) == crc for each in (beside, path))


def room_for(folder: Path) -> int:
    """Bytes that an optimizer's folder may take, those included that it has."""
    taken = sum(path.stat().st_size for path in folder.glob("*"))
    return taken + shutil.disk_usage(folder.parent).free


def steps_committed(folder: Path) -> int | None:
    """How many steps an optimizer has in its folder, those taken back included; None without one."""
    record = _read_record(folder)
    return None if record is None else record["iteration"] + record["rollbacks"]


def is_committed(folder: Path) -> bool:
    """Whether an optimizer can go on from what is in the folder."""
    finish_commit(folder)
    record = _read_record(folder)
    return record is not None and _files_are_as_committed(folder, record["checksums"])


def _read_record(folder: Path, name: str = STATE) -> dict[str, Any] | None:
    try:
        record = json.loads(_opened((folder / name).read_bytes()))
    except (OSError, ValueError):  # damage is one
        return None
    known = isinstance(record, dict) and {"iteration", "rollbacks", "checksums"} <= record.keys()
    return record if known else None


def _with_traffic(record: dict[str, Any]) -> dict[str, Any]:
    """Records of versions that did not count it have none."""
    return record | {"traffic": Traffic(**record.get("traffic", {}))}


def _opened(data: bytes) -> bytes:
    """What is sealed, a single bit that has flipped turned back: it may stand for hours of work."""
    try:
        return opened_json(data)[0]
    except DamagedError:
        mended = with_its_bit_back(data)
        if mended is None:
            raise
        return opened_json(mended)[0]


def _files_are_as_committed(folder: Path, checksums: Mapping[str, int]) -> bool:
    paths = [folder / name for name in checksums]
    return all(path.exists() and checksum(path) == checksums[path.name] for path in paths)
